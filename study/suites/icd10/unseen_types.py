"""Evaluation sets of the types that training never has: reranking, pairs, STS."""

import random
from collections import defaultdict

from ..sampling import Tables, sample_evenly
from ..words import normalised
from .seen_types import terms
from .tree import Code, Exclusion, grade, is_above_or_below

NEGATIVES = (3, 5)  # least and most of a reranking query
LEAST_QUERIES = 10  # of a reranking set
GRADES = 6  # of `tree.grade`: 0 to 5
TRIES = 40  # codes that are looked at for a pair of a grade


def reranking_inclusion(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """What a code includes; its description among those of codes of the same category, of which none contains it."""
    by_category: dict[str, list[Code]] = defaultdict(list)
    for code in codes:
        by_category[code.category].append(code)
    rows: list[dict] = []
    for code, term in sample_evenly(terms(codes), lambda item: item[0].category, len(codes) * 9, rng):
        others = {
            normalised(other.description): other.description
            for other in by_category[code.category]
            if not is_above_or_below(code, other)
        }
        others.pop(normalised(code.description), None)
        if len(others) >= NEGATIVES[0]:
            negative = rng.sample(list(others.values()), min(len(others), NEGATIVES[1]))
            rows.append({"query": term, "positive": [code.description], "negative": negative})
        if len(rows) >= max(LEAST_QUERIES, size // 5):
            break
    return {"rows": rows}


def pairs_excludes(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """What a code excludes, with the description of the code where it belongs (1) and of the one that excludes it (0).

    Two rows of each note. Notes that name a code of another pool, or two codes in two places, are left out.
    """
    by_name = {code.name: code for code in codes}
    places: dict[str, list[tuple[Code, Exclusion]]] = defaultdict(list)
    for code in codes:
        for exclusion in code.excluded:
            places[normalised(exclusion.note)].append((code, exclusion))
    able = [
        (code, exclusion.note, by_name[exclusion.belongs_to])
        for (code, exclusion), *others in places.values()
        if exclusion.belongs_to in by_name
        and not is_above_or_below(code, by_name[exclusion.belongs_to])
        and all(other.belongs_to == exclusion.belongs_to for _, other in others)
    ]
    rows: list[dict] = []
    for code, note, right in sample_evenly(able, lambda item: item[0].section, max(1, size // 4), rng):
        rows.append({"a": note, "b": right.description, "label": 1})
        rows.append({"a": note, "b": code.description, "label": 0})
    return {"rows": rows}


def sts(codes: list[Code], size: int, rng: random.Random) -> Tables:
    """Description of a code and what a code of every `tree.grade` includes, equally often of each; 5: the same code."""
    able = terms(codes)
    members: dict[tuple[str, ...], list[tuple[Code, str]]] = defaultdict(list)
    for item in able:
        for depth in range(5):  # the whole pool, chapter, section, category, and the code below it
            members[item[0].path[:depth]].append(item)
    rows: list[dict] = []
    wanted = GRADES - 1
    for code, term in sample_evenly(able, lambda item: item[0].section, len(able), rng):
        if len(rows) >= size:
            break
        pool = members[code.path[:wanted]]
        near = rng.sample(pool, min(len(pool), TRIES)) if wanted < GRADES - 1 else [(code, term)]
        text = next((note for other_code, note in near if grade(code, other_code) == wanted), None)
        if text:
            rows.append({"a": code.description, "b": text, "score": float(wanted)})
            wanted = (wanted - 1) % GRADES
    return {"rows": rows}
