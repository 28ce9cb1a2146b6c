"""Which evaluation sets each process of a run scores, and how the first one knows that the others have.

A process needs none of the others for its sets: each has the whole model on its own GPU, and leaves the result of a set
where the first finds it, in the cache of scores. So they do not talk, which would end after minutes without an answer;
the mark of a finished share is a file. Where one fails, its launcher ends them all.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tsembed.files import write_text

PAUSE = 0.5  # seconds


class Share(NamedTuple):
    """One of a run's processes, as it scores."""

    folder: Path  # of the marks, empty when the processes part
    process: int
    processes: int

    def done(self) -> None:
        """Say that this process has scored its sets."""
        write_text(self.folder / str(self.process), "")

    def wait(self) -> None:
        """Until every process has."""
        while not all((self.folder / str(process)).is_file() for process in range(self.processes)):
            time.sleep(PAUSE)


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
    from .estimate import CHARACTERS, lengths_of

    prepared = data / "eval" / task.metadata.name
    if prepared.is_dir():
        return sum(path.stat().st_size for path in prepared.rglob("*") if path.is_file()) / CHARACTERS
    return sum(texts * tokens for texts, tokens in lengths_of(task))
