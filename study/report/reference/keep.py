"""Results of finished runs that outlive their folders: `python -m study keep PRESET`.

A study may take longer than its machine can be had. What is copied to reports/kept/<preset>/ is small enough to be
committed; `restore.py` puts it back on another machine, where the study goes on without training these runs anew.

    reports/kept/<preset>/<variant>/seed<k>/   the results as in a reference, metrics.jsonl, items.parquet,
                                               model/config.json; large tables and routing.jsonl, as .gz

Weights are not kept: a run that takes another's is made while they are there, or trains the other anew.
"""

import argparse
import gzip
import json
import shutil
from pathlib import Path

from tsembed.evaluation import items
from tsembed.files import write_folder

from ... import paths
from .freeze import copy_results, planned_runs

FILES = ("metrics.jsonl", items.FILE, "model/config.json")  # beside what a reference has of a run
HISTORY = "routing.jsonl"  # of a run with routed experts; read, and large, as tables of the probes can be


def kept_dir(preset: str) -> Path:
    """Where a preset's kept results are."""
    return paths.REPORTS / "kept" / preset


def keep(preset: str) -> list[str]:
    """Copy the results of finished runs; those that are kept already stay as they are.

    Returns:
        The runs that are new among the kept, `<variant>/seed<k>`.
    """
    added = []
    for run, folder in planned_runs(preset).items():
        target = kept_dir(preset) / run
        if not (folder / "done.json").is_file() or target.is_dir():
            continue
        with write_folder(target) as partial:
            large = copy_results(folder, partial)
            for name in FILES:
                if (folder / name).is_file():
                    (partial / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(folder / name, partial / name)
            for name in (*large, HISTORY):
                if (folder / name).is_file():
                    content = (folder / name).read_text()
                    text = _ends_with_use(content) if name == HISTORY else content
                    (partial / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        added.append(run)
    return added


def unpack(folder: Path) -> None:
    """In a copy of a kept run: put the files back that are compressed there."""
    for packed in folder.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()


def _ends_with_use(history: str) -> str:
    """A history of routing with the use of the experts in its first and last window alone, which is what is read."""
    rows = [json.loads(line) for line in history.splitlines()]
    for row in rows[1:-1]:
        row.pop("use", None)
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def main(arguments: list[str] | None = None) -> None:
    """`python -m study keep`: copy the results, and say how many runs are new."""
    about = "Copy the results of a preset's finished runs, without weights, to reports/kept/PRESET."
    parser = argparse.ArgumentParser(prog="python -m study keep", description=about)
    parser.add_argument("preset", help="a name in configs/presets")
    preset = parser.parse_args(arguments).preset
    print(f"{kept_dir(preset).relative_to(paths.ROOT)}: {len(keep(preset))} runs more")
