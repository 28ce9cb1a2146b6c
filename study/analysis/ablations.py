"""What each ablation changes against its main variant, and what it gains."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ..variant_rows import load_variants
from . import statistics
from .gains import gains_by_row

if TYPE_CHECKING:
    from tsembed.settings import Variant

    from .items import QueryVariance


# Setting -> what its panel of ablations is called.
ADAPTER = {
    "num_experts": "experts",
    "top_k": "experts in use",
    "r": "rank",
    "router": "router",
    "load_balancing": "load balancing",
    "shared_experts": "shared experts",
    "router_learning_rate_scale": "learning rate of the routers",
    "scale_gates": "gates",
    "information_loss": "information loss",
}
NEGATIVES = {
    "weights": "weights of negatives",
    "beta_unit": "unit of β",
    "beta": "β",
    "top_k": "negatives that are weighted",
    "signature": "signature",
    "similarity": "similarity of routing",
    "centered": "centred signatures",
    "compared_with": "negatives compared with",
    "first_stage": "first stage",
}
_NONE = {"top_k": "all", "load_balancing": "none", "information_loss": "none"}
_NAMES = {
    "eans": "EANS",
    "kl": "KL divergence",
    "settled": "until the routing settles",
    "similarity": "similarity",
    "deviation": "standard deviation",
    "token": "per token",
    "False": "no",
}


def ablations(
    scores: pd.DataFrame,
    changes: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[str]],
    parameters: Mapping[str, int],
    *,
    label: Mapping[str, str],
    query_variance: "QueryVariance | None" = None,
) -> pd.DataFrame:
    """Difference of every ablation to its main variant. Holm corrects over the ablations, on the first of the rows.

    Args:
        scores: Columns method, seed, dataset, score; of the main rows and of their ablations.
        changes: Main row -> its ablations.
        rows: Row -> its datasets.
        parameters: Method -> parameters of its adapter.
        label: Method -> how it is called.
        query_variance: As in `gains`.

    Returns:
        Columns of `gains_by_row`, and panel (the setting that is changed), main (its value in the main row), main_row,
        label, size (parameters as a ratio to the main row's). No rows where nothing is changed.
    """
    variants, frames = load_variants(), []
    for main, methods in changes.items():
        for method in methods:
            panel, value = changed(variants[method], variants[main])
            unweighted = variants[main].negatives is not None and variants[method].negatives is None
            name = f"none ({label[method]})" if unweighted else label[method]
            size = parameters[method] / parameters[main]
            gains = gains_by_row(scores, [method], rows, baseline=main, query_variance=query_variance)
            frames.append(gains.assign(panel=panel, main=value, main_row=main, label=name, size=size))
    if not frames:
        return pd.DataFrame(columns=["row", "method", "baseline", "seeds", "p_holm", "main_row"])
    gains = pd.concat(frames, ignore_index=True)
    first = gains[gains.row == next(iter(rows))]
    holm = dict(zip(zip(first.main_row, first.method, strict=True), statistics.holm(first.p_t.to_numpy()), strict=True))
    return gains.assign(p_holm=[holm[r.main_row, r.method] for r in gains.itertuples()])


def changed(variant: "Variant", main: "Variant") -> tuple[str, str]:
    """Which panel an ablation belongs to, and the main row's value there.

    Raises:
        ValueError: If it differs from the main row in no setting of adapter or negatives.

    >>> from study.variant_rows import load_variants
    >>> known = load_variants()
    >>> changed(known["vl_moe_lora_r4"], known["vl_moe_lora"]), changed(known["vl_moe_lora"], known["tsembed"])
    (('rank', '16'), ('weights of negatives', 'EANS'))
    """
    for section, names in (("adapter", ADAPTER), ("negatives", NEGATIVES)):
        ours, theirs = getattr(variant, section), getattr(main, section)
        if theirs is not None and ours is None:
            first = next(iter(names))
            return names[first], _value_label(first, getattr(theirs, first))
        for field, title in names.items() if theirs is not None else ():
            if getattr(ours, field) != getattr(theirs, field):
                return title, _value_label(field, getattr(theirs, field))
    raise ValueError(f"{variant.label} differs from {main.label} in no setting of {[*ADAPTER, *NEGATIVES]}")


def _value_label(field: str, value) -> str:
    if field in _NONE and not value:
        return _NONE[field]
    return f"{value:g}" if isinstance(value, float) else _NAMES.get(str(value), str(value))
