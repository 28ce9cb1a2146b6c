"""The tables of what routers do as they are read: what they tell apart, and which negatives that stresses."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..figures.words import number
from ..style import MISSING

ROUTERS = ("trained", "untrained", "random")


def information_table(information: pd.DataFrame, methods: Sequence[str], label: Mapping[str, str]) -> pd.DataFrame:
    """A row per method: mutual information of expert with task and with dataset, trained, untrained and at random.

    Args:
        information: `information.csv` of runs: columns method, seed, router, label, layer, information, noise.
        methods: The order of the rows.
        label: Method -> how it is called.
    """
    whole = information[information.layer == "all"]
    means = whole.groupby(["method", "router", "label"])[["information", "noise"]].mean()
    rows = []
    for method in methods:
        row = {"Method": label[method]}
        for of in ("task", "set"):
            for router in ROUTERS:
                value, noise = means.loc[(method, router, of)]
                row[f"{'dataset' if of == 'set' else of}, {router}"] = f"{value:.3f} ± {noise:.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def weights_table(weights: pd.DataFrame, methods: Sequence[str], label: Mapping[str, str]) -> pd.DataFrame:
    """A row per method and kind of weights: mean weight of the negatives by what they share with the query.

    Args:
        weights: `weights.csv` of runs: the columns of `probes.negative_weights` and method, seed.
        methods: The order of the rows.
        label: Method -> how it is called.
    """
    means = weights.groupby(["method", "by", "relation"], sort=False)[["weight", "low", "high", "correlation"]].mean()
    relations = [relation for relation in dict.fromkeys(weights.relation) if relation != "all"]  # whose mean is 1
    rows = []
    for method in methods:
        for by in dict.fromkeys(weights.by):
            row = {"Method": label[method], "weights by": by}
            for relation in relations:
                found = (method, by, relation) in means.index
                row[relation] = f"{means.weight[method, by, relation]:.2f}" if found else MISSING
            whole = means.loc[(method, by, "all")]
            row["5 to 95 %"] = f"{whole.low:.2f} to {whole.high:.2f}"
            row["correlation with cosine"] = number(whole.correlation, 2)
            rows.append(row)
    return pd.DataFrame(rows)
