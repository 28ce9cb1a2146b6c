"""Examples with images: as training pairs, and as the format "ranking", where a query has its own candidates (MMEB).

A ranking set has two tables: `queries`, with the rows of its candidates and of the right ones among them, and
`candidates`, each distinct item once.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..inputs import Input
from .pairs import group_of

Tables = dict[str, list[dict]]
NO_FILES: Mapping[int, str] = {}


class RankingExample(NamedTuple):
    """A query and its answer.

    Attributes:
        positive: Its answer.
        answer_key: What makes an image the right answer. Two images of one such key are never each other's negatives;
            two texts are never if they are equal.
        negatives: The candidates beside the answer, all distinct and all wrong; empty in training.
    """

    query: Input
    positive: Input
    answer_key: tuple[str, ...] = ()
    negatives: Sequence[Input] = ()


def pair(example: RankingExample, files: Mapping[int, str] = NO_FILES) -> dict:
    """The example as a row of the format "image_pairs".

    Args:
        example: Of a training set: its negatives are left out.
        files: Hash of an encoded picture -> the file that it comes from, for the message about one that cannot be read.
    """
    query, answer = example.query, example.positive
    images = {"query_image": query.image, "document_image": answer.image}
    row: dict[str, Any] = {"query": query.text, "document": answer.text, **images}
    row["group"] = group_of(answer.text) if answer.image is None else group_of("picture", *example.answer_key)
    return row | _file("query_image", query.image, files) | _file("document_image", answer.image, files)


def tables(examples: Iterable[RankingExample], rng: random.Random, files: Mapping[int, str] = NO_FILES) -> Tables:
    """The two tables of a ranking set. Every list of candidates is shuffled, so that a place in it says nothing."""
    number: dict[Input, int] = {}
    queries = []
    for query, positive, _, negatives in examples:
        rows = [number.setdefault(item, len(number)) for item in (positive, *negatives)]
        positives = rows[:1]
        rng.shuffle(rows)
        row: dict[str, Any] = {
            "query": query.text,
            "query_image": query.image,
            "candidates": rows,
            "positives": positives,
        }
        queries.append(row | _file("query_image", query.image, files))
    candidates = [dict(text=i.text, image=i.image, **_file("image", i.image, files)) for i in number]
    return {"queries": queries, "candidates": candidates}


def _file(column: str, picture: bytes | None, files: Mapping[int, str]) -> dict[str, str]:
    place = files.get(hash(picture)) if picture is not None and files else None
    return {f"{column}_path": place} if place is not None else {}


def faults(tables: Tables) -> Iterator[str]:
    """The rules of the format "ranking" that rows break, each with its place."""
    size = len(tables["candidates"])
    for number, row in enumerate(tables["queries"], start=1):
        candidates, positives = set(row["candidates"]), set(row["positives"])
        if len(candidates) < len(row["candidates"]):
            yield f"queries row {number}: a candidate stands twice in 'candidates'"
        if max(candidates) >= size:
            yield f"queries row {number}: candidate {max(candidates)} is no row of the {size} candidates"
        if not positives <= candidates:
            yield f"queries row {number}: positive {min(positives - candidates)} is not among its candidates"


def chance(tables: Mapping[str, Sequence[dict]]) -> float:
    """Precision@1, in 0..1, of a choice at random.

    >>> chance({"queries": [{"candidates": [0, 1, 2, 3], "positives": [2]}, {"candidates": [0, 1], "positives": [0]}]})
    0.375
    """
    shares = [len(row["positives"]) / len(row["candidates"]) for row in tables["queries"]]
    return sum(shares) / len(shares)


def subsample(tables: Tables, size: int, rng: random.Random) -> Tables:
    """`size` of the queries in their own order, and the candidates that these have."""
    queries = tables["queries"]
    if len(queries) <= size:
        return tables
    sample = [queries[i] for i in sorted(rng.sample(range(len(queries)), size))]
    used = sorted({row for query in sample for row in query["candidates"]})
    number = {row: i for i, row in enumerate(used)}

    def renumbered(query: dict) -> dict:
        return query | {name: [number[row] for row in query[name]] for name in ("candidates", "positives")}

    candidates = [tables["candidates"][row] for row in used]
    return {"queries": [renumbered(query) for query in sample], "candidates": candidates}
