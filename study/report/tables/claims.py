"""The tables of claims: all of them, those of one notebook with their lines, and the rates of false verdicts."""

import pandas as pd

from ...analysis.claims import UNITS
from ...analysis.judgement import BEYOND, MARKS, THESE
from ..style import MISSING, p_value
from .write import bounds, gain, gain_interval

DIGITS = {"points": 1, "cosine": 3, "Spearman": 3, "nats": 3}
SOURCES = {"mote": "MoTE", "tsembed": "TSEmbed", "ours": "ours"}
SCOPES = {THESE: "on these datasets", BEYOND: "beyond these datasets"}


def table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The rows of `collect` as they are read: a verdict marked by its sign, too; the notebook by its number."""
    rows = [(row, DIGITS[row.unit]) for row in verdicts.itertuples()]
    return pd.DataFrame(
        {
            "Claim": verdicts.claim,
            "Verdict": [verdict(r) for r, _ in rows],
            "Remark": [remark(r) for r, _ in rows],
            "Here": [gain_interval(r.difference, r.low, r.high, n) for r, n in rows],
            "Beyond": [bounds(r.low_beyond, r.high_beyond, n) for r, n in rows],
            "Paper's": [gain(r.paper, n) for r, n in rows],
            "Unit": verdicts.unit,
            "Seen from": [_size(r.detectable, n) for r, n in rows],
            "Design": [design(r.seeds, r.datasets) for r, _ in rows],
            "Holm": [p_value(r.p_holm) for r, _ in rows],
            "Place": [", ".join(dict.fromkeys((SOURCES[r.source], r.place))) for r, _ in rows],
            "Notebook": verdicts.notebook.str.split("_").str[0],
        }
    )


def notebook_table(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of `analysis.claims.verdicts` as they are read: a row per claim, its lines below it."""
    rows = [(row, DIGITS[UNITS[row.quantity]]) for row in judged.itertuples()]
    return pd.DataFrame(
        {
            "Claim": [f"– {r.claim}" if r.line else r.claim for r, _ in rows],
            "Verdict": [verdict(r) for r, _ in rows],
            "Remark": [remark(r) for r, _ in rows],
            "Difference": [gain_interval(r.difference, r.low, r.high, n) for r, n in rows],
            "For others, too": [bounds(r.low_beyond, r.high_beyond, n) for r, n in rows],
            "Minimum detectable": [_size(r.detectable, n) for r, n in rows],
            "Design": [design(r.seeds, r.datasets) for r, _ in rows],
            "p": [p_value(r.p) for r, _ in rows],
            "Place": [r.place if not r.line else "" for r, _ in rows],
        }
    )


def read(shown: pd.DataFrame) -> pd.DataFrame:
    """The columns of `table` that a page has room for, under their long names."""
    names = {"Here": "Difference", "Beyond": "For others, too", "Seen from": "Minimum detectable"}
    return shown.rename(columns=names)


def rates_table(rates: pd.DataFrame) -> pd.DataFrame:
    """The rates of `analysis.judgement.designs_in_use` as they are read, a row per design."""
    return pd.DataFrame(
        {
            "Design": [design(r.seeds, r.datasets) for r in rates.itertuples()],
            "Claims": rates.claims,
            "On these datasets": rates.these.map(_percent),
            "For others, too": rates.beyond.map(_percent),
            "For others, at these runs' variances": rates.beyond_here.map(_percent),
            "Verdicts": rates.judged.map({True: "yes", False: "none"}),
        }
    )


def numerics_table(spread: pd.DataFrame) -> pd.DataFrame:
    """What `analysis.numerics.claims_over_conditions` says of each score claim, as it is read."""
    return pd.DataFrame(
        {
            "Claim": spread.claim,
            "Smallest difference": [gain(value, 2) for value in spread.smallest],
            "Largest": [gain(value, 2) for value in spread.largest],
            "Spread": [_size(value, 2) for value in spread.spread],
            "Verdicts": spread.verdicts,
        }
    )


def verdict(row) -> str:
    """The verdict behind its sign, with its scope; empty for a line, which has none of its own.

    >>> from types import SimpleNamespace
    >>> verdict(SimpleNamespace(verdict="supported", scope="beyond them"))
    '● supported, beyond these datasets'
    """
    return (
        ", ".join(filter(None, (f"{MARKS[row.verdict]} {row.verdict}", SCOPES.get(row.scope)))) if row.verdict else ""
    )


def remark(row) -> str:
    """Why a claim is open, or what its control says, or that it does not survive Holm where this is known."""
    lost = "not after Holm" if getattr(row, "survives", None) == "" and row.scope else ""
    return "; ".join(filter(None, (row.reason, row.explained, lost)))


def design(seeds: float, datasets: float) -> str:
    """Seeds and datasets.

    >>> design(3.0, 22.0).split(), design(float("nan"), float("nan"))
    (['3', '×', '22'], '–')
    """
    return MISSING if seeds != seeds else f"{seeds:.0f}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{datasets:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _size(value: float, digits: int) -> str:
    return MISSING if value != value else f"{value:.{digits}f}"
