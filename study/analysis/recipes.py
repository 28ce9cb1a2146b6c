"""Other recipes for EM, IC and MoTE: kinds of data and rate, merges, fewer experts, experts in fewer blocks."""

from collections.abc import Mapping

import pandas as pd

from tsembed.tasks import TASK_OF_TYPE

from .contrasts import GROUPS, Weights, contrast, contrast_rows, difference
from .cost import sizes
from .items import QueryVariance
from .random_effects import SCOPES, effect
from .shares import share

MODELS = ("em", "ic", "mote")
LABEL = {"em": "EM", "ic": "IC", "mote": "MoTE", "base": "untrained", "ea": "EA"}
RECIPES = {"": "pairs", "labels": "labels", "both": "pairs and labels", "fast": "3 × learning rate"}  # ending -> name
ROWS = tuple(f"{model}_{ending}" if ending else model for ending in RECIPES for model in MODELS)
GAINS = (("ic", "em"), ("mote", "ic"))
MERGES = {  # variant -> the model that it was made of, where it is one
    "sem_mean": None,
    "sem_mean_base": None,
    "em_half": "em",
    "ic_half": "ic",
    "mote_half": "mote",
    "ea": "mote",
}
MERGE_LABEL = {
    "sem_mean": "mean of the SEMs",
    "sem_mean_base": "mean of the SEMs and the backbone",
    "em_half": "EM, half-way to the backbone",
    "ic_half": "IC, half-way to the backbone",
    "mote_half": "MoTE, half-way to the backbone",
    "ea": "EA, mean of MoTE's experts",
}
SHARED, PLACED = "experts shared by tasks", "experts in some blocks"
SERIES = {  # series -> {variant: label}, from few parameters to many
    SHARED: {"ic": "1", "mote_two": "2", "mote_shared": "3", "mote": "4"},
    PLACED: {
        "ic": "none",
        "mote_last": "last",
        "mote_last_half": "last half",
        "mote_eob": "every other",
        "mote": "every",
    },
}


def _variant(model: str, ending: str) -> str:
    return f"{model}_{ending}" if ending else model


def _rows(
    scores: pd.DataFrame, contrasts: Mapping[tuple[str, str], Weights], query_variance: QueryVariance
) -> pd.DataFrame:
    """`contrast_rows` of contrasts that are named by (section, contrast), with a column section."""
    frames = [
        contrast_rows(scores, {name: weights}, query_variance=query_variance).assign(section=section)
        for (section, name), weights in contrasts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def gains_by_recipe(scores: pd.DataFrame, query_variance: QueryVariance) -> pd.DataFrame:
    """IC − EM and MoTE − IC under each recipe: columns of `contrast_rows` (contrast: recipe), section (the gain)."""
    contrasts = {
        (f"{LABEL[method]} − {LABEL[baseline]}", name): difference(_variant(method, ending), _variant(baseline, ending))
        for method, baseline in GAINS
        for ending, name in RECIPES.items()
    }
    return _rows(scores, contrasts, query_variance)


def changes_by_recipe(scores: pd.DataFrame, query_variance: QueryVariance) -> pd.DataFrame:
    """What each recipe adds to a method's score and to a gain, against the first: columns as `gains_by_recipe`."""
    contrasts: dict[tuple[str, str], Weights] = {}
    for ending, name in list(RECIPES.items())[1:]:
        for model in MODELS:
            contrasts[f"{name} less pairs", LABEL[model]] = difference(_variant(model, ending), model)
        for method, baseline in GAINS:
            under_recipe = difference(_variant(method, ending), _variant(baseline, ending))
            contrasts[f"{name} less pairs", f"{LABEL[method]} − {LABEL[baseline]}"] = {
                **under_recipe,
                method: -1.0,
                baseline: 1.0,
            }
    return _rows(scores, contrasts, query_variance)


def merges(scores: pd.DataFrame, query_variance: QueryVariance) -> pd.DataFrame:
    """Merged models less EM, IC, the backbone and what they were made of: section (the merge), contrast (less what)."""
    contrasts: dict[tuple[str, str], Weights] = {}
    for merge, origin in MERGES.items():
        for baseline in dict.fromkeys(filter(None, ("em", "ic", "base", origin))):
            contrasts[MERGE_LABEL[merge], f"less {LABEL[baseline]}"] = difference(merge, baseline)
    return _rows(scores, contrasts, query_variance)


def shares_by_type(scores: pd.DataFrame) -> pd.DataFrame:
    """EA − IC as a share of MoTE − IC, per task type and group of types.

    Returns:
        Columns group, datasets, seeds, part (EA − IC), whole (MoTE − IC) with whole_low and whole_high (and
        …_beyond), share, low, high, share_beyond, low_beyond, high_beyond; nan where the whole may be nothing.
    """
    scored = [kind for kind in TASK_OF_TYPE if (scores.task_type == kind).any()]
    rows = []
    for group, types in {**{kind: (kind,) for kind in scored}, **GROUPS}.items():
        part, whole = (contrast(scores, _less_ic(method), types) for method in ("ea", "mote"))
        row = {"group": group, "datasets": whole.shape[1], "seeds": whole.shape[0], "part": float(part.mean())}
        for scope in SCOPES:
            ending = "_beyond" if scope == "beyond" else ""
            gain, ratio = effect(whole, scope), share(part, whole, scope)
            row |= {"whole": gain.mean, f"whole_low{ending}": gain.low, f"whole_high{ending}": gain.high}
            row |= {f"share{ending}": ratio.value, f"low{ending}": ratio.low, f"high{ending}": ratio.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _less_ic(method: str) -> Weights:
    # On the seeds of EA, IC and MoTE alike, so that part and whole are of the same ones.
    return {**{"ea": 0.0, "mote": 0.0}, method: 1.0, "ic": -1.0}


def memory(scores: pd.DataFrame, preset: str, query_variance: QueryVariance) -> pd.DataFrame:
    """Gain over IC and size of the saved model, by number of experts and by the blocks that have them.

    Returns:
        Columns of `contrast_rows` without contrast, and series, label, parameters, megabytes.
    """
    methods = list(dict.fromkeys(method for series in SERIES.values() for method in series))
    saved, frames = sizes(preset, methods), []
    for series, labels in SERIES.items():
        for method, label in labels.items():
            # IC less IC is nothing on its own seeds: it is where both series begin.
            weights = {"ic": 0.0} if method == "ic" else difference(method, "ic")
            of_label = contrast_rows(scores, {label: weights}, query_variance=query_variance)
            rows = of_label.rename(columns={"contrast": "label"})
            size = {"parameters": saved.parameters[method], "megabytes": saved.bytes[method] / 1e6}
            frames.append(rows.assign(series=series, **size))
    return pd.concat(frames, ignore_index=True)
