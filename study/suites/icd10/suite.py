"""The second suite of the embedded source: training and evaluation datasets from the codes of ICD-10-CM.

How every label is derived, and what the suite does not measure: docs/embedded_benchmark.md.

    python -m study.suites.icd10.suite --counts [EVAL_ROWS]
"""

import random
import sys
from collections.abc import Callable, Iterator

from tsembed.data.schema import DatasetSpec

from ...presets import Data
from ..counts import print_counts
from . import seen_types, training, tree, unseen_types
from .split import split_codes
from .tree import LICENCE, ORIGIN, Code

FULL = 1000  # rows of an evaluation set when `eval_rows` is None
VERSION = 1  # of the sets that are made of the same codes

# name, format, builder; each builds one set of seen chapters (categories that training does not read), one of unseen.
SETS: tuple[tuple[str, str, Callable], ...] = (
    ("icd_retrieval_inclusion", "retrieval", seen_types.retrieval_inclusion),
    ("icd_classification_chapter", "classification", seen_types.classification_chapter),
    ("icd_classification_section", "classification", seen_types.classification_section),
    ("icd_clustering_chapter", "clustering", seen_types.clustering_chapter),
    ("icd_clustering_section", "clustering", seen_types.clustering_section),
    ("icd_reranking_inclusion", "reranking", unseen_types.reranking_inclusion),
    ("icd_pairs_excludes", "pair_classification", unseen_types.pairs_excludes),
    ("icd_sts", "sts", unseen_types.sts),
)


def specs(data: Data) -> Iterator[DatasetSpec]:
    """All datasets, from the installed package.

    Raises:
        ValueError: If the package's file is not the pinned one; names the package and its versions.
    """
    yield from from_codes(tree.codes(tree.installed_file()), data)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings: the pinned file and the version of this code."""
    return [f"icd10 version {VERSION}", tree.SHA256]


def from_codes(codes: list[Code], data: Data) -> Iterator[DatasetSpec]:
    """All datasets of these codes; each evaluation set is drawn with a generator of its own name and `data.seed`."""
    pools = split_codes(codes)
    yield from training.specs(pools.train)
    for group, pool in (("seen", pools.seen), ("unseen", pools.unseen)):
        for base, format, build in SETS:
            name = f"{base}_{group}"
            tables = build(pool, data.eval_rows or FULL, random.Random(f"{data.seed}-{name}"))
            yield DatasetSpec(name, "eval", format, tables, ORIGIN, LICENCE, group=group)


if __name__ == "__main__":
    MODULE = "study.suites.icd10.suite"
    print_counts(sys.argv[1:], MODULE, lambda rows: specs(Data(source="embedded", suites=("icd10",), eval_rows=rows)))
