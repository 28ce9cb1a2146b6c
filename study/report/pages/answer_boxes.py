"""The answers of a report's first page: whole sentences, made by templates from the verdicts and numbers of claims.

A template says what a number means, never what it is: a difference of the other sign gives the other word.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import yaml

from ... import paths
from ...analysis import overview
from ...analysis.judgement import (
    BEYOND,
    FEWEST_SEEDS,
    HOLDS,
    NOT_JUDGED,
    OPEN,
    OPPOSITE,
    PAPERS_WORDS,
    THESE,
    count_of,
)
from ..answers import in_words
from ..figures.words import mid_sentence
from ..method_styles import METHODS

NOT_IN_PAPER = "not in the paper"
MINUS = "\N{MINUS SIGN}"


class Question(NamedTuple):
    """One question of the first page, and the claims that answer it: the first of them that was measured does."""

    name: str  # its anchor
    text: str
    claims: tuple[str, ...]
    words: tuple[str, str]  # the answer where the claim holds, and where its opposite does
    says: Callable[[dict[str, Any]], str]  # what was found, from the row of `claims.collect`


class Answer(NamedTuple):
    """What stands in one box."""

    name: str
    question: str
    word: str  # "Yes", "No", "Undecided", …
    tone: str  # "holds", "opposite" or "open": how the word is coloured
    found: str  # a sentence
    number: str  # the difference with its unit; empty where nothing was measured
    interval: str  # its interval, or why there is none
    paper: str  # the paper's number, or that it prints none
    judged: str  # a sentence: how sure this is
    link: str  # page of the notebook; empty where it has none
    notebook: str


def _scores(row: dict[str, Any]) -> str:
    method, baseline = _named(row["method"]), mid_sentence(_named(row["baseline"]))
    way = "higher" if row["difference"] > 0 else "lower"
    size = magnitude(row["difference"], row["low"], row["high"])
    where = f"on average over {row['datasets']:.0f} datasets"
    if not float(size):
        return f"{method} and {baseline} score the same to a tenth of a point {where}."
    return f"{method} scores {size} points {way} than {baseline} {where}."


def _named(method: str) -> str:
    """A method's label for a sentence: what it says behind a comma stands in brackets."""
    name, _, more = METHODS[method].label.partition(", ")
    return f"{name} ({more})" if more else name


def _averaged(row: dict[str, Any]) -> str:
    text = _scores(row)
    if row["low"] < 0 < row["high"]:
        text += (
            f" A loss of more than {magnitude(row['low'], row['low'], row['high'])} points lies outside the interval."
        )
    return text


def _separates(row: dict[str, Any]) -> str:
    further = "further apart" if row["difference"] < 0 else "closer together"
    lower = "lower" if row["difference"] < 0 else "higher"
    method, baseline = (METHODS[row[key]].label for key in ("method", "baseline"))
    return (
        f"{method} puts the same text {further} under two tasks than {baseline} does: the mean cosine similarity "
        f"of its embeddings is {abs(row['difference']):.3f} {lower}."
    )


QUESTIONS = (
    Question("separate", "Do task experts separate the tasks?", ("f1-mean",), ("Yes", "No"), _separates),
    Question("scores", "Do task experts raise scores?", ("all-mote", "t2-mote"), ("Yes", "No"), _scores),
    Question(
        "averaging",
        "Are averaged experts as good as separate ones?",
        ("t7-loss",),
        ("No", "Yes, they score higher"),
        _averaged,
    ),
    Question(
        "tsembed",
        "Does TSEmbed's weighting of negatives help?",
        ("ts-eans", "ts-text-eans"),
        ("Yes", "No"),
        _scores,
    ),
)


# In place of those above, where no text was measured.
QUESTIONS_OF_IMAGES = (
    Question("routed", "Do routed experts raise scores?", ("ts-moe",), ("Yes", "No"), _scores),
    Question("own", "Does an expert for each dataset raise scores?", ("ts-oracle",), ("Yes", "No"), _scores),
    Question("specialised", "Do scores rise with what experts know?", ("ts-mixed-informed",), ("Yes", "No"), _scores),
    Question(
        "mixed",
        "Does weighting negatives help where experts differ?",
        ("ts-mixed-eans",),
        ("Yes", "No"),
        _scores,
    ),
)


def answers(verdicts: pd.DataFrame, stated: Mapping[str, Any], pages: Mapping[str, str]) -> list[Answer]:
    """An answer per question of which `references/claims.yaml` has a claim; those about text unless images alone have
    numbers.

    Args:
        verdicts: As `claims.collect` returns it.
        stated: Id -> claim, as `claims.claims` returns them.
        pages: Notebook -> its page.
    """
    rows = {row["id"]: row for row in verdicts.to_dict("records")}
    has_number = {name for name, row in rows.items() if not math.isnan(row["difference"])}
    of_text = {name for question in QUESTIONS[:-1] for name in question.claims}
    of_images = {name for question in QUESTIONS_OF_IMAGES for name in question.claims}
    images_alone = bool(has_number & of_images) and not has_number & of_text
    found = []
    for question in (*QUESTIONS_OF_IMAGES, QUESTIONS[-1]) if images_alone else QUESTIONS:
        known = [name for name in question.claims if name in rows]
        measured = [name for name in known if name in has_number]
        if known:
            name = (measured or known)[0]
            row = rows[name] | {"method": stated[name].method, "baseline": stated[name].baseline}
            found.append(_answer(question, row, pages))
    return found


def _answer(question: Question, row: dict[str, Any], pages: Mapping[str, str]) -> Answer:
    notebook = row["notebook"]
    place = {"link": pages.get(notebook, ""), "notebook": notebook}
    named = {"name": question.name, "question": question.text}
    if math.isnan(row["difference"]):
        missing = "No finished run of this preset measures it."
        blank = {"number": "", "interval": "", "judged": ""}
        return Answer(**named, word="Not measured", tone="open", found=missing, paper=paper(row), **blank, **place)
    word, tone = _word(question, row)
    return Answer(
        **named,
        word=word,
        tone=tone,
        found=question.says(row),
        number=f"{signed(row['difference'], row['unit'], row['low'], row['high'])} {in_words(row['unit'])}",
        interval=interval(row),
        paper=paper(row),
        judged=judged(row),
        **place,
    )


def _word(question: Question, row: dict[str, Any]) -> tuple[str, str]:
    holds = row["verdict"] in HOLDS
    if holds or row["verdict"] in OPPOSITE:
        scored = "texts" if row["unit"] == "cosine" else "datasets"
        narrow = f", on these {scored}" if row["scope"] == THESE else ""  # the word alone would say more than was shown
        return question.words[0 if holds else 1] + narrow, "holds" if holds else "opposite"
    return ("Not judged" if row["verdict"] == NOT_JUDGED else "Undecided"), "open"


def interval(row: Mapping[str, Any]) -> str:
    """The interval of a claim's row as text; over datasets alone where one seed leaves no other."""
    low, high = row["low"], row["high"]
    if not math.isnan(low):
        ends = (signed(end, row["unit"], low, high) for end in (low, high))
        return f"95 % interval [{', '.join(ends)}]"
    low, high = row["low_bootstrap"], row["high_bootstrap"]
    if math.isnan(low):
        return "no interval"
    ends = (signed(end, row["unit"], low, high) for end in (low, high))
    return f"one seed; 95 % over datasets alone [{', '.join(ends)}]"


def paper(row: Mapping[str, Any]) -> str:
    """What the paper reports for a claim, as text."""
    if row["source"] == "ours":
        return NOT_IN_PAPER
    if not math.isnan(row["paper"]):
        return f"{signed(row['paper'], row['unit'], row['low'], row['high'])} {row['unit']}"
    if row["quantity"] == "similarity":
        largest = _largest_difference()
        return "lower, without a number" + (f" (up to {largest:g} lower for one pair)" if largest else "")
    return "no score in the summaries that we had" if row["source"] == "tsembed" else "no number printed"


def _largest_difference() -> float | None:
    path = paths.REFERENCES / "mote.yaml"
    numbers = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return numbers.get("figures", {}).get("figure3", {}).get("largest_difference")


def judged(row: Mapping[str, Any]) -> str:
    """How sure a verdict is, or why there is none, as a sentence."""
    if row["verdict"] == NOT_JUDGED:
        return "This preset tests the machinery and judges nothing."
    if row["verdict"] == OPEN:
        return _undecided(row)
    seeds = count_of(int(row["seeds"]), "seed")
    things = "texts" if row["quantity"] == "similarity" else "datasets"
    sure = (
        f"By {seeds}, other training runs and other {things} would say the same"
        if row["scope"] == BEYOND
        else f"By {seeds}, other training runs would say the same of these {things}; other {things} might not"
    )
    if row["verdict"] in PAPERS_WORDS:
        sure += "; the paper reports the same" if row["verdict"] in HOLDS else "; the paper reports the opposite"
    if row["survives"] == "":
        sure += ". Corrected for the number of claims (Holm), it is not significant"
    return f"{sure}."


def _undecided(row: Mapping[str, Any]) -> str:
    if row["seeds"] < FEWEST_SEEDS:
        few = "One seed gives" if row["seeds"] == 1 else f"{row['seeds']:.0f} seeds give"
        return f"{few} a direction; a verdict takes {FEWEST_SEEDS} seeds."
    if not math.isnan(row["detectable"]) and row["reason"].startswith("below"):
        size = magnitude(row["detectable"], row["low"], row["high"], row["unit"])
        return f"The interval holds zero. This design detects differences of {size} {row['unit']} or more."
    return f"The rule gives no verdict: {row['reason']}."


def untrained(differences: pd.DataFrame) -> list[str]:
    """Sentences that compare the trained methods with the untrained backbone over all datasets; none without runs.

    Args:
        differences: As `analysis.overview.score_differences` returns it.
    """
    rows = overview.trained_against_untrained(differences)
    if rows.empty:
        return []
    parts = [
        f"{mid_sentence(METHODS[r.method].label)} {signed(r.gain, 'points', r.low, r.high)}{_bounds(r.low, r.high)}"
        for r in rows.itertuples()
    ]
    captions = rows.baseline.iloc[0] == overview.CAPTIONS_ALONE
    start = "the model that was trained on captions alone" if captions else "the untrained backbone"
    without = "captions alone" if captions else "no training"
    first = f"Against {start}, training changed the mean of {int(rows.datasets.max())} datasets by "
    up = [METHODS[r.method].label for r in rows.itertuples() if r.low > 0]
    down = [METHODS[r.method].label for r in rows.itertuples() if r.high < 0]
    if up and not down:
        meaning = f"{_joined(up)} {'is' if len(up) == 1 else 'are'} better than {without} on average."
    elif down and not up:
        meaning = f"{_joined(down)} {'is' if len(down) == 1 else 'are'} worse than {without} on average."
    elif up and down:
        meaning = f"{_joined(up)} gained and {_joined(down)} lost on average."
    else:
        meaning = f"No trained model is measurably better or worse than {without} on average."
    if not up:
        meaning += " So the differences below compare ways to train that bring no measurable gain here."
    return [f"{first}{_joined(parts)} points.", meaning]


def _bounds(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{signed(low, 'points', low, high)}, {signed(high, 'points', low, high)}]"


def _joined(words: list[str]) -> str:
    """Words as a list in a sentence.

    >>> _joined(["EM"]), _joined(["EM", "IC", "MoTE"])
    ('EM', 'EM, IC and MoTE')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def decimals(unit: str, low: float, high: float) -> int:
    """Decimals of a number: three; for points one, unless that would hide on which side of zero the interval ends.

    >>> decimals("points", -0.79, -0.03), decimals("points", -1.2, 0.6), decimals("cosine", -0.1, 0.1)
    (2, 1, 3)
    """
    if unit != "points":
        return 3
    return 2 if any(abs(end) < 0.05 for end in (low, high) if not math.isnan(end)) else 1


def signed(value: float, unit: str, low: float, high: float) -> str:
    """A difference with its sign, in the decimals that its interval needs.

    >>> signed(-0.413, "points", -0.79, -0.03), signed(0.413, "points", -0.8, 2)
    ('−0.41', '+0.4')
    """
    text = f"{value:+.{decimals(unit, low, high)}f}"
    return (text if float(text) else text[1:]).replace("-", MINUS)


def magnitude(value: float, low: float, high: float, unit: str = "points") -> str:
    """The size of a difference, without its sign.

    >>> magnitude(-0.413, -0.79, -0.03)
    '0.41'
    """
    return f"{abs(value):.{decimals(unit, low, high)}f}"
