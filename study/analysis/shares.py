"""One gain as a share of another, with its interval."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .random_effects import Scope, effect


class Share(NamedTuple):
    """A ratio of two mean differences; nan where the denominator's interval holds zero, or where there is none."""

    value: float
    low: float
    high: float


NO_SIZE = Share(math.nan, math.nan, math.nan)
WIDEST = 1e6  # a bound farther from the ratio, in units of max(1, |ratio|), is none


def share(part: Float[np.ndarray, "seeds datasets"], whole: Float[np.ndarray, "seeds datasets"], scope: Scope) -> Share:
    """Mean of `part` over mean of `whole`, with the 95 % interval after Fieller (1954).

    A ratio r is in the interval where that of part − r * whole holds zero. Both are of the same seeds and datasets, so
    what they share is taken out. Where the interval of the whole holds zero, all ratios but some would be in it: a
    share of what may be nothing has no size.

    Args:
        part: Paired differences, the numerator.
        whole: Paired differences, the denominator, on the same seeds and datasets.
        scope: As in `random_effects.effect`.

    Raises:
        ValueError: If the shapes differ.
    """
    if part.shape != whole.shape:
        raise ValueError(f"part and whole must have one shape, got {part.shape} and {whole.shape}")
    base = effect(whole, scope)
    if math.isnan(base.low) or base.low <= 0 <= base.high:
        return NO_SIZE
    ratio = float(part.mean() / whole.mean())
    return Share(ratio, _bound(part, whole, scope, ratio, -1), _bound(part, whole, scope, ratio, +1))


def _bound(part: np.ndarray, whole: np.ndarray, scope: Scope, ratio: float, side: int) -> float:
    """The first ratio below or above the estimate whose difference is farther from zero than its interval reaches."""
    from scipy.optimize import brentq

    def beyond(distance: float) -> float:
        of_ratio = effect(part - (ratio + side * distance) * whole, scope)
        return abs(of_ratio.mean) - (of_ratio.high - of_ratio.low) / 2

    unit = max(1.0, abs(ratio))
    far = 1e-3 * unit
    while beyond(far) <= 0:
        far *= 2
        if far > WIDEST * unit:
            return math.nan
    return ratio + side * float(brentq(beyond, 0.0, far)) if beyond(0.0) < 0 else ratio
