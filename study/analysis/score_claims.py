"""What claims about scores are judged on: weighted sums of methods, and what the choice of queries adds."""

from collections.abc import Callable

import pandas as pd

from .claims import Claim
from .contrasts import contrast
from .items import QueryVariance
from .judgement import Measured


def measure(preset: str, scores: pd.DataFrame, *experiments: str) -> Callable[[Claim], Measured | None]:
    """The `measure` of `claims.verdicts` for claims whose quantity is a score.

    It is None for a claim about a method without scores. Runs that were made before the items of their scores were
    kept have no query variance: their interval is that over seeds alone.

    Args:
        preset: A name in configs/presets.
        scores: As `results.load_scores` returns them, of the preset and the experiments.
        experiments: As in `results.load_scores`.
    """
    methods = set(scores.method)
    query_variance = QueryVariance(preset, *experiments)

    def of_claim(claim: Claim) -> Measured | None:
        weights = claim.weights
        if claim.baseline is None or not set(weights) <= methods:
            return None
        values = contrast(scores, weights, claim.over)
        if not query_variance.known(*weights):
            return Measured(values)
        chosen = scores[scores.method.isin(weights) & scores.task_type.isin(claim.over)]
        of_all = chosen.groupby("seed").method.nunique() == len(weights)
        return Measured(values, query_variance(weights, list(of_all.index[of_all]), list(chosen.dataset.unique())))

    return of_claim
