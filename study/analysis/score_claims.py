"""What claims about scores are judged on: weighted sums of methods, and what the choice of queries adds."""

from collections.abc import Callable

import pandas as pd

from .claims import Claim
from .contrasts import contrast
from .items import QueryVariance
from .judgement import Measured


def measure(scores: pd.DataFrame, query_variance: QueryVariance) -> Callable[[Claim], Measured | None]:
    """The `measure` of `claims.verdicts` for claims whose quantity is a score.

    It is None for a claim about a method without scores. Runs that were made before the items of their scores were
    kept have no query variance: their interval is that over seeds alone.

    Args:
        scores: As `results.load_scores` returns them.
        query_variance: Of the same preset and experiments.
    """
    methods = set(scores.method)

    def of_claim(claim: Claim) -> Measured | None:
        if claim.baseline is None or not set(claim.weights) <= methods:
            return None
        values = contrast(scores, claim.weights, claim.over)
        return Measured(values, query_variance.of(claim.weights, scores, claim.over))

    return of_claim
