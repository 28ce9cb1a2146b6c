"""Figures over blocks.

Invariants: every figure says its seeds and interval, has units on its axes and is as wide as a column or a page; a line
per expert, pair or method goes through the means, in the order of the blocks; lines differ in marker or in fill; one
seed and one block are drawn too.
"""

import itertools
import re

import matplotlib.text
import pandas as pd
import pytest

from study.analysis.experts import ALL_PAIRS
from study.report import style
from study.report.figures import layers as layer_figures
from study.report.figures import similarity as similarity_figures


def rows(blocks=(1, 0), **keys):
    """A row per combination of keys and block, blocks in the wrong order."""
    combinations = [dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())]
    found = [{**c, "block": b, "mean": 0.1 * b + 0.01 * i} for i, c in enumerate(combinations) for b in blocks]
    return pd.DataFrame(found).assign(low=lambda t: t["mean"] - 0.02, high=lambda t: t["mean"] + 0.03)


EXPERTS = ["classification", "clustering", "search_query", "search_document"]
PAIRS = [f"{a}–{b}" for a, b in itertools.combinations(EXPERTS, 2)]
TASKS = [ALL_PAIRS, "classification–clustering", "classification–retrieval", "clustering–retrieval"]
SAID = {"seeds": "2 seeds", "interval": "95 % bootstrap over seeds"}


def all_figures(blocks=(1, 0)):
    routed = rows(blocks, method=["mote"], what=["shared", *EXPERTS])
    drift = pd.concat([routed, rows(blocks, method=["ic"], what=["shared", "dense model"])])
    conflict = rows(blocks, pair=TASKS, method=["em", "ic", "mote"], same_task=[True, False]).astype({"block": str})
    layers = rows(blocks, method=["ic", "mote"]).rename(columns={"block": "layer"})
    return {
        "drift": layer_figures.drift(drift, **SAID),
        "distance": layer_figures.expert_distance(rows(blocks, pair=PAIRS), **SAID),
        "conflict": layer_figures.gradient_conflict(conflict, batches=3, **SAID),
        "layers": similarity_figures.similarity_by_layer(layers, texts=8, **SAID),
    }


DRAWN = all_figures()


def texts(figure):
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize(
    ("name", "unit"),
    [("drift", "%"), ("distance", "%"), ("conflict", "cosine of gradients"), ("layers", "cosine similarity")],
)
def test_figures_say_seeds_interval_and_units(name, unit):
    said = texts(DRAWN[name])
    assert re.search(r"\b2 seeds\b", said)
    assert "95 % bootstrap over seeds" in said
    assert unit in said
    assert "block" in said or "layer" in said
    assert DRAWN[name].get_figwidth() in (style.COLUMN, style.FULL)


def test_nothing_sticks_out_of_the_width():
    for figure in DRAWN.values():
        figure.draw_without_rendering()
        assert figure.get_tightbbox().width <= figure.get_figwidth() + 0.1  # inches, as it is saved


def lines(axes):
    return {container.get_label(): container.lines[0] for container in axes.containers}


def test_a_line_per_expert_pair_and_method():
    feed_forward, attention = DRAWN["drift"].axes
    assert list(lines(feed_forward)) == [*(f"MoTE: {e}" for e in EXPERTS), "IC: dense"]
    assert list(lines(attention)) == ["MoTE", "IC"]
    assert list(lines(DRAWN["distance"].axes[0])) == [p.replace("search_", "") for p in PAIRS]
    assert list(lines(DRAWN["layers"].axes[0])) == ["IC", "MoTE"]
    for axes in DRAWN["conflict"].axes:
        assert len(lines(axes)) == 6
    assert [axes.get_title() for axes in DRAWN["conflict"].axes] == TASKS


@pytest.mark.parametrize("name", DRAWN)
def test_lines_differ_without_colour(name):
    for axes in DRAWN[name].axes:
        looks = [(line.get_marker(), line.get_fillstyle()) for line in lines(axes).values()]
        assert len(set(looks)) == len(looks) > 1


def test_lines_go_through_the_means_in_the_order_of_blocks():
    line = lines(DRAWN["drift"].axes[1])["IC"]
    assert list(line.get_xdata()) == [0, 1]
    assert list(line.get_ydata()) == pytest.approx([0.0, 10.0])  # %
    text = lines(DRAWN["conflict"].axes[0])["IC, two tasks"]  # of blocks as text
    assert list(text.get_xdata()) == [0, 1]


def test_one_block_is_drawn():
    for figure in all_figures(blocks=(0,)).values():
        assert figure._repr_html_().startswith("<img")
