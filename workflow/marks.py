"""Marks of finished nodes, put back where such a node fails in a later call.

Snakemake deletes the output of a node before it runs it again, and once more when it has failed. But what was finished
is still there: data that are refused leave the prepared ones as they were, and a run refuses other settings than its
own. So a call notes the marks that it finds, beside what Snakemake knows of them, and at its end puts back those that
are gone. Times are kept: what has changed is still newer, and a further call runs the node again.
"""

import os
import shutil
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import node_states
import nodes

from study import paths
from tsembed.files import write_folder

CLOCKS_DIFFER = 10.0  # seconds, between the machines of a cluster
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


def lend(preset: str, node: str) -> Path | None:
    """A finished run's mark, which it has while its command runs: that compares settings and data, and leaves it alone.

    Without it the run would be scored again, because something older than its settings has a new time.

    Args:
        preset: A name in configs/presets.
        node: Any node; only runs have such a mark.
    """
    variant, _, seed = node.rpartition("/seed")
    if not seed.isdecimal():
        return None
    mark = paths.run_dir(preset, variant, int(seed)) / "done.json"
    noted = folder(preset) / "marks" / mark.relative_to(paths.ROOT)
    if not noted.is_file() or not mark.parent.is_dir() or mark.is_file():
        return None
    _copy(noted, mark)
    return mark


def leave_the_future(graph: nodes.RunGraph) -> list[str]:
    """Date the marks of the future back to now, in their order, and return their nodes.

    Where a clock was set back, Snakemake takes what is made of them for older than they are, and so for failed.
    """
    now = time.time()
    found = {node: paths.ROOT / mark for node, mark in graph.outputs.items() if (paths.ROOT / mark).is_file()}
    times = {node: mark.stat().st_mtime for node, mark in found.items()}
    ahead = sorted((when, node) for node, when in times.items() if when > now + CLOCKS_DIFFER)
    for order, (_, node) in enumerate(ahead):
        os.utime(found[node], (now, now + order * 1e-6))
    return [node for _, node in ahead]


def record_of(mark: Path) -> Path:
    """The file with what Snakemake knows of a node's last execution: its inputs, their hashes, its parameters."""
    name = urlsafe_b64encode(str(mark).encode()).decode()
    parts = [name[i : i + LONGEST_NAME] for i in range(0, len(name), LONGEST_NAME)]
    return paths.ROOT.joinpath(".snakemake", "metadata", *(f"@{part}" for part in parts[:-1]), parts[-1])


def folder(preset: str) -> Path:
    """Where a call notes the marks; there only while it is at work, and after it was killed."""
    return node_states.log_dir(preset) / ".marks"


def _copy(source: Path, target: Path) -> None:
    """By rename, with the time of its last change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name[:200]}.partial")
    shutil.copy2(source, partial)
    os.replace(partial, target)
