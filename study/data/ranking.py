"""Examples with pictures: as training pairs, and as the form "ranking", where a query has candidates of its own (MMEB).

A ranking set has two tables: `queries`, with the rows of its candidates and of the right ones among them, and
`candidates`, each distinct item once.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tsembed.inputs import Item

from .pairs import group_of

Tables = dict[str, list[dict]]
NO_FILES: Mapping[bytes, str] = {}


class Example(NamedTuple):
    """A query and its answer.

    Args:
        right: What makes a picture the right answer. Two pictures of one such key are never each other's negatives; two
            texts are never if they are equal.
        others: The candidates beside the answer, all distinct and all wrong; empty in training.
    """

    query: Item
    answer: Item
    right: tuple[str, ...] = ()
    others: Sequence[Item] = ()


def pair(example: Example, files: Mapping[bytes, str] = NO_FILES) -> dict:
    """The example as a row of the form "image_pairs".

    Args:
        example: Of a training set: its other candidates are left out.
        files: Encoded picture -> the file that it comes from, for the message about one that cannot be read.
    """
    query, answer = example.query, example.answer
    row = {"query": query.text, "query_image": query.image, "document": answer.text, "document_image": answer.image}
    row["group"] = group_of(answer.text) if answer.image is None else group_of("picture", *example.right)
    return row | _file("query_image", query.image, files) | _file("document_image", answer.image, files)


def tables(examples: Iterable[Example], rng: random.Random, files: Mapping[bytes, str] = NO_FILES) -> Tables:
    """The two tables of a ranking set. Every list of candidates is shuffled, so that a place in it says nothing."""
    number: dict[Item, int] = {}
    queries = []
    for query, answer, _, others in examples:
        rows = [number.setdefault(item, len(number)) for item in (answer, *others)]
        positives = rows[:1]
        rng.shuffle(rows)
        row = {"query": query.text, "query_image": query.image, "candidates": rows, "positives": positives}
        queries.append(row | _file("query_image", query.image, files))
    found = ({"text": i.text, "image": i.image} | _file("image", i.image, files) for i in number)
    return {"queries": queries, "candidates": list(found)}


def _file(column: str, picture: bytes | None, files: Mapping[bytes, str]) -> dict[str, str]:
    return {f"{column}_path": files[picture]} if picture in files else {}


def faults(found: Tables) -> Iterator[str]:
    """The rules of the form "ranking" that rows break, each with its place."""
    size = len(found["candidates"])
    for number, row in enumerate(found["queries"], start=1):
        candidates, positives = set(row["candidates"]), set(row["positives"])
        if len(candidates) < len(row["candidates"]):
            yield f"queries row {number}: a candidate stands twice in 'candidates'"
        if max(candidates) >= size:
            yield f"queries row {number}: candidate {max(candidates)} is no row of the {size} candidates"
        if not positives <= candidates:
            yield f"queries row {number}: positive {min(positives - candidates)} is not among its candidates"
        if positives == candidates:
            yield f"queries row {number}: all of its {len(candidates)} candidates are right"


def chance(found: Mapping[str, Sequence[dict]]) -> float:
    """Precision@1, in 0..1, of a choice at random.

    >>> chance({"queries": [{"candidates": [0, 1, 2, 3], "positives": [2]}, {"candidates": [0, 1], "positives": [0]}]})
    0.375
    """
    shares = [len(row["positives"]) / len(row["candidates"]) for row in found["queries"]]
    return sum(shares) / len(shares)


def cap(found: Tables, size: int, rng: random.Random) -> Tables:
    """`size` of the queries in their own order, and the candidates that these have."""
    queries = found["queries"]
    if len(queries) <= size:
        return found
    kept = [queries[i] for i in sorted(rng.sample(range(len(queries)), size))]
    used = sorted({row for query in kept for row in query["candidates"]})
    number = {row: i for i, row in enumerate(used)}
    return {
        "queries": [q | {name: [number[row] for row in q[name]] for name in ("candidates", "positives")} for q in kept],
        "candidates": [found["candidates"][row] for row in used],
    }
