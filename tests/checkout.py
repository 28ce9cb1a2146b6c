"""A small checkout in a temporary folder: the real run_all.sh, workflow and package, with notebooks of some lines.

The notebook of a run obeys two files in the root: `broken` makes the variant ic fail, `slow` makes it sleep.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRESET = """
about: two variants on a handful of sentences
backbone: {name: "embedded:all-MiniLM-L6-v2"}
data: {source: local}
variants: {em: 1, ic: 1}
"""
RUN = """
import json
from study import paths
from study.process import run_supervised
folder = paths.run_dir(preset, variant, seed)
if variant == "ic" and (paths.ROOT / "broken").exists():
    raise RuntimeError("it broke")
if variant == "ic" and (paths.ROOT / "slow").exists():
    run_supervised(["sleep", "4242"], log=folder / "train.log")
(folder / "done.json").write_text(json.dumps({"variant": variant}))
"""


def make(root: Path) -> Path:
    """Fill the folder and return it."""
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("workflow", "tsembed", "study", "configs/variants"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "configs" / "presets").mkdir()
    (root / "configs" / "presets" / "tiny.yaml").write_text(PRESET)
    (root / "notebooks").mkdir()
    write_notebook(root, "10_train", 'preset = "tiny"\nvariant = "em"\nseed = 0', RUN)
    write_notebook(root, "20_first", 'preset = "tiny"', "print(preset)")
    write_notebook(root, "25_second", 'preset = "tiny"', "print(preset)")
    rows = {
        "pairs/words/train": [{"anchor": f"question {i}", "positive": f"answer {i}"} for i in range(8)],
        "classification/numbers/train": [{"text": f"number {i}", "label": str(i % 2)} for i in range(8)],
        "classification/numbers/test": [{"text": f"held-out {i}", "label": str(i % 2)} for i in range(12)],
    }
    for place, content in rows.items():
        path = root / "own" / f"{place}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return root


def write_notebook(root: Path, name: str, parameters: str, code: str) -> None:
    import nbformat

    v4 = nbformat.v4
    cells = [v4.new_markdown_cell(f"# {name}"), v4.new_code_cell(parameters), v4.new_code_cell(code)]
    cells[1].metadata.tags = ["parameters"]
    nbformat.write(v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")


def environment(**more: str) -> dict[str, str]:
    """Variables under which run_all.sh uses the interpreter of the tests and installs nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TSEMBED_", "HF_", "JUPYTER_", "PYTEST_"))}
    return kept | {"TSEMBED_ENV": "as-is", "TSEMBED_PYTHON": sys.executable} | more


def call(root: Path, *words: str, script: Path | None = None, **more: str) -> subprocess.CompletedProcess:
    """Run `./run_all.sh words…`, or a link to it, to its end."""
    return subprocess.run(
        [script or root / "run_all.sh", *words],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        cwd=root,
    )
