"""What a training will do, from the prepared data: which sets, batches and steps, and what is left out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..data.manifest import unbalanced
from ..tasks import TASKS

BATCH_SIZES = (64, 32, 16, 8)  # pairs; the largest that every task can fill
FEWEST_STEPS, MOST_STEPS = 100, 1000  # one pass over the data, within these


class Plan(NamedTuple):
    """The sets that are trained on, and how long."""

    tasks: dict[str, str]  # training set -> task
    rows: dict[str, int]  # training set -> pairs
    left_out: dict[str, str]  # training set -> reason
    batch_size: int
    steps: int
    hard_negatives: int = 0  # of a pair at most, that are trained with

    @property
    def rows_of_tasks(self) -> dict[str, int]:
        """Task -> pairs."""
        rows: dict[str, int] = {}
        for name, task in self.tasks.items():
            rows[task] = rows.get(task, 0) + self.rows[name]
        return rows


def plan(
    manifest: Mapping[str, Any],
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    hard_negatives: int | None = None,
) -> Plan:
    """The training that the data allow.

    Args:
        manifest: Of prepared data.
        batch_size: Pairs; by default the largest of `BATCH_SIZES` that a set or task of every task fills.
        steps: By default one pass over the pairs, at least `FEWEST_STEPS` and at most `MOST_STEPS`.
        hard_negatives: Of a pair at most; by default all that the data have.

    Raises:
        ValueError: If there is no training set, none that fills a batch, or none with the negatives that are asked for.
    """
    entries = [e for e in manifest["datasets"] if e["part"] == "train" and e["task"] in TASKS]
    rows = {e["name"]: e["rows"]["rows"] for e in entries}
    task_of = {e["name"]: e["task"] for e in entries}
    if not rows:
        raise ValueError("the data have no training part: pairs, classification or clustering with a train file")
    fits = _sets_that_fill(rows, task_of)
    if batch_size is None:
        every = set(task_of.values())
        chosen = [size for size in BATCH_SIZES if {task_of[name] for name in fits(size)} == every]
        chosen = chosen or [size for size in BATCH_SIZES if fits(size)]
        if not chosen:
            raise ValueError(f"no training set fills a batch of {BATCH_SIZES[-1]} pairs: {rows}")
        batch_size = chosen[0]
    kept = fits(batch_size)
    left_out = {
        name: f"{count} pairs do not fill a batch of {batch_size}" for name, count in rows.items() if name not in kept
    }
    if not kept:
        raise ValueError(f"batch size {batch_size}: no training set fills a batch ({rows}); lower it")
    total = sum(rows[name] for name in kept)
    if steps is None:
        steps = min(max(total // batch_size, FEWEST_STEPS), MOST_STEPS)
    most = max(entry.get("negatives", 0) for entry in entries if entry["name"] in kept)
    if hard_negatives and not most:
        raise ValueError(f"hard_negatives {hard_negatives}: no training set has negatives; `tsembed mine` finds some")
    used = most if hard_negatives is None else min(hard_negatives, most)
    return Plan({n: task_of[n] for n in kept}, {n: rows[n] for n in kept}, left_out, batch_size, steps, used)


def _sets_that_fill(rows: Mapping[str, int], task_of: Mapping[str, str]) -> Callable[[int], list[str]]:
    """Batch size -> the sets that a batch can be drawn from: alone, or together with the others of their task."""

    def fits(size: int) -> list[str]:
        kept = []
        for name, count in rows.items():
            apart = TASKS[task_of[name]].batching == "homogeneous"
            pool = count if apart else sum(n for other, n in rows.items() if task_of[other] == task_of[name])
            if pool >= size:
                kept.append(name)
        return kept

    return fits


def lines(plan: Plan, manifest: Mapping[str, Any], minutes: float | None = None) -> list[str]:
    """The plan in words, a line each.

    Args:
        plan: What will be trained on.
        manifest: Of the prepared data, for what was left out of the files.
        minutes: Expected length of the training.
    """
    said = [f"{task}: {count:,} pairs" for task, count in plan.rows_of_tasks.items()]
    length = f", about {minutes:.0f} minutes" if minutes is not None and minutes >= 1 else ""
    length = length or (", less than a minute" if minutes is not None else "")
    seen = plan.steps * plan.batch_size
    said.append(f"{plan.steps} steps of {plan.batch_size} pairs ({seen:,} pairs in all){length}")
    if plan.hard_negatives:
        sets = [e["name"] for e in manifest["datasets"] if e["name"] in plan.tasks and e.get("negatives")]
        said.append(f"hard negatives of a pair: up to {plan.hard_negatives}, in {', '.join(sets)}")
    said += unbalanced(dict(manifest))
    said += [f"left out: {name}, {reason}" for name, reason in plan.left_out.items()]
    for entry in manifest["datasets"]:
        said += [f"{entry['name']} ({entry['part']}): {note}" for note in entry["notes"].values()]
    said += [f"not used: {row.get('file', row['name'])}, {row['reason']}" for row in manifest["unused"]]
    scored = [f"{e['name']} ({e['format']})" for e in manifest["datasets"] if _is_scored(e)]
    said.append(f"test parts: {', '.join(scored) or 'none'}")
    held_out = [e["name"] for e in manifest["datasets"] if e["part"] == "validation"]
    said.append(f"held-out pairs of: {', '.join(held_out) or 'none'}")
    return said


def _is_scored(entry: Mapping[str, Any]) -> bool:
    return entry["part"] == "eval" and entry["format"] != "wikipedia"
