"""The rules without which the score of an evaluation set says nothing about the model.

With one class, one constant score or no wrong candidate every model gets 0, 100 or no number at all; and a handful of
queries gives noise. `prepare` refuses such sets, all of them in one error.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from .schema import MTEB_TYPE, DatasetSpec

Tables = dict[str, list[dict]]
# Queries, texts or pairs that a test part of a user's folder has at least, before `eval_rows` of them are drawn. The
# other origins draw their rows themselves: a few of them are a choice of the preset and no fault of the data.
FEWEST = 10


class NotScorable(ValueError):
    """An evaluation set breaks rules; the message has a line per rule, with format and name of the set."""


def check(spec: DatasetSpec, tables: Tables, *, fewest: int = 0, place: str = "") -> None:
    """Go on if the set breaks no rule.

    Args:
        spec: The evaluation set.
        tables: Its rows, whole or as they are scored.
        fewest: Queries, texts or pairs that it needs at least.
        place: Stands before every rule in the message.

    Raises:
        NotScorable: With all rules that the set breaks.
    """
    rules = [*faults(spec.format, tables), *too_few(spec.format, tables, fewest)]
    if rules:
        raise NotScorable("\n".join(f"  {spec.format}/{spec.name}: {place}{rule}" for rule in rules))


def faults(format: str, tables: Tables) -> Iterator[str]:
    """The rules that an evaluation set breaks, each with the value that breaks it.

    Args:
        format: A key of `schema.FORMATS`.
        tables: Table name -> rows, whole or as they are scored.

    >>> list(faults("sts", {"rows": [{"score": 2.5}, {"score": 2.5}]}))
    ['all 2 pairs have the score 2.5; two different scores are needed']
    """
    empty = [table for table, rows in tables.items() if not rows]
    for table in empty:
        yield f"no row in {table!r}"
    if not empty and format in RULES:
        yield from RULES[format](tables)


def too_few(format: str, tables: Tables, fewest: int) -> Iterator[str]:
    """The rule that a set breaks with fewer than `fewest` scored rows; sets that MTEB does not score break none.

    A query without a relevant document is not scored, and neither is a text whose summaries are all equally relevant.
    """
    if format not in MTEB_TYPE:
        return
    if format == "retrieval":
        count, what = len(_relevant(tables)), "queries with a relevant document"
    elif format == "summarization":
        differing = sum(map(_differ, tables["rows"]))  # 0 is a rule of its own
        count, what = differing or len(tables["rows"]), "texts with summaries of different relevance"
    else:
        count, what = len(tables["rows"]), "rows"
    if count < fewest:
        yield f"{count} {what}; a test part needs at least {fewest}"


def _classification(tables: Tables) -> Iterator[str]:
    yield from _constant(tables["rows"], "rows", "label", "two labels are needed")
    lost = {row["label"] for row in tables["rows"]} - {row["label"] for row in tables["train"]}
    if lost:
        reason = "a training row with a text of a test part is left out"
        yield f"no training row is left of the test label {min(lost)!r}: {reason}"


def _clustering(tables: Tables) -> Iterator[str]:
    yield from _constant(tables["rows"], "rows", "label", "two labels are needed")
    rows = tables["rows"]
    if 1 < len(rows) == len({row["label"] for row in rows}):
        yield f"the {len(rows)} rows have {len(rows)} labels, each once; a label needs several texts"


def _retrieval(tables: Tables) -> Iterator[str]:
    size = len(tables["corpus"])
    whole = [query for query, count in _relevant(tables).items() if count == size]
    if whole:
        yield f"query {whole[0]!r}: all {size} documents of the corpus are relevant{_more(whole)}"


def _relevant(tables: Tables) -> Counter[str]:
    """Query -> number of its relevant documents, of the queries that have one."""
    return Counter(row["query_id"] for row in tables["qrels"] if row["score"] > 0)


def _reranking(tables: Tables) -> Iterator[str]:
    """Candidates of equal text are one candidate, and relevant if one of them is."""
    whole = [i for i, row in enumerate(tables["rows"]) if set(row["negative"]) <= set(row["positive"])]
    if whole:
        row = tables["rows"][whole[0]]
        count = len(set(row["positive"]))
        place = f"row {whole[0] + 1}, query {row['query']!r:.60}"
        yield f"{place}: all of its {count} distinct candidates are relevant{_more(whole)}"


def _pair_classification(tables: Tables) -> Iterator[str]:
    yield from _constant(tables["rows"], "pairs", "label", "both 0 and 1 are needed")


def _sts(tables: Tables) -> Iterator[str]:
    yield from _constant(tables["rows"], "pairs", "score", "two different scores are needed")


def _constant(rows: list[dict], what: str, column: str, need: str) -> Iterator[str]:
    values = {row[column] for row in rows}
    if len(values) == 1:
        yield f"all {len(rows)} {what} have the {column} {values.pop()!r}; {need}"


def _summarization(tables: Tables) -> Iterator[str]:
    rows = tables["rows"]
    if not any(map(_differ, rows)):
        what = f"the relevance of the first one's is {rows[0]['relevance']}"
        yield f"none of the {len(rows)} texts has summaries of different relevance ({what}); they are ranked per text"


def _differ(row: dict) -> bool:
    return len(set(row["relevance"])) > 1


def _ranking(tables: Tables) -> Iterator[str]:
    queries = tables["queries"]
    whole = [i for i, row in enumerate(queries) if set(row["candidates"]) == set(row["positives"])]
    if whole:
        count = len(queries[whole[0]]["candidates"])
        yield f"queries row {whole[0] + 1}: all of its {count} candidates are right{_more(whole)}"
    answers = {frozenset(row["positives"]) for row in queries}
    if len(queries) > 1 and len(answers) == 1 and not whole:
        right = tables["candidates"][min(answers.pop())]
        yield f"all {len(queries)} queries have the same answer, {right['text'] or 'an image'!r}; two are needed"


def _more(places: list) -> str:
    return f" ({len(places)} such queries)" if len(places) > 1 else ""


RULES: dict[str, Callable[[Tables], Iterator[str]]] = {
    "classification": _classification,
    "clustering": _clustering,
    "retrieval": _retrieval,
    "reranking": _reranking,
    "pair_classification": _pair_classification,
    "sts": _sts,
    "summarization": _summarization,
    "ranking": _ranking,
}
