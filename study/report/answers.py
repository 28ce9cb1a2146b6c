"""What a notebook ends with: whole sentences that answer its first line, computed from the verdicts on its claims."""

from collections.abc import Sequence

import pandas as pd

from ..analysis.claims import UNITS
from ..analysis.judgement import BEYOND, HOLDS, NOT_JUDGED, OPEN, OPPOSITE, THESE, without_lines
from .figures.words import mid_sentence
from .tables.write import gain_interval

UNSETTLED = "Not settled here"
LEADS = {**dict.fromkeys(HOLDS, "Yes"), **dict.fromkeys(OPPOSITE, "No"), OPEN: UNSETTLED, NOT_JUDGED: "Not judged here"}
NOTHING = "No claim of this notebook is about the runs of this preset."
DIGITS = {"points": 1}
SECOND = {"similarity": "texts", "gradient": "batches", "conflict": "batches", "correlation": "layers"}


def answer(judged: pd.DataFrame, claims: Sequence[str] = (), *, lead: bool = True) -> str:
    """The verdicts on some claims as sentences, in Markdown.

    Args:
        judged: As `analysis.claims.verdicts` returns it.
        claims: Ids, the one that answers the question first; those without runs here are left out. None: all.
        lead: Whether "Yes", "No" or "Not settled here", by the first claim, stands in front.
    """
    rows = without_lines(judged).set_index("id") if len(judged) else judged
    found = [name for name in (claims or rows.index) if name in rows.index]
    if not found:
        return NOTHING
    sentences = [sentence(rows.loc[name]) for name in found]
    first = f"**{LEADS[rows.loc[found[0]].verdict]}.** " if lead else ""
    return first + " ".join(sentences)


def sentence(row: pd.Series) -> str:
    """One claim with its verdict as a whole sentence.

    Args:
        row: Of `analysis.claims.verdicts`: claim, verdict, scope, reason, quantity, difference, low, high.

    >>> row = pd.Series({"claim": "A router learns", "verdict": "open", "scope": "", "reason": "1 seed",
    ...     "quantity": "score", "difference": 0.42, "low": float("nan"), "high": float("nan")})
    >>> sentence(row)
    'This run does not settle whether a router learns: +0.4 points (1 seed).'
    """
    unit = UNITS[row.quantity]
    value = f"{gain_interval(row.difference, row.low, row.high, DIGITS.get(unit, 3))} {in_words(unit)}"
    if row.verdict in HOLDS:
        return f"{row.claim}: {value}, {_where(row)}."
    if row.verdict in OPPOSITE:
        return f"It is not the case that {mid_sentence(row.claim)}: {value}, {_where(row)}."
    if row.verdict == NOT_JUDGED:
        return f"This run does not judge whether {mid_sentence(row.claim)}: {value} ({row.reason})."
    return f"This run does not settle whether {mid_sentence(row.claim)}: {value} ({row.reason})."


def in_words(unit: str) -> str:
    """A unit behind a number.

    >>> in_words("points"), in_words("cosine")
    ('points', 'in cosine')
    """
    return {"cosine": "in cosine", "Spearman": "in rank correlation"}.get(unit, unit)


def _where(row: pd.Series) -> str:
    things = SECOND.get(row.quantity, "datasets")
    return {THESE: f"on these {things}", BEYOND: f"for other {things}, too"}[row.scope]
