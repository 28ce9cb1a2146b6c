"""The same text under all routes: how near its embeddings are, and from which block on they part."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsembed.tasks import ROUTES

from ..figures.heat_map import heat_map
from ..figures.words import number, words
from ..method_styles import METHODS
from ..style import FULL, footnote, new_figure
from .models import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsembed.encoder.text import Encoder


def route_cosines(encoder: "Encoder", text: str) -> Float[np.ndarray, "routes routes"]:
    """Cosine of a text's embeddings under every two routes of `ROUTES`."""
    vectors = np.stack([encoder.encode(text, route) for route in ROUTES])
    return vectors @ vectors.T


def layer_cosines(encoder: "Encoder", text: str) -> pd.DataFrame:
    """Mean cosine of a text's hidden states over the pairs of routes: columns layer, cosine."""
    from ...probes.similarity import similarity_by_layer

    return similarity_by_layer(encoder, [text])[["layer", "cosine"]]


def heat_maps(cosines: "Mapping[Model, Float[np.ndarray, 'routes routes']]") -> "Figure":
    """A panel per model: cosine of one text's embeddings under every two routes."""
    names = [words(route) for route in ROUTES]
    lowest = min(0.9, math.floor(10 * min(float(table.min()) for table in cosines.values())) / 10)
    with new_figure(FULL, 2.6, "cosine of one text under every two routes") as figure:
        panels = figure.subplots(1, len(cosines), squeeze=False).ravel()
        for axes, (model, table) in zip(panels, cosines.items(), strict=True):
            heat_map(axes, table, names if axes is panels[0] else [], names, limit=1.0, lowest=lowest, digits=2)
            axes.set_title(title(model))
        footnote(
            figure,
            f"1 text, 1 model each; cosine similarity, 1: the route changes nothing; grey: from {lowest:.1f} to 1",
        )
    return figure


def layer_lines(cosines: Mapping[Model, pd.DataFrame]) -> "Figure":
    """A line per model: mean cosine over the pairs of routes against the block."""
    from matplotlib.ticker import MaxNLocator

    with new_figure(FULL, 2.2, "similarity of one text's routes by layer") as figure:
        axes = figure.add_subplot()
        for place, (model, rows) in enumerate(cosines.items()):
            look = METHODS[model.variant]
            line = "-" if place == 0 else "--"
            axes.plot(rows.layer, rows.cosine, line, color=look.colour, marker=look.marker, label=title(model, " "))
        axes.set(xlabel="after block (0: embeddings)", ylabel="mean cosine over\nthe pairs of routes")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(y=0.12)
        figure.legend(loc="outside upper left", ncols=2)
        footnote(figure, "1 text, 1 model each; pooled hidden states; no interval")
    return figure


def sentence(cosines: "Mapping[Model, Float[np.ndarray, 'routes routes']]") -> str:
    """How far the routes are apart in each model, in words."""
    corner = ~np.eye(len(ROUTES), dtype=bool)
    parts = [f"{number(float(table[corner].mean()), 2)} in {title(m, ' ')}" for m, table in cosines.items()]
    table = next(iter(cosines.values()))
    first, second = np.unravel_index(np.where(corner, table, np.inf).argmin(), table.shape)
    return (
        f"Mean cosine of two routes: {', '.join(parts)}. In the first model {words(ROUTES[first])} and "
        f"{words(ROUTES[second])} are farthest apart ({number(float(table[first, second]), 2)})."
    )


def title(model: Model, between: str = "\n") -> str:
    """A model over its panel: its label, and where it comes from."""
    if model.kind == "untrained":
        return f"{model.label}{between}(not trained)"
    if model.kind == "short":
        return f"{model.label}{between}(short training {model.seed})"
    return f"{model.label}{between}({model.preset}, seed {model.seed})"
