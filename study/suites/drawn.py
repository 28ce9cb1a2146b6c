"""Suites of pictures whose examples are drawn by a function of a seeded generator: digits and glyphs.

A suite has a pool of pictures for each of training, validation and evaluation, and a bank of few evaluation pictures
that are documents: each is embedded once for all sets.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tsembed.data.ranking import RankingExample, chance, pair, tables
from tsembed.data.schema import DatasetSpec
from tsembed.inputs import Input

from ..presets import Data

TRAIN_ROWS, EVAL_ROWS = 2000, 1000  # of a set, where the settings say nothing
MISSES = 300  # draws in a row that give nothing new, after which a set of few distinct examples ends


class DrawnSet(NamedTuple):
    """One set: its meta-task, "seen" if it is trained too, else "unseen", and how an example is drawn.

    Args:
        draw: (rng, queries, documents, negatives) -> example, where the pools are the suite's own class; `negatives`
            asks for the wrong candidates too.
        answers: How many texts its question can be answered with; 0 where pictures answer.
    """

    name: str
    task: str
    group: str
    draw: Callable[[random.Random, Any, Any, bool], RankingExample]
    answers: int = 0


class Suite(NamedTuple):
    """What the datasets of a suite are made of.

    Args:
        captions: Sets that are trained on alone, before the others, and never evaluated.
        sets: The others.
        division: The pools "train", "validation" and "eval"; an evaluation pool has `bank(rng)`.
    """

    captions: tuple[DrawnSet, ...]
    sets: tuple[DrawnSet, ...]
    division: dict[str, Any]
    origin: str
    licence: str


def specs(suite: Suite, data: Data) -> Iterator[DatasetSpec]:
    """The captions, the trained sets, then all evaluation sets."""
    about = (suite.origin, suite.licence)
    for drawn_set in (*suite.captions, *suite.sets):
        if drawn_set.group == "seen":
            rows = _pairs(drawn_set, suite.division["train"], data.train_rows or TRAIN_ROWS, data.seed, "train")
            parts = {"rows": rows}
            if data.validation_rows:
                held = _pairs(drawn_set, suite.division["validation"], data.validation_rows, data.seed, "validation")
                parts["validation"] = held
            yield DatasetSpec(drawn_set.name, "train", "image_pairs", parts, *about, "seen", drawn_set.task)
    queries = suite.division["eval"]
    bank = queries.bank(random.Random(f"{data.seed}/bank"))
    for drawn_set in suite.sets:
        rng = random.Random(f"{data.seed}/{drawn_set.name}/eval")
        parts = tables(_distinct(drawn_set, queries, bank, data.eval_rows or EVAL_ROWS, rng, True), rng)
        kept = (*about, drawn_set.group, drawn_set.task)
        yield DatasetSpec(drawn_set.name, "eval", "ranking", parts, *kept, answers=drawn_set.answers)


def _pairs(drawn_set: DrawnSet, pool: Any, size: int, seed: int, part: str) -> Iterator[dict]:
    rng = random.Random(f"{seed}/{drawn_set.name}/{part}")
    return map(pair, _distinct(drawn_set, pool, pool, size, rng, False))


def _distinct(
    drawn_set: DrawnSet, queries: Any, documents: Any, size: int, rng: random.Random, negatives: bool
) -> Iterator[RankingExample]:
    """Up to `size` examples, no pair of query and answer twice."""
    seen: set[tuple[Input, Input]] = set()
    misses = 0
    while len(seen) < size and misses < MISSES:
        drawn = drawn_set.draw(rng, queries, documents, negatives)
        if (drawn.query, drawn.positive) in seen:
            misses += 1
            continue
        misses = 0
        seen.add((drawn.query, drawn.positive))
        yield drawn


def counts(specs_of_suite: Iterable[DatasetSpec]) -> Iterator[str]:
    """A Markdown table of the evaluation sets: queries, candidates per query, chance in per cent."""
    yield "| meta-task | set | group | queries | distinct candidates | per query | chance |"
    yield "|---|---|---|---|---|---|---|"
    for spec in specs_of_suite:
        if spec.part == "eval":
            queries, candidates = spec.tables["queries"], spec.tables["candidates"]
            sizes = sorted({len(row["candidates"]) for row in queries})
            size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            percent = 100 * chance(spec.tables)
            about = f"| {spec.task} | {spec.name} | {spec.group} | {len(queries):,} "
            yield f"{about}| {len(candidates):,} | {size} | {percent:.1f} |"
