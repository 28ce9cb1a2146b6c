"""Notebooks that the tests write themselves."""

import ast
import json
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


def executed(monkeypatch, notebook: Path, preset: str) -> tuple[list[str], dict]:
    """What a notebook's cells display, and by name what they save as tables (frame, raw) and figures (figure, data).

    The cells run in this process, without writing a report.
    """
    from study.report import style
    from study.report.tables import write as tables

    displayed, saved, space = [], {}, {}
    monkeypatch.setattr("IPython.display.display", displayed.append)
    monkeypatch.setattr(tables, "save", lambda frame, name, raw=None, **_: saved.setdefault(name, (frame, raw)))
    monkeypatch.setattr(
        style, "save", lambda figure, name, data, **_: saved.setdefault(f"{name} (figure)", (figure, data))
    )
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), space)
        if "parameters" in cell["metadata"].get("tags", []):
            space["preset"] = preset
        if last is not None:
            displayed.append(eval(compile(ast.Expression(last.value), cell["id"], "eval"), space))
    return [output.data for output in displayed if hasattr(output, "data")], saved
