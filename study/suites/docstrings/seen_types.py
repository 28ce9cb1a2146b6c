"""Evaluation sets of the types that training also has: retrieval, classification, clustering."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable

from .draw import Tables, parameter_descriptions, sample_evenly
from .labels import first_words, masked, normalised, parameter_type, question, readable, says_type
from .packages import PACKAGES, Record
from .parsing import words

BODY_WORDS = (12, 40)  # of a document to be retrieved
TRAIN_PER_LABEL = 16  # least classifier rows of a label
LABELS = 20  # most clusters of a set
TEXTS_PER_LABEL = (6, 30)  # least and most texts of a cluster
_ALIASES = {"sklearn": "scikit", "transformers": "transformer", "sqlalchemy": "orm", "huggingface_hub": "hub"}


def retrieval_body(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summary -> body. Bodies that open with the same six words are one body (copies between siblings)."""
    opened: dict[tuple, tuple[Record, str]] = {}
    for record in records:
        body = first_words(record.body, BODY_WORDS[1])
        if len(body.split()) >= BODY_WORDS[0]:
            opened.setdefault(tuple(words(body)[:6]), (record, body))
    return _retrieval([(r.package, r.summary, body) for r, body in opened.values()], size, rng)


def retrieval_parameter(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Question about a parameter -> description. A parameter name stands for two descriptions at most."""
    items, names, asked = [], Counter(), set()
    for one in sample_evenly(parameter_descriptions(records), lambda d: d.record.module, len(records) * 9, rng):
        query = question(one.record, one.name)
        if names[one.name] < 2 and query not in asked:
            names[one.name] += 1
            asked.add(query)
            items.append((one.record.package, query, one.text))
    return _retrieval(items, size, rng)


def retrieval_name(records: list[Record], size: int, rng: random.Random) -> Tables:
    """An object's name in words (two or more) -> its summary. A name that several objects have is not used."""
    owners = Counter(r.qualname.rpartition(".")[2].strip("_").lower() for r in records)
    items = [
        (r.package, readable(r), r.summary)
        for r in records
        if owners[r.qualname.rpartition(".")[2].strip("_").lower()] == 1 and len(readable(r).split()) > 1
    ]
    return _retrieval(items, size, rng)


def _retrieval(items: list[tuple[str, str, str]], size: int, rng: random.Random) -> Tables:
    """`size` queries, and a quarter as many more documents, of (package, query, document); evenly over packages."""
    chosen = sample_evenly(items, lambda item: item[0], size + size // 4, rng)
    asked = chosen[:size]
    corpus = [{"doc_id": f"d{i}", "text": document} for i, (_, _, document) in enumerate(chosen)]
    rng.shuffle(corpus)
    return {
        "queries": [{"query_id": f"q{i}", "query": query} for i, (_, query, _) in enumerate(asked)],
        "corpus": corpus,
        "qrels": [{"query_id": f"q{i}", "doc_id": f"d{i}", "score": 1.0} for i in range(len(asked))],
    }


def classification_role(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summary without its leading verb -> role of the verb."""
    return _classification(masked(records).items(), size, rng)


def classification_package(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Body (30 words) -> package, for bodies that do not name a package."""
    names = {name for p in PACKAGES for name in words(p.name + " " + p.distribution)} | set(_ALIASES.values())
    texts = {
        normalised(text): (text, r.package) for r in records if len((text := first_words(r.body, 30)).split()) >= 10
    }
    kept = [pair for said, pair in texts.items() if not any(n in word for word in said.split() for n in names)]
    return _classification(kept, size, rng)


def classification_type(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Description of a parameter -> class of its documented type, for descriptions that do not name a type."""
    typed = ((d.text, parameter_type(d.record.types[d.name])) for d in parameter_descriptions(records, 30))
    return _classification([(text, kind) for text, kind in typed if kind and not says_type(text)], size, rng)


def _classification(items: Iterable[tuple[str, str]], size: int, rng: random.Random) -> Tables:
    """Equally many texts of every label: `size` in `rows`, and half of it, but at least 16 of each, in `train`.

    Labels with fewer than 24 texts, or than half of what is wanted, are left out; the rarest label that is left decides
    how many texts each has.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in items:
        by_label[label].append(text)
    wanted = max(TRAIN_PER_LABEL * 3 // 2, size // max(1, len(by_label)) * 3 // 4)
    by_label = {label: texts for label, texts in sorted(by_label.items()) if len(texts) >= wanted}
    if not by_label:
        return {"train": [], "rows": []}
    per_label = size // len(by_label)
    fit = max(TRAIN_PER_LABEL, per_label // 2)
    test = max(1, min(per_label, min(map(len, by_label.values())) - fit))
    tables: Tables = {"train": [], "rows": []}
    for label, texts in by_label.items():
        drawn = [{"text": text, "label": label} for text in rng.sample(texts, fit + test)]
        tables["train"] += drawn[:fit]
        tables["rows"] += drawn[fit:]
    for rows in tables.values():
        rng.shuffle(rows)
    return tables


def clustering_module(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summaries of functions and classes by module."""
    return _clustering([(r.package, r.module, r.summary) for r in records if r.kind != "method"], size, rng)


def clustering_class(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summaries of methods by class."""
    methods = (r for r in records if r.kind == "method")
    items = [(r.package, f"{r.module}.{r.qualname.rpartition('.')[0]}", r.summary) for r in methods]
    return _clustering(items, size, rng)


def clustering_parameter(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Descriptions of parameters by the parameter's name (three letters or more), where the name is not in them."""
    items = [
        ("", d.name, d.text)
        for d in parameter_descriptions(records, 30)
        if len(d.name) > 2 and not set(words(d.name)).intersection(words(d.text))
    ]
    return _clustering(items, size, rng)


def _clustering(items: list[tuple[str, str, str]], size: int, rng: random.Random) -> Tables:
    """Up to `LABELS` labels, evenly over packages, with up to `TEXTS_PER_LABEL` texts, of (package, label, text)."""
    by_label: dict[tuple[str, str], list[str]] = defaultdict(list)
    for package, label, text in items:
        by_label[package, label].append(text)
    large = [name for name, texts in by_label.items() if len(texts) >= TEXTS_PER_LABEL[0]]
    labels = sample_evenly(large, lambda name: name[0], min(LABELS, max(2, size // TEXTS_PER_LABEL[0])), rng)
    most = min(TEXTS_PER_LABEL[1], size // max(1, len(labels)))
    rows = [
        {"text": text, "label": label}
        for package, label in labels
        for text in rng.sample(by_label[package, label], min(most, len(by_label[package, label])))
    ]
    rng.shuffle(rows)
    return {"rows": rows}
