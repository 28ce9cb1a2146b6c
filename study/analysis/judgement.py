"""The rule: what is measured about a claim, and the verdict that follows from it (references/claims.yaml).

Two intervals answer two questions: on *these* datasets, whether another training would say the same, and *beyond* them,
whether other datasets would (`random_effects.py`). A verdict needs three seeds and four datasets, and a design whose
simulated rate of false verdicts is within the limit (`false_verdicts.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from . import false_verdicts
from .random_effects import Scope, effect, equivalence_p_value, interval_columns, p_value
from .statistics import ROUNDING, holm

if TYPE_CHECKING:
    from .claims import Claim

FEWEST_SEEDS, FEWEST_DATASETS = 3, 4
ALPHA = 0.05
OPEN, NOT_JUDGED = "open", "not judged"
PAPERS_WORDS, OUR_WORDS = ("reproduced", "contradicted"), ("supported", "refuted")
HOLDS, OPPOSITE = ({words[side] for words in (PAPERS_WORDS, OUR_WORDS)} for side in (0, 1))
MARKS = {"reproduced": "●", "supported": "●", "contradicted": "✕", "refuted": "✕", OPEN: "○", NOT_JUDGED: "–"}
THESE, BEYOND = "these sets", "beyond them"
PROCESSOR = "depends on the processor"
# What varies beside the seeds, by the quantity of a claim.
SECOND_DIMENSION = {
    "score": "dataset",
    "similarity": "text",
    "gradient": "batch",
    "conflict": "batch",
    "correlation": "layer",
    "information": "layer",
}
PLURALS = {"batch": "batches"}

Side = Literal[1, 0, -1]  # on the claimed side, on neither, on the other


class Measured(NamedTuple):
    """What a claim is judged on."""

    values: Float[np.ndarray, "seeds datasets"]  # differences, or a method's own values; texts, batches, layers
    query_variance: float = 0.0  # of their mean, from the spread over the queries within each dataset; 0: not known


class Judgement(NamedTuple):
    """A verdict with what it is worth."""

    verdict: str
    scope: str  # THESE or BEYOND; empty without a verdict
    reason: str  # of an open claim, or of one that is not judged; else empty


def estimate(claim: "Claim", measured: Measured) -> dict[str, float]:
    """The numbers of a claim's row.

    Returns:
        difference; what `interval_columns` gives, a detectable difference being one from the claim's value; p and
        p_beyond of a design that can have a verdict, else nan; the variances of seeds, datasets and residual; seeds,
        datasets.
    """
    values, query_variance = measured
    seeds, datasets = values.shape
    shares = false_verdicts.shares_of(values)
    return {
        "difference": float(values.mean()),
        **interval_columns(values, query_variance),
        "p": _p_value(claim, measured, "these"),
        "p_beyond": _p_value(claim, measured, "beyond"),
        **{f"variance_of_{name}": share for name, share in shares._asdict().items()},
        "seeds": seeds,
        "datasets": datasets,
    }


def judge(claim: "Claim", measured: Sequence[Measured]) -> Judgement:
    """The verdict on a claim.

    Args:
        claim: Of references/claims.yaml.
        measured: Of the claim, or of each of its lines: they must all lie on one side, by Holm over the lines.
    """
    if reason := obstacle(claim, *measured[0].values.shape):
        return Judgement(OPEN, "", reason)
    on_these, beyond = (_sides(claim, measured, scope) for scope in ("these", "beyond"))
    words = PAPERS_WORDS if claim.source != "ours" else OUR_WORDS
    for side, word in zip((1, -1), words, strict=True):
        if set(on_these) == {side}:
            return Judgement(word, BEYOND if set(beyond) == {side} else THESE, "")
    return Judgement(OPEN, "", _reason(claim, measured, on_these))


def obstacle(claim: "Claim", seeds: int, datasets: int) -> str:
    """Why a design can have no verdict, whatever it finds; empty where it can."""
    second = SECOND_DIMENSION[claim.quantity]
    few = [count_of(seeds, "seed")] if seeds < FEWEST_SEEDS else []
    few += [count_of(datasets, second)] if datasets < FEWEST_DATASETS else []
    if few:
        return ", ".join(few)
    if not false_verdicts.keeps_limit(seeds, datasets):
        return f"more than {100 * false_verdicts.LIMIT:.0f} % false verdicts"
    return ""


def count_of(number: int, noun: str) -> str:
    """A number of things.

    >>> count_of(1, "seed"), count_of(2, "batch")
    ('1 seed', '2 batches')
    """
    return f"{number} {noun if number == 1 else PLURALS.get(noun, noun + 's')}"


def _p_value(claim: "Claim", measured: Measured, scope: Scope) -> float:
    values, query_variance = measured
    if obstacle(claim, *values.shape):
        return float("nan")  # what can have no verdict is not in the family that Holm corrects over
    if claim.claimed == "equal":
        return equivalence_p_value(values, scope, claim.margin, query_variance=query_variance)
    return p_value(values, scope, than=claim.than, query_variance=query_variance)


def _sides(claim: "Claim", measured: Sequence[Measured], scope: Scope) -> list[Side]:
    """Of the claim, or of each line."""
    adjusted = holm(np.array([_p_value(claim, each, scope) for each in measured]))
    return [_side(claim, float(each.values.mean()), p) for each, p in zip(measured, adjusted, strict=True)]


def _side(claim: "Claim", difference: float, p: float) -> Side:
    if claim.claimed == "equal":  # one minus the p-value is that of a difference beyond the margin
        return 1 if p < ALPHA else -1 if 1 - p < ALPHA / 2 else 0
    if p >= ALPHA or abs(difference - claim.than) <= ROUNDING:
        return 0
    return 1 if (difference > claim.than) == (claim.claimed == "greater") else -1


def _reason(claim: "Claim", measured: Sequence[Measured], sides: Sequence[Side]) -> str:
    if claim.line_by_line:
        return f"{sides.count(1)} of {len(sides)} lines"
    if claim.claimed == "equal":
        return f"neither within ±{claim.margin:g} nor outside"
    values, query_variance = measured[0]
    detectable = effect(values, "these", query_variance=query_variance).detectable
    return f"below the minimum detectable effect: {detectable:.2g}" if detectable > ROUNDING else "no difference at all"


def designs_in_use(verdicts: pd.DataFrame, *, runs: int = false_verdicts.RUNS) -> pd.DataFrame:
    """The simulated rates of false verdicts of the claims' designs, without those of one seed, which have no interval.

    Args:
        verdicts: As `claims.collect` returns it.
        runs: Simulated studies per share of variance.

    Returns:
        Columns of `false_verdicts.table`, and claims (how many have the design), beyond_here (the highest rate of
        verdicts beyond these sets at the variances that these claims have), judged (whether the design gets verdicts).
    """
    judged = verdicts[(verdicts.seeds > 1) & (verdicts.datasets > 1)]
    keys = list(zip(judged.seeds.astype(int), judged.datasets.astype(int), strict=True))
    table = false_verdicts.table(keys, runs=runs)
    shares = judged[[f"variance_of_{name}" for name in false_verdicts.Shares._fields]].to_numpy()
    here: dict[tuple[int, int], float] = dict.fromkeys(keys, 0.0)
    for key, variances in zip(keys, shares, strict=True):
        if variances.sum() > 0:  # no variance, no error
            here[key] = max(here[key], false_verdicts.rates(*key, variances, runs=runs).beyond)
    rows = list(zip(table.seeds, table.datasets, strict=True))
    enough = (table.seeds >= FEWEST_SEEDS) & (table.datasets >= FEWEST_DATASETS)
    return table.assign(
        claims=[keys.count(row) for row in rows],
        beyond_here=[here[row] for row in rows],
        judged=enough & table.within_limit,
    )


def counts(verdicts: pd.DataFrame) -> dict[str, int]:
    """Verdict with its scope -> number of claims that have it, in a fixed order, without those that none has.

    Args:
        verdicts: Columns verdict, scope, and line where there are lines, which are not counted.
    """
    claims = without_lines(verdicts)
    named = claims.verdict + claims.scope.map({BEYOND: " beyond these datasets", THESE: " on these datasets"}).fillna(
        ""
    )
    order = [f"{v}{where}" for v in MARKS for where in (" beyond these datasets", " on these datasets", "")]
    return {v: n for v in order if (n := int((named == v).sum()))}


def counts_text(verdicts: pd.DataFrame) -> str:
    """The counts as a sentence's part, and how often each reason has left a claim open, in Markdown."""
    texts = [f"**{n}** {verdict}" for verdict, n in counts(verdicts).items()]
    reasons = ", ".join(f"“{reason}” ({n})" for reason, n in open_reasons(verdicts).items())
    return (", ".join(texts) or "none") + (f"; open because of {reasons}" if reasons else "")


def open_reasons(verdicts: pd.DataFrame) -> dict[str, int]:
    """Reason, without its number -> open claims that it has left so, the most frequent first."""
    claims = without_lines(verdicts)
    reasons = claims.reason[claims.verdict == OPEN].str.split(":").str[0]
    return {reason: int(n) for reason, n in reasons.value_counts().items()}


def without_lines(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The rows of claims alone, without those of their lines."""
    return verdicts[verdicts.line.fillna("") == ""] if "line" in verdicts else verdicts
