"""The embedded source: training and evaluation datasets from the docstrings of the pinned packages.

How every label is derived, and what the benchmark does not measure: docs/embedded_benchmark.md.

    python -m study.suites.docstrings.suite --counts [EVAL_ROWS]
"""

import random
import sys
from collections.abc import Callable, Iterable, Iterator

from tsembed.data.schema import DatasetSpec

from ...presets import Data
from ..counts import print_counts
from ..words import normalised
from . import draw, labels, packages, seen_types, training, unseen_types
from .labels import question, readable
from .packages import HELD_OUT, PACKAGES, SEEN, Record
from .split import Pools, split_records

FULL = 1000  # rows of an evaluation set when `eval_rows` is None
VERSION = 1  # of the sets that are made of the same records

# name, form, builder; each builds one set of seen packages (modules that training does not read) and one of unseen.
SETS: tuple[tuple[str, str, Callable], ...] = (
    ("docs_retrieval_body", "retrieval", seen_types.retrieval_body),
    ("docs_retrieval_parameter", "retrieval", seen_types.retrieval_parameter),
    ("docs_retrieval_name", "retrieval", seen_types.retrieval_name),
    ("docs_classification_role", "classification", seen_types.classification_role),
    ("docs_classification_package", "classification", seen_types.classification_package),
    ("docs_classification_type", "classification", seen_types.classification_type),
    ("docs_clustering_module", "clustering", seen_types.clustering_module),
    ("docs_clustering_class", "clustering", seen_types.clustering_class),
    ("docs_clustering_parameter", "clustering", seen_types.clustering_parameter),
    ("docs_reranking_body", "reranking", unseen_types.reranking_body),
    ("docs_reranking_parameter", "reranking", unseen_types.reranking_parameter),
    ("docs_pairs_object", "pair_classification", unseen_types.pairs_object),
    ("docs_pairs_parameter", "pair_classification", unseen_types.pairs_parameter),
    ("docs_sts", "sts", unseen_types.sts),
    ("docs_summarization", "summarization", unseen_types.summarization),
)


def specs(data: Data) -> Iterator[DatasetSpec]:
    """All datasets, from the installed packages.

    Raises:
        ValueError: If the text of a package is not the pinned one; names the package and its versions.
    """
    records = packages.records()
    packages.check(records)
    yield from from_records(records, data)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings: the pinned text and the version of this code."""
    return [f"version {VERSION}", *(f"{name} {pin['sha256']}" for name, pin in packages.pins().items())]


def from_records(records: Iterable[Record], data: Data) -> Iterator[DatasetSpec]:
    """All datasets of these records; each evaluation set is drawn with a generator of its own name and `data.seed`."""
    pools = split_records(list(records))
    about = {p.name: (f"docstrings of {p.distribution} {packages.version(p)}", p.licence) for p in PACKAGES}
    yield from training.specs(pools.train, _evaluated(pools), about)
    for group, members, pool in (("seen", SEEN, pools.seen), ("unseen", HELD_OUT, pools.unseen)):
        sets = [(f"{name}_{group}", format, build) for name, format, build in SETS]
        if group == "unseen":
            sets.append(("docs_articles", "wikipedia", unseen_types.articles))
        origin = "; ".join(about[p.name][0] for p in members)
        licence = ", ".join(dict.fromkeys(p.licence for p in members))
        for name, format, build in sets:
            rng = random.Random(f"{data.seed}-{name}")
            tables = build(pool, data.eval_rows or FULL, rng)
            yield DatasetSpec(name, "eval", format, tables, origin, licence, group=group)


def _evaluated(pools: Pools) -> set[str]:
    """Keys of all texts that an evaluation set may have: sentences, and what is made of them."""
    records = pools.seen + pools.unseen
    masked = (text for pool in (pools.seen, pools.unseen) for text in labels.masked(pool))
    questions = (question(record, name) for record in records for name in record.params)
    descriptions = (d.text for most in (30, 40) for d in draw.parameter_descriptions(records, most))
    whole = (text for record in records for text in (record.summary, *record.body, readable(record)))
    return {normalised(text) for text in (*masked, *questions, *descriptions, *whole)}


if __name__ == "__main__":
    MODULE = "study.suites.docstrings.suite"
    print_counts(sys.argv[1:], MODULE, lambda rows: specs(Data(source="embedded", eval_rows=rows)))
