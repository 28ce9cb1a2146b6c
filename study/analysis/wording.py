"""The same weights under other words: which rows there are, what they change, and how far apart the routes are."""

import pandas as pd

from tsembed.tasks import INSTRUCTIONS

from ..variant_rows import load_variants
from .contrasts import GROUPS, Weights, contrast, difference
from .random_effects import interval_columns
from .results import per_text

OWN = "own words"
WORDINGS = {  # ending of the variant's name -> how it is called
    "no_prefix": "no prefix",
    "swapped": "swapped prefixes",
    "paraphrase_1": "paraphrase 1",
    "paraphrase_2": "paraphrase 2",
}
SAME_MEANING = ("", "paraphrase_1", "paraphrase_2")  # endings; "": own words
MODELS = ("ic", "mote")
SIMILARITY = ("ic", "mote", "mote_no_prefix", "mote_plain")
ALL_PAIRS = "all pairs"


def variant_of(model: str, wording: str) -> str:
    """The variant of a model's weights under a wording, "" being its own words.

    >>> variant_of("ic", "swapped"), variant_of("mote", "")
    ('ic_swapped', 'mote')
    """
    return f"{model}_{wording}" if wording else model


def weights_of(variant: str) -> str:
    """The model whose weights a variant has: the first part of its name."""
    return variant.split("_")[0]


def wording_of(variant: str) -> str:
    """How the wording of a variant is called.

    >>> wording_of("mote_no_prefix"), wording_of("ic")
    ('no prefix', 'own words')
    """
    return WORDINGS.get(variant.partition("_")[2], OWN)


def words() -> pd.DataFrame:
    """What stands in front of a text: a row per wording, a column per route."""
    variants = load_variants()
    rows = [{"wording": OWN, **INSTRUCTIONS}]
    rows += [{"wording": name, **variants[variant_of("ic", key)].instructions} for key, name in WORDINGS.items()]
    return pd.DataFrame(rows)


def differences() -> dict[str, Weights]:
    """Every wording of every model less its own words: variant -> weights."""
    variants = {variant_of(model, wording): model for model in MODELS for wording in WORDINGS}
    return {variant: difference(variant, model) for variant, model in variants.items()}


def mote_less_ic() -> dict[str, Weights]:
    """MoTE − IC with each wording on both sides: name of the wording -> weights."""
    named = {"": OWN} | WORDINGS
    return {name: difference(variant_of("mote", key), variant_of("ic", key)) for key, name in named.items()}


def spread(scores: pd.DataFrame) -> pd.DataFrame:
    """How far apart three wordings of one meaning put the mean score of the same weights.

    Args:
        scores: Columns method, seed, task_type, dataset, score.

    Returns:
        Rows: method (whose weights), group, datasets, seeds, spread (highest less lowest mean over seeds and datasets),
        lowest and highest (wording), and seed_spread (mean over seeds of the same within a seed).
    """
    rows = []
    for model in MODELS:
        for group, types in GROUPS.items():
            by_wording = {}
            for key in SAME_MEANING:
                variant = variant_of(model, key)
                by_wording[wording_of(variant)] = contrast(scores, {variant: 1.0}, types)
            means = pd.Series({name: values.mean() for name, values in by_wording.items()})
            of_seeds = pd.DataFrame({name: values.mean(axis=1) for name, values in by_wording.items()})
            rows.append(
                {
                    "method": model,
                    "group": group,
                    "datasets": by_wording[OWN].shape[1],
                    "seeds": len(of_seeds),
                    "spread": float(means.max() - means.min()),
                    "lowest": means.idxmin(),
                    "highest": means.idxmax(),
                    "seed_spread": float((of_seeds.max(axis=1) - of_seeds.min(axis=1)).mean()),
                }
            )
    return pd.DataFrame(rows)


def similarity_rows(similarities: pd.DataFrame) -> pd.DataFrame:
    """Mean similarity of `SIMILARITY` over each pair of routes and over all: method, pair, seeds, mean, both intervals.

    Args:
        similarities: As `results.load_similarity` returns it.
    """
    rows = []
    for method in SIMILARITY:
        for pair, pairs in _pairs(similarities).items():
            values = per_text(similarities, method, pairs)
            design = {"method": method, "pair": pair, "seeds": len(values), "mean": float(values.mean())}
            rows.append(design | interval_columns(values))
    return pd.DataFrame(rows)


def similarity_differences(similarities: pd.DataFrame) -> pd.DataFrame:
    """Differences of the mean similarity over all pairs, text by text: contrast, seeds, mean, and both intervals."""
    pairs, rows = _pairs(similarities)[ALL_PAIRS], []
    for method, baseline in (("mote", "ic"), ("mote_no_prefix", "mote"), ("mote_plain", "mote"), ("mote_plain", "ic")):
        tables = [_by_seed(similarities, name, pairs) for name in (method, baseline)]
        seeds = tables[0].index.intersection(tables[1].index)
        values = tables[0].loc[seeds].to_numpy() - tables[1].loc[seeds].to_numpy()
        design = {"method": method, "baseline": baseline, "seeds": len(values), "mean": float(values.mean())}
        rows.append(design | interval_columns(values))
    return pd.DataFrame(rows)


def _by_seed(similarities: pd.DataFrame, method: str, pairs: list[str]) -> pd.DataFrame:
    rows = similarities[(similarities.method == method) & similarities.pair.isin(pairs)]
    return rows.pivot_table(index="seed", columns="text", values="similarity", aggfunc="mean")


def _pairs(similarities: pd.DataFrame) -> dict[str, list[str]]:
    single = list(dict.fromkeys(similarities.pair))
    return {ALL_PAIRS: single, **{pair: [pair] for pair in single}}
