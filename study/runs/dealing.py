"""Which evaluation sets each process of a run scores, and how the first one knows that the others have.

A process needs none of the others for its sets: each has the whole model on its own GPU, and leaves its scores in a
file where the first finds them. So they do not talk, which would end after minutes without an answer. Where one fails,
its launcher ends them all.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tsembed.files import write_text

PAUSE = 0.5  # seconds


class Share(NamedTuple):
    """One of a run's processes, as it scores."""

    folder: Path  # of what each leaves for the first, empty when the processes part
    process: int
    processes: int

    def done(self, scores: Sequence[Mapping[str, Any]]) -> None:
        """Leave the scores of this process's sets, which says that it has scored them all."""
        write_text(self._file(self.process), json.dumps(scores))

    def wait(self) -> list[dict[str, Any]]:
        """The scores of all processes, once every one has left its own."""
        files = [self._file(process) for process in range(self.processes)]
        while not all(file.is_file() for file in files):
            time.sleep(PAUSE)
        return [row for file in files for row in json.loads(file.read_text())]

    def items_file(self, process: int) -> Path:
        """Where a process writes the items of its sets."""
        return self.folder / f"items_{process}.parquet"

    def _file(self, process: int) -> Path:
        return self.folder / f"scores_{process}.json"


def deal(costs: Mapping[str, float], processes: int) -> list[list[str]]:
    """The sets of each process: the dearest first, each to whom has least by then.

    >>> deal({"a": 1, "b": 5, "c": 3, "d": 2}, 2)
    [['b', 'a'], ['c', 'd']]
    """
    shares: list[list[str]] = [[] for _ in range(processes)]
    sums = [0.0] * processes
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        least = sums.index(min(sums))
        shares[least].append(name)
        sums[least] += costs[name]
    return shares


def cost(task: Any, data: Path) -> float:
    """What it takes to score a task of mteb's, to be compared with other tasks: the tokens of its texts, about.

    Args:
        task: Of prepared data, or of a benchmark, whose texts mteb has counted.
        data: Prepared data.
    """
    from .estimate import lengths_of

    if (data / "eval" / task.metadata.name).is_dir():
        return cost_of_prepared(task.metadata.name, data)
    return sum(texts * tokens for texts, tokens in lengths_of(task))


def cost_of_prepared(name: str, data: Path) -> float:
    """The same of a prepared evaluation set, by its files; of images it is their bytes that compare.

    Args:
        name: Of the set.
        data: Prepared data.
    """
    from .estimate import CHARACTERS

    return sum(path.stat().st_size for path in (data / "eval" / name).rglob("*") if path.is_file()) / CHARACTERS
