"""All claims of a preset in one table: what the notebooks judged, and what no notebook has judged yet."""

import re
from typing import TYPE_CHECKING, Any

import yaml

from .. import paths
from .claims import Claim, claims
from .tables import MISSING, gain, gain_interval

if TYPE_CHECKING:
    import pandas as pd

NOT_JUDGED = "not judged"
MARKS = {"reproduced": "●", "contradicted": "✕", "inconclusive at this scale": "○", NOT_JUDGED: "–"}
UNITS = {
    "score": "points", "similarity": "cosine", "gradient": "cosine", "conflict": "cosine", "correlation": "Spearman",
    "information": "nats",
}  # fmt: skip
DIGITS = {"points": 2, "cosine": 3, "Spearman": 3, "nats": 3}
MEASURED = ("difference", "low", "high", "detectable", "seeds")


def collect(preset: str) -> "pd.DataFrame":
    """A row per claim of references/claims.yaml, in its order, with what reports/<preset>/tables/claims_*.csv say.

    Returns:
        Columns id, quantity, unit, claim, place, claimed, than, paper (the published difference, where the paper
        prints one), difference, low, high, detectable, seeds, verdict, notebook. A claim that no notebook has judged
        has the verdict "not judged" and nan for what is measured.

    Raises:
        ValueError: If two tables judge the same claim, or one has an unknown verdict.
    """
    import pandas as pd

    judged: dict[str, dict[str, Any]] = {}
    for path in sorted((paths.report_dir(preset) / "tables").glob("claims_*.csv")):
        for row in pd.read_csv(path).to_dict("records"):
            if row["id"] in judged:
                raise ValueError(f"{path}: the claim {row['id']!r} is judged in another table too")
            if row["verdict"] not in MARKS:
                raise ValueError(f"{path}: the verdict {row['verdict']!r} is none of {', '.join(MARKS)}")
            judged[row["id"]] = row
    numbers = yaml.safe_load((paths.REFERENCES / "mote.yaml").read_text())
    rows = []
    for claim in claims():
        found = judged.get(claim.id, {})
        rows.append(
            {
                "id": claim.id, "quantity": claim.quantity, "unit": UNITS[claim.quantity], "claim": claim.text,
                "place": claim.place, "claimed": claim.claimed, "than": claim.than, "paper": published(claim, numbers),
                **{key: float(found.get(key, float("nan"))) for key in MEASURED},
                "verdict": found.get("verdict", NOT_JUDGED), "notebook": claim.notebook,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def published(claim: Claim, numbers: dict[str, Any]) -> float:
    """The paper's own (method - baseline) of a claim; nan where it prints no such number.

    The place of the claim names the table (or the abstract), `over` the row: one task type, or the average.

    Args:
        numbers: The content of references/mote.yaml.
    """
    if claim.place.startswith("Abstract"):
        row, gains = numbers["claims"]["average_gain"], True
    elif match := re.match(r"Table (\d)", claim.place):
        table = numbers["tables"][f"table{match[1]}"]
        row = table["rows"].get(claim.over[0] if len(claim.over) == 1 else "Average", {})
        gains = isinstance(table["unit"], dict)  # Tables 2 and 3: the column of EM is a score, the others gains over it
    else:
        return float("nan")
    row = row | {"em": 0.0} if gains else row
    values = [row.get(method) for method in (claim.method, claim.baseline)]
    return float("nan") if None in values else float(values[0]) - float(values[1])


def table(found: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of `collect` as they are read: a verdict marked by its sign, too; the notebook by its number."""
    import pandas as pd

    rows = [(row, DIGITS[row.unit]) for row in found.itertuples()]
    return pd.DataFrame(
        {
            "Claim": found.claim, "Place": found.place, "Paper's": [gain(r.paper, n) for r, n in rows],
            "Here": [gain_interval(r.difference, r.low, r.high, n) for r, n in rows],
            "Unit": found.unit, "Seen from": [_size(r.detectable, n) for r, n in rows],
            "Seeds": [_size(r.seeds, 0) for r, _ in rows],
            "Verdict": [f"{MARKS[v]} {v.removesuffix(' at this scale')}" for v in found.verdict],
            "Notebook": found.notebook.str.split("_").str[0],
        }
    )  # fmt: skip


def counts(found: "pd.DataFrame") -> dict[str, int]:
    """Verdict -> number of claims that have it, in a fixed order, without those that none has."""
    return {v: n for v in MARKS if (n := int((found.verdict == v).sum()))}


def out_of_sight(found: "pd.DataFrame") -> "pd.DataFrame":
    """The inconclusive claims that this design could not have seen at the size the paper reports.

    Their published difference, from the value that the claim names, is smaller than the detectable one (power 0.8).
    """
    size = (found.paper - found.than).abs()
    return found[found.verdict.str.startswith("inconclusive") & (size < found.detectable)]


def _size(value: float, digits: int) -> str:
    return MISSING if value != value else f"{value:.{digits}f}"
