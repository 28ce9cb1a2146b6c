"""Figures of TSEmbed's methods.

Invariants: every figure says its seeds and interval, has units on its axes and is as wide as a page; a method's
ablations share a panel; trained and random routers, two tasks and one, differ in filling; the second stage is marked.
"""

import itertools
import re

import matplotlib.text
import pandas as pd
import pytest

from study.analysis.experts import ALL_PAIRS
from study.report import method_styles, style
from study.report.figures import experts as expert_figures
from study.report.figures import intervals as interval_figures
from tsembed.tasks import IMAGE_TASKS

BLOCKS = ["0", "0", "1", "1"]
SAID = {"seeds": "2 seeds", "interval": "95 % bootstrap over seeds"}
INTERVAL = {"mean": 0.2, "low": 0.1, "high": 0.4}
ABLATIONS = pd.DataFrame(
    [
        ("vl_moe_lora", "rank", "16", "vl_moe_lora_r4", "r 4"),
        ("vl_moe_lora", "rank", "16", "vl_moe_lora_r32", "r 32"),
        ("tsembed", "weights", "EANS", "vl_moe_lora", "none (MoE-LoRA)"),
        ("tsembed", "beta", "10", "tsembed_beta3", "beta 3"),
    ],
    columns=["baseline", "panel", "main", "method", "label"],
).assign(gain=-0.5, low=-1.0, high=0.2)


def rows(**keys):
    """A row per combination of the keys' values."""
    return pd.DataFrame([dict(zip(keys, v, strict=True)) for v in itertools.product(*keys.values())])


def drawn():
    use = rows(when=["training, to step 8", "held-out pairs"], task=IMAGE_TASKS, layer=range(4), expert=range(4))
    routed = ["vl_moe_lora", "tsembed"]
    history = rows(method=routed, seed=[0, 1], step=[7, 15]).assign(
        mutual_information=lambda t: 0.01 * t.step, set_information=lambda t: 0.02 * t.step, untrained=0.01, noise=0.005
    )
    switches = pd.DataFrame({"method": ["tsembed", "tsembed_one_stage"], "seed": [0, 0], "step": [9, 0]})
    layers = rows(method=routed, layer=range(4)).assign(**INTERVAL)
    proxy = rows(
        method=routed,
        router=["trained", "random"],
        pool=["all", "same task"],
        reference=["embedding", "answer"],
        layer=["all", "0", "1", "2", "3"],
    ).assign(**INTERVAL)
    pairs = [ALL_PAIRS, *(f"{a}–{b}" for a, b in itertools.combinations(IMAGE_TASKS, 2))]
    methods = ["vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task"]
    conflict = rows(pair=pairs, method=methods, same_task=[False, True]).assign(**INTERVAL)
    said = {"seeds": "2 seeds", "batches": 3, "interval": SAID["interval"]}
    pairs_of_sets = [("a", "a"), ("a", "b"), ("b", "b")]
    sets = rows(method=methods, task=IMAGE_TASKS, pair=pairs_of_sets).assign(cosine=-0.3)
    sets["first"], sets["second"] = zip(*sets.pair, strict=True)
    gained = rows(against=["vl_lora_wide"], method=routed, seeds=[2]).assign(gain=0.5, low=-1.0, high=2.0)
    return {
        "gains by information": expert_figures.gains_by_information(
            gained.assign(information=[0.05, 0.1]), interval="95 % interval"
        ),
        "between sets": expert_figures.between_sets(sets, seeds="2 seeds", batches=2),
        "ablations": interval_figures.ablations(ABLATIONS, **SAID),
        "use": expert_figures.expert_use(use.assign(share=0.25), BLOCKS, run="TSEmbed, seed 0 of 2 seeds"),
        "specialisation": expert_figures.specialisation(history, switches, seeds="2 seeds"),
        "by layer": expert_figures.specialisation_by_layer(layers, BLOCKS, seeds="2 seeds"),
        "proxy": expert_figures.proxy(proxy, BLOCKS, **SAID),
        "conflict": interval_figures.task_conflict(conflict, **said),
    }


DRAWN = drawn()


def texts(figure):
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("ablations", "(points)"),
        ("gains by information", "(nats)"),
        ("use", "mean gate"),
        ("specialisation", "(nats)"),
        ("by layer", "nats"),
        ("proxy", "Spearman"),
        ("conflict", "cosine"),
        ("between sets", "cosine"),
    ],
)
def test_figures_say_seeds_interval_and_units(name, unit):
    said = texts(DRAWN[name])
    assert re.search(r"\b2 seeds\b", said)
    assert re.search(r"95 % (bootstrap over seeds|interval)|no interval", said)
    assert unit in said
    assert DRAWN[name].get_figwidth() == style.FULL


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_sticks_out_of_the_page(name):
    DRAWN[name].draw_without_rendering()
    box = DRAWN[name].get_tightbbox()  # inches, legends included
    assert (box.x0, box.x1) == pytest.approx((0, style.FULL), abs=0.35)
    assert box.width < style.FULL + 0.1


def test_a_methods_ablations_share_a_panel():
    above, below = DRAWN["ablations"].axes
    assert [t.get_text() for t in above.get_yticklabels()] == ["rank, in place of 16", "r 4", "r 32"]
    assert [t.get_text() for t in below.get_yticklabels()] == [
        "weights, in place of EANS",
        "none (MoE-LoRA)",
        "beta, in place of 10",
        "beta 3",
    ]
    assert above.get_xlim() == below.get_xlim(), "comparable"
    assert len(above.containers) == 2
    assert len(below.containers) == 2


def test_the_second_stage_is_marked_where_it_begins():
    first, second = DRAWN["specialisation"].axes
    assert (first.get_title(), second.get_title()) == ("MoE-LoRA", "TSEmbed"), "a panel per method"
    dotted = [[line for line in axes.lines if line.get_linestyle() == ":"] for axes in (first, second)]
    assert [list(line.get_xdata()) for line in dotted[1]] == [[9, 9]], "not where it began with the first step"
    assert dotted[0] == []
    assert {line.get_color() for line in second.lines[:4]} == {method_styles.METHODS["tsembed"].colour}


def test_trained_and_random_routers_stand_below_each_other():
    by_layer, whole = DRAWN["proxy"].axes[:2]
    names = [f"{m}, {router} routers" for m in ("MoE-LoRA", "TSEmbed") for router in ("trained", "random")]
    assert [label.get_text() for label in by_layer.get_yticklabels()] == names
    assert by_layer.images[0].get_array().shape == (4, 4)
    assert [label.get_text() for label in by_layer.get_xticklabels()] == ["1", "2"], "blocks are counted from 1"
    assert [bars.lines[0].get_fillstyle() for bars in whole.containers] == ["full", "none"] * 2
    assert by_layer.images[0].norm.vmin == -by_layer.images[0].norm.vmax, "two colours round zero"


def test_an_even_share_is_the_middle_of_two_colours():
    shares = rows(route=["clustering"], block=[0, 1], expert=range(4), seed=[0]).assign(share=[0.7, 0.1, 0.1, 0.1] * 2)
    for figure in (DRAWN["use"], expert_figures.expert_shares(shares, seeds="1 seed", texts=8)):
        norm = figure.axes[0].images[0].norm
        assert (norm.vmin + norm.vmax) / 2 == pytest.approx(0.25)


def test_batches_of_one_task_have_a_panel_of_their_own_in_the_colours_of_the_methods():
    two, one = DRAWN["conflict"].axes
    hollow, filled = ([c.lines[0] for c in axes.containers] for axes in (one, two))
    assert {line.get_fillstyle() for line in hollow} == {"none"}
    assert {line.get_fillstyle() for line in filled} == {"full"}
    assert len(hollow) == len(filled) == 7 * 6
    assert {line.get_color() for line in hollow} == {line.get_color() for line in filled}
    assert two.get_yticklabels()[1].get_text() == "classification – retrieval"


def test_the_main_rows_differ_in_marker_and_colour():
    main = ["vl_base", "vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task"]
    looks = [method_styles.METHODS[m] for m in main]
    assert len({look.marker for look in looks}) == len({look.colour for look in looks}) == len(main)
