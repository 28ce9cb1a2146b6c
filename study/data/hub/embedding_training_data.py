"""The paper's training data on the hub (MoTE §4, footnote 4): the 29 sources of contrastors, each with its task.

26 of them are files of `sentence-transformers/embedding-training-data`; the other three stand in neighbouring
repositories. Contrastors trained on consistency-filtered copies of these files (`filtered_pairs`), and so did MoTE. The
files here are the unfiltered ones, except the two parquet sources, which are contrastors' own filtered copies. They can
be sampled from their beginning, which is what `gpu` does; `paper` reads the filtered ones whole (`filtered_pairs.py`).

`data.path` may name a folder that mirrors the files under their own paths; then no network is needed.
"""

import gzip
import json
import random
from collections.abc import Generator, Iterator
from fnmatch import fnmatch
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tsembed import hub
from tsembed.data.archives import BROKEN_GZIP, check_no_pointer
from tsembed.data.pairs import reservoir
from tsembed.data.schema import DatasetSpec, Pair, parse
from tsembed.texts import is_blank

from ...presets import Data

REPOSITORY = "sentence-transformers/embedding-training-data"  # pinned by `data.revision`
REDDIT = "sentence-transformers/reddit-title-body"
NOMIC = "nomic-ai/nomic-embed-unsupervised-data"
REVISIONS = {
    REPOSITORY: "f0952284922903339c620681b8506e31884c63b4",  # where no `data.revision` pins it
    REDDIT: "60f9fef73b56b73dfaefeab3729410f3cf9f846d",
    NOMIC: "dc9becf5b832f22f00007f14581bd73e2e6cf3aa",
}
LICENCE = "that of each original source; the collection states none"
ARTICLES = 128  # of the similarity analysis (MoTE §5.2)
WINDOW = 20  # a sample of `train_rows` is drawn from the first 20 x `train_rows` rows, so that little is downloaded


class HubSource(NamedTuple):
    """One training source: its task, its files (a pattern within a repository) and contrastors' number of pairs."""

    task: str
    files: str
    filtered_pairs: int
    repository: str = REPOSITORY


# Task and number of pairs: contrastors' contrastive_pretrain.yaml.
HUB_SOURCES: dict[str, HubSource] = {
    "reddit_title_body": HubSource("clustering", "reddit_title_text_*.jsonl.gz", 65_000_000, REDDIT),
    "s2orc_title_abstract": HubSource("clustering", "S2ORC_title_abstract.jsonl.gz", 35_400_000),
    "s2orc_citation_titles": HubSource("clustering", "S2ORC_citations_titles.jsonl.gz", 7_600_000),
    "s2orc_abstract_citation": HubSource("clustering", "S2ORC_citations_abstracts.jsonl.gz", 7_500_000),
    "s2orc_abstract_body": HubSource("clustering", "data/s2orc_abstract_body-*.parquet", 6_400_000, NOMIC),
    "codesearch": HubSource("clustering", "codesearchnet.jsonl.gz", 840_000),
    "stackexchange_duplicate_questions": HubSource(
        "clustering", "stackexchange_duplicate_questions_title_title.jsonl.gz", 65_000
    ),
    "stackexchange_title_body": HubSource(
        "clustering", "stackexchange_duplicate_questions_title-body_title-body.jsonl.gz", 65_000
    ),
    "stackexchange_body_body": HubSource("clustering", "stackexchange_duplicate_questions_body_body.jsonl.gz", 65_000),
    "amazon_reviews": HubSource("classification", "amazon_review_2018.jsonl.gz", 38_700_000),
    "wikianswers": HubSource("classification", "WikiAnswers.jsonl.gz", 9_900_000),
    "wikipedia": HubSource("classification", "data/wikipedia-*.parquet", 6_100_000, NOMIC),
    "agnews": HubSource("classification", "agnews.jsonl.gz", 410_000),
    "ccnews": HubSource("classification", "ccnews_title_text.jsonl.gz", 340_000),
    "npr": HubSource("classification", "npr.jsonl.gz", 340_000),
    "cnn": HubSource("classification", "cnn_dailymail_splitted.jsonl.gz", 280_000),
    "sentence_compression": HubSource("classification", "sentence-compression.jsonl.gz", 160_000),
    "altlex": HubSource("classification", "altlex.jsonl.gz", 98_000),
    "wikihow": HubSource("classification", "wikihow.jsonl.gz", 82_000),
    "simplewiki": HubSource("classification", "SimpleWiki.jsonl.gz", 82_000),
    "quora": HubSource("classification", "quora_duplicates.jsonl.gz", 33_000),
    "paq": HubSource("retrieval", "PAQ_pairs.jsonl.gz", 53_000_000),
    "gooaq": HubSource("retrieval", "gooaq_pairs.jsonl.gz", 1_250_000),
    "yahoo_title_answer": HubSource("retrieval", "yahoo_answers_title_answer.jsonl.gz", 262_000),
    "amazonqa": HubSource("retrieval", "amazon-qa.jsonl.gz", 213_000),
    "yahoo_title_question": HubSource("retrieval", "yahoo_answers_title_question.jsonl.gz", 197_000),
    "yahoo_qa": HubSource("retrieval", "yahoo_answers_question_answer.jsonl.gz", 131_000),
    "eli5": HubSource("retrieval", "eli5_question_answer.jsonl.gz", 98_000),
    "squad": HubSource("retrieval", "squad_pairs.jsonl.gz", 16_000),
}


def specs(data: Data) -> Iterator[DatasetSpec]:
    """The 29 training sources as pairs, and 128 articles of SimpleWiki. MTEB loads its own evaluation sets.

    Raises:
        ValueError: If a file is missing, or with file and line, if a line is not in one of the known formats.
    """
    for name, source in HUB_SOURCES.items():
        rows = {"rows": _pairs(name, source, data)}
        yield DatasetSpec(name, "train", "pairs", rows, _origin(source, data), LICENCE, task=source.task)
    yield articles(data)


def articles(data: Data) -> DatasetSpec:
    """The 128 articles of SimpleWiki that the similarity analysis embeds.

    Args:
        data: Mirror or revision, and seed.
    """
    simple = HUB_SOURCES["simplewiki"]
    rows = {"rows": _articles(simple, data)}
    return DatasetSpec("simplewiki_articles", "eval", "wikipedia", rows, _origin(simple, data), LICENCE)


def fingerprint(data: Data) -> list[str]:
    """The pinned revisions, and name, size and time of a mirror's files."""
    pinned = [f"{repository} {REVISIONS[repository]}" for repository in (REDDIT, NOMIC)]
    if data.path is None:
        return pinned
    files = sorted(p for p in data.path.rglob("*") if p.is_file())
    return pinned + [f"{p.relative_to(data.path).as_posix()} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def pair(row: Any, rng: random.Random) -> Pair:
    """Anchor and positive of one row: `[a, p, …]`, `{"set": […]}`, `{"query", "pos"}` or one of contrastors' columns.

    Of a set two texts are drawn, of several positives one.

    Raises:
        ValueError: If the row has none of these formats, or an empty text.
    """
    if isinstance(row, list) and len(row) >= 2:
        texts = row[:2]
    elif not isinstance(row, dict):
        raise ValueError(f"neither a pair nor an object: {row!r:.60}")
    elif isinstance(row.get("set"), list) and len(row["set"]) >= 2:
        texts = rng.sample(row["set"], 2)
    elif "query" in row and isinstance(row.get("pos"), list) and row["pos"]:
        texts = [row["query"], rng.choice(row["pos"])]
    else:
        names = next((n for n in (("query", "document"), ("title", "body")) if set(n) <= row.keys()), None)
        if names is None:
            raise ValueError(f"unknown format with the keys {', '.join(row)}: {row!r:.60}")
        texts = [row[name] for name in names]
    return parse(Pair, {"anchor": texts[0], "positive": texts[1]})


def _pairs(name: str, source: HubSource, data: Data) -> Generator[Pair, None, dict[str, str]]:
    """Pairs of all files in a stream. Rows with an empty text are left out; returns their number as a note."""
    rng = random.Random(f"{data.seed}/{name}/hub")
    limit = None if data.train_rows is None else WINDOW * (data.train_rows + data.validation_rows)
    empty = 0
    for place, row in islice(_rows(source, data, sampled=limit is not None), limit):
        if _has_empty(row):
            empty += 1
            continue
        try:
            yield pair(row, rng)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    notes = {}
    if limit is not None:
        notes["sample"] = f"drawn by seed from the first {limit} rows at most"
    if empty:
        notes["empty"] = f"{empty} rows left out: an empty text, or a set of one"
    return notes


@cache
def _listed(repository: str, revision: str | None) -> list[str]:
    """A repository's files: 26 sources ask for the same one, and the hub limits requests."""
    return hub.list_files(repository, revision)


def _has_empty(row: Any) -> bool:
    texts = row[:2] if isinstance(row, list) else row.values() if isinstance(row, dict) else ()
    if isinstance(row, dict) and isinstance(row.get("set"), list) and len(row["set"]) < 2:
        return True
    flat = (text for item in texts for text in (item if isinstance(item, list) else [item]))
    return any(isinstance(text, str) and is_blank(text) for text in flat)


def _articles(source: HubSource, data: Data) -> Iterator[dict]:
    """The first text, of English Wikipedia, of `ARTICLES` rows."""
    rows = (row for _, row in _rows(source, data, sampled=False) if isinstance(row, list))
    texts = {row[0]: None for row in rows if not is_blank(row[0])}
    drawn = reservoir(({"text": text} for text in texts), ARTICLES, random.Random(f"{data.seed}/articles"))
    yield from ({"id": str(i), **row} for i, row in enumerate(drawn))


def _origin(source: HubSource, data: Data) -> str:
    where = f"{source.repository}@{_revision(source, data)}/{source.files}"
    return where if data.path is None else f"{where} (mirror)"


def _revision(source: HubSource, data: Data) -> str | None:
    return data.revision if source.repository == REPOSITORY else REVISIONS[source.repository]


def _rows(source: HubSource, data: Data, *, sampled: bool) -> Iterator[tuple[str, Any]]:
    """Place and content of every row of the source's files, in the files' order."""
    from pyarrow import ArrowInvalid

    revision = _revision(source, data)
    for name in _names(source, data):
        number = 0
        with hub.explained(source.repository, revision, name), _open(source, name, data, sampled) as file:
            reader = _parquet(file) if name.endswith(".parquet") else _jsonl(file, name)
            try:
                for number, row in enumerate(reader, start=1):  # the number is told where reading fails
                    yield f"{name}:{number}", row
            except (*BROKEN_GZIP, ArrowInvalid) as error:
                where = f"{source.repository}@{revision}/{name}" if data.path is None else data.path / name
                remedy = "start again" if data.path is None else "copy it again"
                raise ValueError(f"{where}: damaged behind row {number:,} ({error}); {remedy}") from error


def _names(source: HubSource, data: Data) -> list[str]:
    if data.path is not None:
        names = [p.relative_to(data.path).as_posix() for p in data.path.rglob("*") if p.is_file()]
        where = str(data.path)
    else:
        names = _listed(source.repository, _revision(source, data))
        where = f"{source.repository}@{_revision(source, data)}"
    found = sorted(name for name in names if fnmatch(name, source.files))
    if not found:
        raise ValueError(f"{where} has no file {source.files}")
    return found


def _open(source: HubSource, name: str, data: Data, sampled: bool) -> BinaryIO:
    """A mirror's file; else the download, or for a sample the remote file itself, of which only a part is read."""
    if data.path is not None:
        try:
            check_no_pointer(data.path / name)
        except ValueError as error:
            raise ValueError(f"{data.path / name}: {error}") from None
        return open(data.path / name, "rb")
    revision = _revision(source, data)
    if sampled:
        return hub.open_remote(source.repository, name, revision)
    return open(hub.fetch(source.repository, name, revision), "rb")


def _jsonl(file: BinaryIO, name: str) -> Iterator[Any]:
    lines = gzip.open(file) if name.endswith(".gz") else file
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{Path(name).name}:{number}: not JSON ({error})") from None


def _parquet(file: BinaryIO) -> Iterator[dict]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(batch_size=1000, columns=["query", "document"]):
        yield from batch.to_pylist()
