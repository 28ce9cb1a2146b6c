"""Evaluation sets of the types that training never has: reranking, pairs, STS, summarization; and the articles."""

import random
from collections import defaultdict
from collections.abc import Callable

from ..sampling import Tables, sample_evenly
from ..words import normalised
from .draw import parameter_descriptions
from .labels import first_words, question
from .packages import Record

NEGATIVES = (3, 5)  # least and most of a reranking query
SENTENCE_WORDS = 30  # most words of a single sentence
ARTICLES, ARTICLE_WORDS = 128, (50, 100)

Near = Callable[[Record, Record], bool]


def _first(record: Record) -> str:
    """The first sentence of the body; "" if there is none of five words or more, or it repeats the summary."""
    sentence = record.body[0] if record.body else ""
    fits = 5 <= len(sentence.split()) <= SENTENCE_WORDS and normalised(sentence) != normalised(record.summary)
    return sentence if fits else ""


def _class(record: Record) -> str:
    return f"{record.module}:{record.qualname.rpartition('.')[0]}"


def _area(record: Record) -> str:
    return ".".join(record.module.split(".")[:2])


# From the nearest to the farthest, each without those before it: (score of STS, relation of two different objects).
RELATIONS: tuple[tuple[int, Near], ...] = (
    (4, lambda a, b: _class(a) == _class(b)),
    (3, lambda a, b: a.module == b.module),
    (2, lambda a, b: _area(a) == _area(b)),
    (1, lambda a, b: a.package == b.package),
    (0, lambda a, b: True),
)


def grade(a: Record, b: Record) -> int:
    """Structural relatedness of two objects: 4 same class (or both top-level of one module), 3 same module,
    2 same area (package.sub), 1 same package, 0 different packages."""
    return next(score for score, near in RELATIONS if near(a, b))


class _Neighbours:
    """Draws records that stand in a given relation to one, without comparing all pairs."""

    def __init__(self, records: list[Record], rng: random.Random):
        self.rng = rng
        self.levels = ((4, _class), (3, lambda r: r.module), (2, _area), (1, lambda r: r.package), (0, lambda r: ""))
        self.members: dict[tuple[int, str], list[Record]] = defaultdict(list)
        for record in records:
            for score, name in self.levels:
                self.members[score, name(record)].append(record)

    def draw(self, record: Record, score: int, size: int = 1) -> list[Record]:
        """Up to `size` different records of exactly this grade to `record`."""
        name = dict(self.levels)[score](record)
        pool = self.members[score, name]
        tried = self.rng.sample(pool, min(len(pool), 40))
        return [r for r in tried if r is not record and grade(record, r) == score][:size]


def reranking_body(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summary; its body's beginning (40 words) among those of other objects of the same module."""
    texts = {id(r): first_words(r.body, 40) for r in records}
    distinct = {normalised(texts[id(r)]): r for r in records if len(texts[id(r)].split()) >= 10}
    near = defaultdict(list)
    for record in distinct.values():
        near[record.module].append(record)
    rows = [
        {
            "query": r.summary,
            "positive": [texts[id(r)]],
            "negative": [texts[id(o)] for o in rng.sample(others, min(len(others), NEGATIVES[1]))],
        }
        for r in sample_evenly(distinct.values(), lambda r: r.package, len(records), rng)
        if len(others := [o for o in near[r.module] if o is not r]) >= NEGATIVES[0]
    ]
    return {"rows": rows[: max(1, size // 5)]}


def reranking_parameter(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Question about a parameter; its description among those of the same object's other parameters."""
    near = defaultdict(list)
    for one in parameter_descriptions(records, 30):
        near[one.record.module, one.record.qualname].append(one)
    whole = [members for members in near.values() if len(members) > NEGATIVES[0]]
    rows = []
    for members in sample_evenly(whole, lambda m: m[0].record.package, max(1, size // 5), rng):
        rng.shuffle(members)
        one, *others = members[: NEGATIVES[1] + 1]
        query = question(one.record, one.name)
        rows.append({"query": query, "positive": [one.text], "negative": [o.text for o in others]})
    return {"rows": rows}


def pairs_object(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summary and a body's first sentence: of one object (1), or of two objects of one class or module (0)."""
    able = [r for r in records if _first(r)]
    neighbours = _Neighbours(able, rng)
    rows = []
    for record in sample_evenly(able, lambda r: r.package, len(able), rng):
        other = neighbours.draw(record, 4) or neighbours.draw(record, 3)
        if other:
            label = 1 - len(rows) % 2
            rows.append({"a": record.summary, "b": _first(record if label else other[0]), "label": label})
    return {"rows": rows[: max(2, size // 4 * 2)]}


def pairs_parameter(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Two descriptions: of parameters with one name in two modules of a package (1), or of two parameters (0)."""
    by_name, by_object = defaultdict(list), defaultdict(list)
    able = [d for d in parameter_descriptions(records, 30) if len(d.name) > 3]
    for one in able:
        by_name[one.record.package, one.name].append(one)
        by_object[one.record.module, one.record.qualname].append(one)
    rows = []
    for one in sample_evenly(able, lambda d: (d.record.package, d.name), len(able), rng):
        same = [o for o in by_name[one.record.package, one.name] if o.record.module != one.record.module]
        others = [o for o in by_object[one.record.module, one.record.qualname] if o.name != one.name]
        if same and others:
            label = 1 - len(rows) % 2
            rows.append({"a": one.text, "b": rng.choice(same if label else others).text, "label": label})
    return {"rows": rows[: max(2, size // 4 * 2)]}


def sts(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Summary and a body's first sentence, equally often of every grade; 5: of the same object."""
    able = [r for r in records if _first(r)]
    neighbours = _Neighbours(able, rng)
    rows, wanted = [], 5
    for record in sample_evenly(able, lambda r: r.package, len(able), rng):
        if len(rows) >= size:
            break
        other = [record] if wanted == 5 else neighbours.draw(record, wanted)
        if other:
            rows.append({"a": record.summary, "b": _first(other[0]), "score": float(wanted)})
            wanted = (wanted - 1) % 6
    return {"rows": rows}


def summarization(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Body; the object's own summary as the human one; as machine summaries, from the best to the worst:

    5 the summary cut after two thirds of its words, 4 the body's first sentence, 3 the summary of an object of the same
    class or module, 2 of the same area, 1 of the same package, 0 of other packages.
    """
    able = [r for r in records if _first(r) and len(r.summary.split()) >= 6 and len(r.body) > 1]
    neighbours = _Neighbours(records, rng)
    rows = []
    for record in sample_evenly(able, lambda r: r.package, len(able), rng):
        if len(rows) >= max(8, size // 6):
            break
        tokens = record.summary.split()
        graded = [(5.0, " ".join(tokens[: len(tokens) * 2 // 3])), (4.0, _first(record))]
        near = neighbours.draw(record, 4) or neighbours.draw(record, 3)
        for score, others in ((3.0, near), *((float(s), neighbours.draw(record, s)) for s in (2, 1, 0))):
            graded += [(score, o.summary) for o in others]
        if len(graded) >= 5:
            rng.shuffle(graded)
            rows.append(
                {
                    "text": first_words(record.body, 60) or _first(record),
                    "human_summaries": [record.summary],
                    "machine_summaries": [text for _, text in graded],
                    "relevance": [score for score, _ in graded],
                }
            )
    return {"rows": rows}


def articles(records: list[Record], size: int, rng: random.Random) -> Tables:
    """Long bodies, the same number whatever `size` is: the papers' 128 articles."""
    texts = {
        normalised(text): (r, text)
        for r in records
        if len((text := first_words(r.body, ARTICLE_WORDS[1])).split()) >= ARTICLE_WORDS[0]
    }
    drawn = sample_evenly(texts.values(), lambda item: item[0].package, ARTICLES, rng)
    return {"rows": [{"id": f"{r.module}.{r.qualname}", "text": text} for r, text in drawn]}
