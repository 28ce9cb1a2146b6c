"""Evaluation sets of the types that training also has: retrieval, classification, clustering."""

import random
from collections import Counter, defaultdict

from ..sampling import LABELS, Tables, classification, clustering, sample_evenly
from ..words import normalised
from .labels import labelled
from .tree import Code, is_above_or_below

DISTRACTORS = 3  # other documents per query
SECTION_TEXTS = 28  # least of a section that is a class: 16 for MTEB's classifier, and 12 to be classified


def terms(codes: list[Code]) -> list[tuple[Code, str]]:
    """(code, what it includes), without texts that two codes include or that are the description of a code."""
    owners = Counter(normalised(term) for code in codes for term in code.included)
    taken = {normalised(code.description) for code in codes}
    return [
        (code, term)
        for code in codes
        for term in code.included
        if owners[normalised(term)] == 1 and normalised(term) not in taken
    ]


def retrieval_inclusion(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """What a code includes -> its description, among those of other codes of the same categories.

    A description has one query, and is one document if several codes have it. Codes that contain the right one, or that
    it contains, are no distractors.
    """
    asked: dict[str, tuple[Code, str]] = {}
    for code, term in sample_evenly(terms(codes), lambda item: item[0].section, len(codes) * 9, rng):
        asked.setdefault(normalised(code.description), (code, term))
        if len(asked) == size:
            break
    documents = {key: code.description for key, (code, _) in asked.items()}
    for description in _distractors([code for code, _ in asked.values()], codes, rng):
        if len(documents) >= (1 + DISTRACTORS) * len(asked):
            break
        documents.setdefault(normalised(description), description)
    ids = {key: f"d{i}" for i, key in enumerate(documents)}
    corpus = [{"doc_id": ids[key], "text": text} for key, text in documents.items()]
    rng.shuffle(corpus)
    return {
        "queries": [{"query_id": f"q{i}", "query": term} for i, (_, term) in enumerate(asked.values())],
        "corpus": corpus,
        "qrels": [{"query_id": f"q{i}", "doc_id": ids[key], "score": 1.0} for i, key in enumerate(asked)],
    }


def _distractors(asked: list[Code], codes: list[Code], rng: random.Random) -> list[str]:
    by_category, asked_in = (defaultdict(list), defaultdict(list))
    for members, group in ((codes, by_category), (asked, asked_in)):
        for code in members:
            group[code.category].append(code)
    near = {
        other.path: (code.category, other.description)
        for code in asked
        for other in by_category[code.category]
        if not any(is_above_or_below(other, right) for right in asked_in[code.category])
    }
    return [text for _, text in sample_evenly(near.values(), lambda item: item[0], len(near), rng)]


def classification_chapter(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """Description -> chapter."""
    return classification(labelled(codes, lambda code: code.chapter), size, rng)


def classification_section(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """Description -> section, of up to `LABELS` sections that have enough texts."""
    by_section: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text, label in labelled(codes, lambda code: code.section):
        by_section[label].append((text, label))
    large = [section for section, items in by_section.items() if len(items) >= SECTION_TEXTS]
    drawn = rng.sample(large, min(LABELS, len(large)))
    return classification([item for section in drawn for item in by_section[section]], size, rng)


def clustering_chapter(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """Descriptions by chapter."""
    return clustering([("", label, text) for text, label in labelled(codes, lambda code: code.chapter)], size, rng)


def clustering_section(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """Descriptions by section, evenly over chapters."""
    chapter_of = {code.section: code.chapter for code in codes}
    items = labelled(codes, lambda code: code.section)
    return clustering([(chapter_of[label], label, text) for text, label in items], size, rng)
