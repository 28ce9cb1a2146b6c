"""What each scored item gave to a score: `items.parquet` beside a run's scores.json, a row per item.

    dataset   as in scores.json
    kind      what `value` is: "score", "cosine" or "cluster"
    split     of a clustering set that is clustered in parts (`text_tasks.CLUSTERING_SET`); 0 elsewhere
    item      of retrieval the query's id; else the row of the prepared table, counted from 0
    value     six digits

Where the metric is a mean over items, the value is the item's own "score" in 0..1, and 100 times their mean is the
dataset's score: nDCG@10 or average precision of a query, share of the classifiers that are right about a text, rank
correlation of a text's summaries, whether a query's first candidate is right. Other metrics belong to a whole set:
there the value is what the model said of the item, the "cosine" of a pair or the "cluster" of a text.

Equal rows are equal bytes with the same pyarrow, so a hash of the file says whether two runs agree on every item.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from ..files import write_bytes

FILE = "items.parquet"
DIGITS = 6
Kind = Literal["score", "cosine", "cluster"]


class Items(NamedTuple):
    """The items of one dataset."""

    kind: Kind
    item: Sequence[str]
    value: Sequence[float]
    split: Sequence[int] | None = None  # None: one split


def of_classifiers(predictions: Sequence[Sequence[int]], labels: Sequence[int]) -> Items:
    """Share of the classifiers that are right about each text.

    >>> of_classifiers([[0, 1], [0, 0]], [0, 1]).value
    [1.0, 0.5]
    """
    right = np.asarray(predictions) == np.asarray(labels)  # (classifiers, texts)
    return Items("score", _rows(len(labels)), right.mean(axis=0).tolist())


def of_clusters(
    clusters: Iterable[Sequence[int]], sets: Sequence[Sequence[int]], labels: Mapping[int, Any] | Sequence[Any]
) -> Items:
    """Cluster of each text, set by set.

    Args:
        clusters: One sequence per set with more than one label; MTEB does not cluster the others, which are right as
            one cluster.
        sets: Rows of the texts of each set.
        labels: Of all rows.
    """
    assignments = iter(clusters)
    split, item, value = [], [], []
    for number, members in enumerate(sets):
        several = len({labels[row] for row in members}) > 1
        value += [float(cluster) for cluster in (next(assignments) if several else [0] * len(members))]
        item += [str(row) for row in members]
        split += [number] * len(members)
    return Items("cluster", item, value, split)


def of_queries(scores: Mapping[str, Mapping[str, float]], queries: Iterable[str], measure: str) -> Items:
    """A measure of each query, out of those that MTEB takes the means of.

    Args:
        scores: Query -> measure, in the words of trec_eval -> value.
        queries: In the order of the prepared table; those without a score are left out.
        measure: "ndcg_cut_10", "map_cut_1000".
    """
    scored = [query for query in queries if query in scores]
    return Items("score", scored, [scores[query][measure] for query in scored])


def of_pairs(cosines: Sequence[float]) -> Items:
    """Cosine similarity of each pair."""
    return Items("cosine", _rows(len(cosines)), cosines)


def of_summaries(predictions: Mapping[str, Sequence], table: Mapping[str, Sequence]) -> Items:
    """Rank correlation of each text's summaries.

    MTEB leaves out a text whose human scores, or whose similarities, are all the same, without saying which: the texts
    are found again by their human scores, in their order.

    Args:
        predictions: "human_scores" in 0..1 and "cosine_scores", a list per text that was scored.
        table: The prepared columns "relevance" and "machine_summaries".
    """
    from scipy.stats import spearmanr

    relevance = [score for row in table["relevance"] for score in row]
    low, high = min(relevance, default=0.0), max(relevance, default=1.0)
    scorable = [
        row
        for row, (scores, summaries) in enumerate(zip(table["relevance"], table["machine_summaries"], strict=True))
        if len(set(scores)) > 1 and len(set(summaries)) > 1
    ]
    candidates = iter(scorable)
    item, value = [], []
    for human, cosines in zip(predictions["human_scores"], predictions["cosine_scores"], strict=True):
        row = next(r for r in candidates if np.allclose((np.array(table["relevance"][r]) - low) / (high - low), human))
        item.append(str(row))
        value.append(float(spearmanr(human, cosines).statistic))
    return Items("score", item, value)


def write(path: Path, datasets: Mapping[str, Items]) -> None:
    """Write a file of some datasets' items, whole or not at all."""
    frames = [
        pd.DataFrame(
            {
                "dataset": dataset,
                "kind": items.kind,
                "split": 0 if items.split is None else items.split,
                "item": list(items.item),
                "value": np.round(np.asarray(items.value, dtype=float), DIGITS) + 0.0,  # -0.0 becomes 0.0
            }
        )
        for dataset, items in datasets.items()
    ]
    _write(path, frames)


def join(pieces: Iterable[Path], target: Path, order: Sequence[str] | None = None) -> None:
    """Write the rows of some files into one.

    Args:
        pieces: One after the other.
        target: Whole or not at all.
        order: Of the datasets; None: as the pieces have them.
    """
    frames = [read(piece) for piece in pieces]
    if order is not None:
        of_dataset = {name: rows for frame in frames for name, rows in frame.groupby("dataset", sort=False)}
        frames = [of_dataset[name] for name in order if name in of_dataset]
    _write(target, frames)


def read(path: Path) -> pd.DataFrame:
    """The rows of a file: dataset, kind, split, item, value."""
    return pd.read_parquet(path)


def sha256(path: Path) -> str:
    """Hash of a file of items."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(count: int) -> list[str]:
    return [str(row) for row in range(count)]


def _write(path: Path, frames: list[pd.DataFrame]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"dataset": pa.string(), "kind": pa.string(), "split": pa.int32(), "item": pa.string()}
    columns = [*types, "value"]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({name: [] for name in columns})
    schema = pa.schema([*types.items(), ("value", pa.float64())])
    arrays = [pa.array(rows[name].tolist(), type=schema.field(name).type) for name in columns]
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        buffer,
        compression="zstd",
        compression_level=19,
        store_schema=False,
    )
    write_bytes(path, buffer.getvalue())
