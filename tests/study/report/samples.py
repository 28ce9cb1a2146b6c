"""Notebooks that the tests write themselves."""

import shutil
from pathlib import Path

VARIANTS = Path(__file__).resolve().parents[3] / "configs/variants"
PARAMETERS = "preset = 'tiny'\nseed = 0\nrate = 0.5\nlimit = None"


def write_notebook(
    folder: Path, name: str, *cells: str | tuple[str], parameters=PARAMETERS, title="# A question"
) -> Path:
    """Write folder/<name>.ipynb: a heading, the parameters cell, then code (a str) and prose (a str in a tuple)."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    made = [new_markdown_cell(title), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    made += [new_markdown_cell(c[0]) if isinstance(c, tuple) else new_code_cell(c) for c in cells]
    for number, cell in enumerate(made):
        cell.id = f"cell-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=made), path)
    return path


def use_folder(monkeypatch, folder: Path) -> None:
    """Make `folder` the checkout's root, here and in kernels, with a copy of the variants."""
    from study import paths

    shutil.copytree(VARIANTS, folder / "configs/variants", dirs_exist_ok=True)
    for name in ("configs", "notebooks", "references", "runs", "reports"):
        monkeypatch.setattr(paths, name.upper(), folder / name)
    monkeypatch.setattr(paths, "ROOT", folder)
    monkeypatch.setenv("TSEMBED_ROOT", str(folder))
