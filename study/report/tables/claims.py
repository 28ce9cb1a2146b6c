"""The table of all claims."""

import pandas as pd

from ...analysis.claims import MARKS
from ..style import MISSING
from .write import gain, gain_interval

DIGITS = {"points": 2, "cosine": 3, "Spearman": 3, "nats": 3}


def table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The rows of `collect` as they are read: a verdict marked by its sign, too; the notebook by its number."""
    rows = [(row, DIGITS[row.unit]) for row in verdicts.itertuples()]
    return pd.DataFrame(
        {
            "Claim": verdicts.claim,
            "Place": verdicts.place,
            "Paper's": [gain(r.paper, n) for r, n in rows],
            "Here": [gain_interval(r.difference, r.low, r.high, n) for r, n in rows],
            "Unit": verdicts.unit,
            "Seen from": [_size(r.detectable, n) for r, n in rows],
            "Seeds": [_size(r.seeds, 0) for r, _ in rows],
            "Verdict": [f"{MARKS[v]} {v.removesuffix(' at this scale')}" for v in verdicts.verdict],
            "Notebook": verdicts.notebook.str.split("_").str[0],
        }
    )


def _size(value: float, digits: int) -> str:
    return MISSING if value != value else f"{value:.{digits}f}"
