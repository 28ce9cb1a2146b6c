"""At most `eval_rows` queries or texts per evaluation set, drawn by seed; what was left out is counted in the notes."""

import random
from collections import defaultdict

from ..presets import Data
from . import ranking
from .schema import Source

Tables = dict[str, list[dict]]
DISTRACTORS = 4  # a corpus keeps the relevant documents and this many others per allowed query
MIN_PER_LABEL = 16  # MTEB fits its classifier on 8 texts per label, drawn anew in each of 10 experiments


def cap(source: Source, tables: Tables, data: Data) -> Tables:
    """The tables of an evaluation set, sub-sampled in their own order. Articles (wikipedia) are never capped.

    - Retrieval: `eval_rows` of the queries that have a relevant document (score > 0), their qrels, all documents of
      these qrels, and up to 4 × `eval_rows` other documents.
    - Classification: `eval_rows` rows; of the train table about as many, but at least 16 of every label.
    - Ranking: `eval_rows` queries, and their candidates.
    - All other forms: `eval_rows` rows.
    """
    if source.form == "retrieval":
        tables = _answerable(source, tables)
    if data.eval_rows is None or source.form == "wikipedia":
        return tables
    rng = random.Random(f"{data.seed}/{source.name}/eval")
    if source.form == "retrieval":
        return _retrieval(source, tables, data.eval_rows, rng)
    if source.form == "ranking":
        if len(tables["queries"]) > data.eval_rows:
            source.notes["cap of queries"] = f"{data.eval_rows} of {len(tables['queries'])}, drawn by seed"
        return ranking.cap(tables, data.eval_rows, rng)
    capped = {"rows": _sample(source, "rows", tables["rows"], data.eval_rows, rng)}
    if source.form == "classification":
        capped["train"] = _per_label(source, tables["train"], data.eval_rows, rng)
    return capped


def _sample(source: Source, table: str, rows: list[dict], size: int, rng: random.Random) -> list[dict]:
    if len(rows) <= size:
        return rows
    source.notes[f"cap of {table}"] = f"{size} of {len(rows)}, drawn by seed"
    return [rows[i] for i in sorted(rng.sample(range(len(rows)), size))]


def _per_label(source: Source, rows: list[dict], size: int, rng: random.Random) -> list[dict]:
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_label[row["label"]].append(i)
    most = max(MIN_PER_LABEL, size // len(by_label))
    kept = sorted(i for found in by_label.values() for i in rng.sample(found, min(most, len(found))))
    if len(kept) < len(rows):
        source.notes["cap of train"] = f"{len(kept)} of {len(rows)}: at most {most} per label, drawn by seed"
    return [rows[i] for i in kept]


def _answerable(source: Source, tables: Tables) -> Tables:
    relevant = {row["query_id"] for row in tables["qrels"] if row["score"] > 0}
    queries = [row for row in tables["queries"] if row["query_id"] in relevant]
    if without := len(tables["queries"]) - len(queries):
        source.notes["unanswerable"] = f"{without} queries left out: no document with a score > 0"
    qrels = [row for row in tables["qrels"] if row["query_id"] in relevant]
    return tables | {"queries": queries, "qrels": qrels}


def _retrieval(source: Source, tables: Tables, size: int, rng: random.Random) -> Tables:
    queries = _sample(source, "queries", tables["queries"], size, rng)
    asked = {row["query_id"] for row in queries}
    qrels = [row for row in tables["qrels"] if row["query_id"] in asked]
    judged = {row["doc_id"] for row in qrels}
    others = [i for i, row in enumerate(tables["corpus"]) if row["doc_id"] not in judged]
    corpus = tables["corpus"]
    if len(others) > DISTRACTORS * size:
        kept = set(rng.sample(others, DISTRACTORS * size))
        corpus = [row for i, row in enumerate(corpus) if row["doc_id"] in judged or i in kept]
        total = len(tables["corpus"])
        source.notes["cap of corpus"] = f"{len(corpus)} of {total}: {len(judged)} judged, {len(kept)} others by seed"
    return {"queries": queries, "corpus": corpus, "qrels": qrels}
