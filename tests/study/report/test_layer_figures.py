"""Figures over blocks.

Invariants: every figure says its seeds and interval, has units on its axes and is as wide as a column or a page; a line
per expert, pair or method has the means in the order of the blocks, counted from 1; methods differ in marker or in fill
and in place; one block is drawn too.
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
    apart = rows(blocks, method=["mote"]).rename(columns={"block": "layer"})
    return {
        "drift": layer_figures.drift(drift, **SAID),
        "distance": layer_figures.expert_distance(rows(blocks, pair=PAIRS), **SAID),
        "conflict": layer_figures.gradient_conflict(conflict, batches=3, **SAID),
        "layers": similarity_figures.similarity_by_layer(layers, apart, texts=8, **SAID),
    }


DRAWN = all_figures()


def texts(figure):
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize(
    ("name", "unit"),
    [("drift", "%"), ("distance", "%"), ("conflict", "cosine"), ("layers", "cosine similarity")],
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


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def numbers(axes):
    """The table of numbers that a heat map is, as it is read."""
    table = axes.images[0].get_array()
    return table.shape, [text.get_text() for text in axes.texts]


def test_a_row_per_expert_pair_and_method_and_blocks_from_1():
    feed_forward, attention = DRAWN["drift"].axes[:2]
    experts = ["classification", "clustering", "query", "document"]
    assert names(feed_forward) == [*(f"MoTE, {e} expert" for e in experts), "IC"]
    assert names(attention) == ["MoTE", "IC"]
    distance = DRAWN["distance"].axes[0]
    assert names(distance) == [f"{a} – {b}" for a, b in itertools.combinations(experts, 2)]
    for axes in (attention, distance):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


def test_a_cell_is_the_mean_of_its_block_in_per_cent():
    shape, shown = numbers(DRAWN["drift"].axes[1])
    assert shape == (2, 2)
    assert shown == ["0.00", "10.00", "0.00", "10.00"], "the first block is the first column"


def test_more_blocks_than_fit_have_colours_alone():
    many = all_figures(blocks=tuple(range(20)))["drift"].axes[0]
    assert many.images[0].get_array().shape == (5, 20)
    assert not many.texts


def test_two_tasks_stand_beside_batches_of_one_task():
    panels = DRAWN["conflict"].axes
    assert len(panels) == 2 * len(TASKS)
    two, one = panels[:2]
    assert two.get_title(loc="left") == "all pairs of tasks: two tasks"
    assert one.get_title(loc="left") == "all pairs of tasks: batches of one task"
    assert {bars.lines[0].get_fillstyle() for bars in two.containers} == {"full"}
    assert {bars.lines[0].get_fillstyle() for bars in one.containers} == {"none"}
    assert len({bars.lines[0].get_marker() for bars in two.containers}) == len(two.containers) == 3
    assert [label.get_text() for label in panels[-2].get_xticklabels()] == ["1", "2"]


def test_methods_of_a_block_do_not_lie_on_each_other():
    axes = DRAWN["conflict"].axes[0]
    places = [tuple(bars.lines[0].get_xdata()) for bars in axes.containers]
    assert len(set(places)) == 3


def test_similarity_has_a_line_per_method_and_their_difference():
    levels, apart = DRAWN["layers"].axes
    assert [bars.get_label() for bars in levels.containers] == ["IC", "MoTE"]
    assert list(levels.containers[0].lines[0].get_xdata()) == [0, 1]
    assert len(apart.containers) == 1
    assert apart.get_title() == "MoTE − IC, paired by text and seed"


def test_one_block_is_drawn():
    for figure in all_figures(blocks=(0,)).values():
        assert figure._repr_html_().startswith("<img")
