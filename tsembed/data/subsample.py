"""At most `eval_rows` queries or texts per evaluation set, drawn by seed; what was left out is returned as notes."""

import random
from collections import defaultdict

from ..settings import Data
from . import ranking
from .schema import DatasetSpec

Tables = dict[str, list[dict]]
Notes = dict[str, str]
DISTRACTORS = 4  # a corpus keeps the relevant documents and this many others per allowed query
MIN_PER_LABEL = 16  # MTEB fits its classifier on 8 texts per label, drawn anew in each of 10 experiments


def subsample(spec: DatasetSpec, tables: Tables, data: Data) -> tuple[Tables, Notes]:
    """The tables of an evaluation set, sub-sampled in their own order, and what was left out; all articles are kept.

    - Retrieval: `eval_rows` of the queries that have a relevant document (score > 0), their qrels, all documents of
      these qrels, and up to 4 × `eval_rows` other documents.
    - Classification: `eval_rows` rows; of the train table about as many, but at least 16 of every label.
    - Ranking: `eval_rows` queries, and their candidates.
    - All other formats: `eval_rows` rows.
    """
    notes: Notes = {}
    if spec.format == "retrieval":
        tables, notes = _answerable(tables)
    if data.eval_rows is None or spec.format == "wikipedia":
        return tables, notes
    rng = random.Random(f"{data.seed}/{spec.name}/eval")
    if spec.format == "retrieval":
        tables, capped = _retrieval(tables, data.eval_rows, rng)
    elif spec.format == "ranking":
        queries = len(tables["queries"])
        capped = {"cap of queries": f"{data.eval_rows} of {queries}, drawn by seed"} if queries > data.eval_rows else {}
        tables = ranking.subsample(tables, data.eval_rows, rng)
    else:
        rows, capped = _sample("rows", tables["rows"], data.eval_rows, rng)
        if spec.format == "classification":
            train, capped_train = _per_label(tables["train"], data.eval_rows, rng)
            tables, capped = {"rows": rows, "train": train}, capped | capped_train
        else:
            tables = {"rows": rows}
    return tables, notes | capped


def _sample(table: str, rows: list[dict], size: int, rng: random.Random) -> tuple[list[dict], Notes]:
    if len(rows) <= size:
        return rows, {}
    sample = [rows[i] for i in sorted(rng.sample(range(len(rows)), size))]
    return sample, {f"cap of {table}": f"{size} of {len(rows)}, drawn by seed"}


def _per_label(rows: list[dict], size: int, rng: random.Random) -> tuple[list[dict], Notes]:
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_label[row["label"]].append(i)
    most = max(MIN_PER_LABEL, size // len(by_label))
    places = sorted(i for of_label in by_label.values() for i in rng.sample(of_label, min(most, len(of_label))))
    if len(places) == len(rows):
        return rows, {}
    note = f"{len(places)} of {len(rows)}: at most {most} per label, drawn by seed"
    return [rows[i] for i in places], {"cap of train": note}


def _answerable(tables: Tables) -> tuple[Tables, Notes]:
    relevant = {row["query_id"] for row in tables["qrels"] if row["score"] > 0}
    queries = [row for row in tables["queries"] if row["query_id"] in relevant]
    qrels = [row for row in tables["qrels"] if row["query_id"] in relevant]
    unanswerable = len(tables["queries"]) - len(queries)
    note = {"unanswerable": f"{unanswerable} queries left out: no document with a score > 0"} if unanswerable else {}
    return tables | {"queries": queries, "qrels": qrels}, note


def _retrieval(tables: Tables, size: int, rng: random.Random) -> tuple[Tables, Notes]:
    queries, notes = _sample("queries", tables["queries"], size, rng)
    ids = {row["query_id"] for row in queries}
    qrels = [row for row in tables["qrels"] if row["query_id"] in ids]
    judged = {row["doc_id"] for row in qrels}
    unjudged = [i for i, row in enumerate(tables["corpus"]) if row["doc_id"] not in judged]
    corpus = tables["corpus"]
    if len(unjudged) > DISTRACTORS * size:
        distractors = set(rng.sample(unjudged, DISTRACTORS * size))
        corpus = [row for i, row in enumerate(corpus) if row["doc_id"] in judged or i in distractors]
        counts = f"{len(judged)} judged, {len(distractors)} others by seed"
        notes["cap of corpus"] = f"{len(corpus)} of {len(tables['corpus'])}: {counts}"
    return {"queries": queries, "corpus": corpus, "qrels": qrels}, notes
