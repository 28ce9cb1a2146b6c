"""Evaluation sets of the types that training also has: retrieval, classification, clustering."""

import random
from collections import Counter

from ..sampling import Tables, classification, clustering, sample_evenly
from ..words import normalised, words
from .draw import parameter_descriptions
from .labels import first_words, masked, parameter_type, question, readable, says_type
from .packages import PACKAGES, Record

BODY_WORDS = (12, 40)  # of a document to be retrieved
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
    return classification(masked(records).items(), size, rng)


def classification_package(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Body (30 words) -> package, for bodies that do not name a package."""
    names = {name for p in PACKAGES for name in words(p.name + " " + p.distribution)} | set(_ALIASES.values())
    texts = {
        normalised(text): (text, r.package) for r in records if len((text := first_words(r.body, 30)).split()) >= 10
    }
    kept = [pair for said, pair in texts.items() if not any(n in word for word in said.split() for n in names)]
    return classification(kept, size, rng)


def classification_type(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Description of a parameter -> class of its documented type, for descriptions that do not name a type."""
    typed = ((d.text, parameter_type(d.record.types[d.name])) for d in parameter_descriptions(records, 30))
    return classification([(text, kind) for text, kind in typed if kind and not says_type(text)], size, rng)


def clustering_module(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summaries of functions and classes by module."""
    return clustering([(r.package, r.module, r.summary) for r in records if r.kind != "method"], size, rng)


def clustering_class(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summaries of methods by class."""
    methods = (r for r in records if r.kind == "method")
    items = [(r.package, f"{r.module}.{r.qualname.rpartition('.')[0]}", r.summary) for r in methods]
    return clustering(items, size, rng)


def clustering_parameter(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Descriptions of parameters by the parameter's name (three letters or more), where the name is not in them."""
    items = [
        ("", d.name, d.text)
        for d in parameter_descriptions(records, 30)
        if len(d.name) > 2 and not set(words(d.name)).intersection(words(d.text))
    ]
    return clustering(items, size, rng)
