"""Results of finished runs that outlive their folders: `python -m study keep PRESET`.

A study may take longer than its machine can be had. What is copied to reports/kept/<preset>/ is small enough to be
committed; `restore.py` puts it back on another machine, where the study goes on without training these runs anew.

    reports/kept/<preset>/<variant>/seed<k>/   the results as in a reference, metrics.jsonl, items.parquet,
                                               model/config.json

Weights are not kept: a run that takes another's is made while they are there, or trains the other anew.
"""

import argparse
import shutil
from pathlib import Path

from tsembed.evaluation import items
from tsembed.files import write_folder

from ... import paths
from .freeze import copy_results, planned_runs

FILES = ("metrics.jsonl", items.FILE, "model/config.json")  # beside what a reference has of a run


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
            copy_results(folder, partial)
            for name in FILES:
                if (folder / name).is_file():
                    (partial / name).parent.mkdir(exist_ok=True)
                    shutil.copyfile(folder / name, partial / name)
        added.append(run)
    return added


def main(arguments: list[str] | None = None) -> None:
    """`python -m study keep`: copy the results, and say how many runs are new."""
    about = "Copy the results of a preset's finished runs, without weights, to reports/kept/PRESET."
    parser = argparse.ArgumentParser(prog="python -m study keep", description=about)
    parser.add_argument("preset", help="a name in configs/presets")
    preset = parser.parse_args(arguments).preset
    print(f"{kept_dir(preset).relative_to(paths.ROOT)}: {len(keep(preset))} runs more")
