"""Which rows make up the batch of a step: task-aware (TA-CL, MoTE §3.2, App. D.2), homogeneous, heterogeneous or mixed.

A batch is a pure function of the settings and its step number, so a run resumes anywhere, every rank draws the same
task without talking to the others, and variants see the same data in the same order. The order within a pool of
datasets does not depend on the other pools: a model trained on one task alone sees exactly the batches that this
task gives to a model of all tasks.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from ..tasks import TASKS, TEXT_TASKS
from .permutation import KeyedPermutation

Batching = Literal["task_aware", "homogeneous", "heterogeneous", "mixed"]


class Step(NamedTuple):
    """One batch: its task ("mixed" where it holds several), its dataset (or "mixed"), and the rows in order."""

    task: str
    dataset: str
    datasets: tuple[str, ...]  # all that the batch may draw from
    owners: np.ndarray  # (batch,) index into `datasets`
    rows: np.ndarray  # (batch,) row of that dataset


class _Pool(NamedTuple):
    """Datasets that are mixed within a batch; its rows are numbered through."""

    task: str
    datasets: tuple[str, ...]
    ends: np.ndarray  # cumulative sizes

    @property
    def name(self) -> str:
        return "+".join(self.datasets)


def _generator(*key: object) -> np.random.Generator:
    digest = hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


class TaskSampler:
    """Batches by step number.

    Args:
        datasets: Dataset name -> (task, number of rows).
        batch_size: Global batch, in pairs. A pool's last rows that do not fill a batch are left out of that epoch.
        steps: Steps of all tasks together; None for one epoch.
        batching: "task_aware": retrieval from one dataset, the other tasks mixed over theirs (`tasks.TASKS`);
            "homogeneous": always one dataset; "heterogeneous": mixed over everything, with a share for each task;
            "mixed": the pairs of the task-aware batches of as many steps as there are tasks, dealt anew over these
            steps, so that a comparison with "task_aware" has the same pairs in the same steps but for that many.
        sampling: "balanced": tasks equally often, or with equal shares of a heterogeneous batch; "proportional": by
            the number of rows. Datasets of one task are always drawn by their number of rows.
        tasks: Train on these alone: the steps of the other tasks are taken out of the schedule.
        seed: Of all draws.
        order: How the rows of a pool are permuted: "array" draws all of them, 8 bytes per row of a pool; "computed"
            computes those of a batch (`KeyedPermutation`), for pools of any size. The orders differ.

    Raises:
        ValueError: If a task has no dataset, a pool has fewer rows than a batch, or some tasks alone are asked of
            heterogeneous batches.
    """

    def __init__(
        self,
        datasets: Mapping[str, tuple[str, int]],
        *,
        batch_size: int,
        steps: int | None,
        batching: Batching = "task_aware",
        sampling: Literal["balanced", "proportional"] = "balanced",
        tasks: tuple[str, ...] = TEXT_TASKS,
        seed: int = 0,
        order: Literal["array", "computed"] = "array",
    ):
        self.batch_size, self.seed, self._order = batch_size, seed, order
        present = [task for task in TASKS if any(t == task for t, _ in datasets.values())]
        if missing := sorted(set(tasks) - set(present)):
            raise ValueError(f"no training dataset for task {missing}; datasets: {', '.join(datasets)}")
        if batching == "heterogeneous" and set(tasks) != set(present):
            raise ValueError("heterogeneous batches mix all tasks; a variant of some tasks needs another batching")
        self._shared = batching == "heterogeneous"  # every pool has a share of every batch
        self._dealt = len(tasks) if batching == "mixed" else 1  # steps whose pairs are dealt anew over them
        if self._shared and sampling == "proportional":
            groups = [("mixed", list(datasets))]
        else:
            groups = []
            for task in present:
                names = [name for name, (t, _) in datasets.items() if t == task]
                apart = {"homogeneous": True, "heterogeneous": False}.get(
                    batching, TASKS[task].batching == "homogeneous"
                )
                groups += [(task, [name]) for name in names] if apart else [(task, names)]
        self._pools = [_Pool(task, tuple(n), np.cumsum([datasets[name][1] for name in n])) for task, n in groups]
        self._share = -(-batch_size // len(groups)) if self._shared else batch_size  # rows of one pool in a batch
        for pool in self._pools:
            if pool.ends[-1] < self._share:
                raise ValueError(
                    f"{pool.name}: {pool.ends[-1]} training rows do not fill a batch of {self._share}; "
                    "lower batch_size or leave the dataset out"
                )
        self._epochs = np.array([pool.ends[-1] // self._share for pool in self._pools])  # batches per epoch
        self._schedule, self._occurrence = self._plan(steps, sampling, present, tasks)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}  # pool -> (epoch, its permutation)

    def _plan(self, steps: int | None, sampling: str, present: list[str], tasks: tuple[str, ...]):
        """Pool of every step (0 where all pools share a batch), and the how-manieth batch of that pool it is."""
        if self._shared:
            total = int(self._epochs.min()) if steps is None else steps
            return np.zeros(total, dtype=np.int32), np.arange(total)
        if steps is None:
            schedule = np.repeat(np.arange(len(self._pools), dtype=np.int32), self._epochs)
            _generator(self.seed, "epoch").shuffle(schedule)
        else:
            schedule = self._draw(steps, sampling, present)
        schedule = schedule[[self._pools[index].task in tasks for index in schedule]]
        occurrence = np.zeros(len(schedule), dtype=np.int64)
        for index in range(len(self._pools)):
            at = np.flatnonzero(schedule == index)
            occurrence[at] = np.arange(len(at))
        return schedule, occurrence

    def _draw(self, steps: int, sampling: str, present: list[str]) -> np.ndarray:
        sizes = np.array([pool.ends[-1] for pool in self._pools], dtype=float)
        rng = _generator(self.seed, "tasks")
        if sampling == "balanced":  # every cycle has each task once, in a drawn order
            order = np.concatenate([rng.permutation(len(present)) for _ in range(-(-steps // len(present)))])[:steps]
        else:
            shares = np.array([sum(sizes[i] for i, p in enumerate(self._pools) if p.task == t) for t in present])
            order = rng.choice(len(present), size=steps, p=shares / shares.sum())
        schedule = np.empty(steps, dtype=np.int32)
        for number, task in enumerate(present):
            pools = [i for i, pool in enumerate(self._pools) if pool.task == task]
            at = np.flatnonzero(order == number)
            weights = sizes[pools] / sizes[pools].sum()
            schedule[at] = _generator(self.seed, "datasets", task).choice(pools, size=len(at), p=weights)
        return schedule

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, step: int) -> Step:
        """The batch of a step, 0 <= step < len(self)."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is outside 0..{len(self) - 1}")
        if not self._shared and self._dealt == 1:
            return self._of_one_pool(step)
        names: tuple[str, ...] = ()
        parts = []
        first = step - step % self._dealt
        if self._shared:
            together = [(pool.datasets, *self._take(index, step)) for index, pool in enumerate(self._pools)]
        else:
            steps = range(first, min(first + self._dealt, len(self)))
            together = [self._of_one_pool(each)[2:] for each in steps]
        for datasets, owners, rows in together:
            parts.append(np.stack([owners + len(names), rows]))
            names += datasets
        drawn = _generator(self.seed, "mix", first).permutation(np.concatenate(parts, axis=1), axis=1)
        start = (step - first) * self.batch_size
        return Step("mixed", "mixed", names, *drawn[:, start : start + self.batch_size])

    def _of_one_pool(self, step: int) -> Step:
        index = int(self._schedule[step])
        pool = self._pools[index]
        owners, rows = self._take(index, int(self._occurrence[step]))
        return Step(pool.task, pool.name if len(pool.datasets) == 1 else "mixed", pool.datasets, owners, rows)

    def _take(self, index: int, occurrence: int) -> tuple[np.ndarray, np.ndarray]:
        """Owners and rows of a pool's how-manieth batch; every epoch has a new permutation."""
        pool, share = self._pools[index], self._share
        epoch, at = divmod(occurrence, int(self._epochs[index]))
        size, of_batch = int(pool.ends[-1]), slice(at * share, (at + 1) * share)
        if self._order == "computed":
            order = KeyedPermutation(size, f"{self.seed}/{pool.name}/{epoch}")
            through = order.take(np.arange(of_batch.start, of_batch.stop))
        else:
            if self._orders.get(index, (None,))[0] != epoch:
                self._orders[index] = (epoch, _generator(self.seed, "rows", pool.name, epoch).permutation(size))
            through = self._orders[index][1][of_batch]
        owners = np.searchsorted(pool.ends, through, side="right")
        return owners, through - np.concatenate([[0], pool.ends[:-1]])[owners]

    def state_dict(self) -> dict[str, object]:
        """What a resumed run must share with the interrupted one; the position itself is the step number."""
        schedule = hashlib.sha256(self._schedule.tobytes()).hexdigest()
        pools = [[pool.name, *pool.ends.tolist()] for pool in self._pools]
        identity = {"seed": self.seed, "batch_size": self.batch_size, "schedule": schedule, "pools": pools}
        if self._order == "computed":
            identity["order"] = self._order
        return identity if self._dealt == 1 else identity | {"dealt": self._dealt}
