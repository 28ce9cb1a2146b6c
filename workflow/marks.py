"""Marks of finished nodes, put back where such a node fails in a later call.

Snakemake deletes the output of a node before it runs it again, and once more when it has failed. But what was finished
is still there: data that are refused leave the prepared ones as they were, and a run refuses other settings than its
own. So a call notes the marks that it finds, beside what Snakemake knows of them, and at its end puts back those that
are gone. Times are kept: what has changed is still newer, and a further call runs the node again.
"""

import os
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import nodes

from study import paths
from tsembed.files import write_folder

LONGEST_NAME = 254  # characters of a part of a record's path, as snakemake/persistence/file.py has it


def note(graph: nodes.RunGraph) -> None:
    """Copy the marks of the finished preparations and runs; notebooks and pages are quickly made again."""
    names = [*graph.data_nodes, *(f"{variant}/seed{seed}" for variant, seed in graph.runs)]
    with write_folder(folder(graph.preset)) as place:
        for mark in (graph.outputs[name] for name in names):
            if (paths.ROOT / mark).is_file():
                _copy(paths.ROOT / mark, place / "marks" / mark)
                if record_of(mark).is_file():
                    _copy(record_of(mark), place / "records" / mark)


def put_back(preset: str) -> None:
    """Give back the noted marks that are gone, and forget all; also those that a killed call has noted."""
    place = folder(preset)
    for noted in sorted(path for path in (place / "marks").rglob("*") if path.is_file()):
        mark = noted.relative_to(place / "marks")
        if (paths.ROOT / mark).is_file() or not (paths.ROOT / mark).parent.is_dir():  # in a folder that was deleted
            continue
        known = place / "records" / mark
        if known.is_file():
            _copy(known, record_of(mark))
        else:
            record_of(mark).unlink(missing_ok=True)
        _copy(noted, paths.ROOT / mark)
    shutil.rmtree(place, ignore_errors=True)


def record_of(mark: Path) -> Path:
    """The file with what Snakemake knows of a node's last execution: its inputs, their hashes, its parameters."""
    name = urlsafe_b64encode(str(mark).encode()).decode()
    parts = [name[i : i + LONGEST_NAME] for i in range(0, len(name), LONGEST_NAME)]
    return paths.ROOT.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])


def folder(preset: str) -> Path:
    """Where a call notes the marks; there only while it is at work, and after it was killed."""
    return nodes.log_dir(preset) / ".marks"


def _copy(source: Path, target: Path) -> None:
    """By rename, with the time of its last change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name[:200]}.partial")
    shutil.copy2(source, partial)
    os.replace(partial, target)
