"""Every figure, drawn from small made results as the pages show it.

Invariants: every text lies inside the figure and every mark inside its axes; no two labels, and no legend and mark, lie
on each other, with few methods and with many, with wide intervals and without any; the check itself sees each of these
faults.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from study.analysis.gains import MEAN_OF_DATASETS
from study.report import method_styles, style
from study.report.figures import contrasts as contrast_figures
from study.report.figures import experts as expert_figures
from study.report.figures import forest as forest_figures
from study.report.figures import intervals as interval_figures
from study.report.figures import layers as layer_figures
from study.report.figures import method_drawing
from study.report.figures import overview as overview_figures
from study.report.figures import scale as scale_figures
from study.report.figures import similarity as similarity_figures
from study.report.figures import training as training_figures
from study.report.figures import wording as wording_figures
from study.report.figures.strategies import strategies
from tests.study.report.layout import faults
from tsembed.tasks import IMAGE_TASKS, ROUTES, TASK_OF_IMAGE_TYPE, TASK_OF_TYPE, TEXT_TASKS

TYPES, BLOCKS = list(TASK_OF_TYPE), [str(i // 7) for i in range(28)]
ADAPTERS = ["vl_lora", "vl_lora_wide", "vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_moe_lora_task"]
PAIRS = [f"{a}–{b}" for a, b in itertools.combinations(ROUTES, 2)]
GROUPS = {"seen types": 9, "unseen types": 12, "all": 21}
SAID = {"seeds": "5 seeds", "interval": "95 % hierarchical bootstrap over seeds and texts"}


def table(**keys):
    """A line per combination of the keys' values, with a value and both intervals, of three widths."""
    found = pd.DataFrame([dict(zip(keys, v, strict=True)) for v in itertools.product(*keys.values())])
    rng = np.random.default_rng(0)
    value = rng.normal(size=len(found))
    width = rng.choice([0.2, 0.6, 30.0], size=len(found), p=[0.5, 0.4, 0.1])
    ends = {"low": value - width, "high": value + width}
    beyond = {"low_beyond": value - 1.5 * width, "high_beyond": value + 1.5 * width}
    return found.assign(gain=value, mean=value, seeds=5, **ends, **beyond)


def small(rows, around=0.5):
    """The same with means and intervals near a value between zero and one."""
    mean = around + 0.02 * rows["mean"].clip(-2, 2)
    return rows.assign(mean=mean, low=mean - 0.02, high=mean + 0.03)


def no_interval(rows):
    return rows.assign(**dict.fromkeys(("low", "high", "low_beyond", "high_beyond"), float("nan")))


def claims(count):
    claimed = itertools.cycle(["greater", "less", "equal"])
    verdicts = itertools.cycle(["reproduced", "contradicted", "open", "supported", "refuted"])
    rows = table(id=range(count))
    text = "Experts in the last half keep more than half of what experts in all blocks gain over IC, on seen types"
    return rows.assign(
        claim=[text[: 20 + 13 * (i % 7)] for i in range(count)],
        quantity=["information" if i == count - 1 else "similarity" if i % 4 == 3 else "score" for i in range(count)],
        claimed=list(itertools.islice(claimed, count)),
        verdict=list(itertools.islice(verdicts, count)),
        than=0.0,
        margin=0.02,
        paper=[float(i % 5) if i % 2 else float("nan") for i in range(count)],
        detectable=[20.0 if i % 6 == 0 else 0.5 for i in range(count)],
        difference=rows.gain,
    )


def contrasts(count):
    named = [f"instruction {i}, with experts (MoTE − experts)" for i in range(count)]
    found = table(group=list(GROUPS), contrast=named)
    return found.assign(method="mote", datasets=found.group.map(GROUPS), section="MoTE, half-way to the backbone")


def gains(methods, baseline):
    rows = table(task_type=TYPES, method=methods)
    paper = pd.DataFrame([{"task_type": t, "method": methods[0], "gain": 4.0} for t in TYPES])
    return interval_figures.gains(rows, paper, interval=SAID["interval"], baseline=baseline)


def drift(blocks):
    mote = small(table(method=["mote"], what=["shared", *ROUTES], block=blocks), 0.004)
    return pd.concat([mote, small(table(method=["em", "ic"], what=["shared", "dense model"], block=blocks), 0.004)])


def curve(names, column):
    rows = table(**{column: names}, learning_rate=[3e-5, 1e-4], pairs=[1024, 4096, 15360])
    return rows.assign(mean=70 + rows.gain, lowest=69.9 + rows.gain, highest=70.1 + rows.gain)


def differences():
    rows = table(contrast=["IC − EM", "MoTE − IC"], learning_rate=[3e-5, 1e-4], pairs=[1024, 4096, 15360])
    return rows.assign(
        method=rows.contrast.map({"IC − EM": "ic", "MoTE − IC": "mote"}),
        lowest=rows["mean"] - 1,
        highest=rows["mean"] + 1,
    )


def by_blocks():
    rows = table(contrast=["IC − EM", "MoTE − IC"], group=list(GROUPS), blocks=[2, 3, 6])
    return rows.assign(
        method=rows.contrast.map({"IC − EM": "ic", "MoTE − IC": "mote"}), datasets=rows.group.map(GROUPS)
    )


def by_memory():
    rows = table(
        label=["none", "last", "last half", "every other", "every"],
        series=["experts in some blocks"],
        group=list(GROUPS),
    )
    methods = {
        "none": "ic",
        "last": "mote_last",
        "last half": "mote_last_half",
        "every other": "mote_eob",
        "every": "mote",
    }
    sizes = {"none": 90.0, "last": 104.0, "last half": 132.0, "every other": 132.0, "every": 175.0}
    size = {"method": rows.label.map(methods), "megabytes": rows.label.map(sizes), "datasets": rows.group.map(GROUPS)}
    return small(rows, 0.0).assign(**size).assign(gain=lambda t: t["mean"], low_beyond=-0.1, high_beyond=0.1)


def use():
    rows = table(
        when=["training, to step 8", "training, to step 56", "held-out pairs"],
        task=IMAGE_TASKS,
        layer=range(28),
        expert=range(4),
    )
    return rows.assign(share=0.25 + 0.05 * rows.gain.clip(-2, 2))


def history(methods):
    rows = table(method=methods, seed=[0, 1, 2], step=[7, 15, 23, 31])
    larger = rows.method.map(methods.index)  # the last panel has the largest values
    information = {"mutual_information": 0.02 + 0.004 * rows.gain.clip(-2, 2), "set_information": 0.03 + 0.01 * larger}
    return rows.assign(**information, untrained=0.01, noise=0.004)


def proxy(methods):
    keys = {"router": ["trained", "random"], "pool": ["all", "same task"], "reference": ["embedding", "answer"]}
    return small(table(method=methods, **keys, layer=["all", *map(str, range(28))]), 0.0)


def cosines():
    rows = table(method=ADAPTERS, task=IMAGE_TASKS, first=["a", "b"], second=["a", "b"])
    return rows.assign(cosine=0.2 * rows.gain.clip(-2, 2))


def wordings():
    methods = ["ic", "mote", "mote_no_prefix", "mote_plain"]
    rows = small(table(pair=["all pairs", *PAIRS], method=methods))
    return rows.assign(low_beyond=rows.low - 0.02, high_beyond=rows.high + 0.02)


def first_page(kinds, experts, start, trained):
    """The panels of scores: with experts against without, trained against what it started from."""
    pairs = [experts, *((method, start) for method in trained)]
    rows = [table(row=[*kinds, MEAN_OF_DATASETS]).assign(method=m, baseline=b, detectable=1.2) for m, b in pairs]
    found = pd.concat(rows, ignore_index=True)
    return found.assign(paper=1.0 if experts[0] == "mote" else float("nan"))


OF_TEXT = first_page(TYPES, ("mote", "ic"), "base", ["em", "ic", "mote"])
OF_IMAGES = first_page(
    TASK_OF_IMAGE_TYPE, ("vl_moe_lora", "vl_lora_wide"), "vl_base", ["vl_lora_wide", "vl_moe_lora", "tsembed"]
)
TWO = small(table(pair=["all pairs", *PAIRS], method=["ic", "mote"]))


def alone(name, similarity, found):
    return overview_figures.alone(overview_figures.panels(similarity, found)[name], "one panel")


SIMILARITIES = table(pair=PAIRS, method=["ic", "mote"], text=range(40))
SIMILARITIES["similarity"] = np.where(SIMILARITIES.method == "ic", 0.985, 0.6 + 0.05 * SIMILARITIES.gain.clip(-2, 2))
TIMES = table(
    label=["IC", "MoTE, one route", "MoTE, mixed routes", "TLR, top-2"], workload=["query", "batch", "small batch"]
)
LOSSES = pd.DataFrame(
    {
        "step": range(80),
        "task": [TEXT_TASKS[i % 3] for i in range(80)],
        "loss": np.linspace(3, 0.4, 80) * [1 + i % 3 for i in range(80)],
    }
)
LEARNED = [
    "vl_moe_lora_slow",
    "vl_moe_lora",
    "vl_moe_lora_informed",
    "vl_question",
    "tsembed",
    "tsembed_one_stage",
    "vl_moe_lora_set",
]
SWITCHES = pd.DataFrame({"method": ["tsembed"], "seed": [0], "step": [9]})
STRATEGIES = {"ic_homogeneous": "one dataset per batch", "ic_heterogeneous": "mixed batches"}
MEANS = table(method=list(STRATEGIES), seed=range(5)).assign(score=lambda t: 60 + t.gain)
ABLATIONS = table(method=["vl_moe_lora_r4", "tsembed_beta3", "tsembed_deviation_random"])
ABLATIONS = ABLATIONS.assign(
    baseline=["vl_moe_lora", "tsembed", "tsembed"],
    panel=["rank", "β", "weights of negatives"],
    main=["16", "10", "EANS"],
    label=[method_styles.METHODS[name].label for name in ABLATIONS.method],
)

DRAWN = {
    "loss": lambda: training_figures.loss_curves(LOSSES),
    "gains": lambda: gains(["sem", "ic", "mote"], "em"),
    "gains of many": lambda: gains([*ADAPTERS, "tsembed_mixed_positive", "vl_question_mixed_informed"], "vl_lora_wide"),
    "averages": lambda: interval_figures.seed_averages(MEANS, datasets=22, difference="+1", names=STRATEGIES),
    "strategies": lambda: strategies(
        table(row=TYPES, method=list(STRATEGIES)).assign(mean=lambda t: 60 + t.gain, low=59.0, high=64.0),
        table(task_type=TYPES),
        names=STRATEGIES,
        interval=SAID["interval"],
    ),
    "similarity": lambda: similarity_figures.similarity_panels(
        SIMILARITIES, dict.fromkeys(PAIRS, 1e-9), seeds="5 seeds", texts=128, test="one-sided Welch test, MoTE < IC"
    ),
    "mean similarity": lambda: similarity_figures.mean_similarity(small(table(method=["ic", "mote"])), **SAID),
    "similarity by layer": lambda: similarity_figures.similarity_by_layer(
        small(table(method=["ic", "mote"], layer=range(7))), small(table(layer=range(7)), 0.0), texts=128, **SAID
    ),
    "drift": lambda: layer_figures.drift(drift(range(6)), **SAID),
    "drift of many blocks": lambda: layer_figures.drift(drift(range(24)), **SAID),
    "distance": lambda: layer_figures.expert_distance(small(table(pair=PAIRS, block=range(6)), 0.004), **SAID),
    "conflict by block": lambda: layer_figures.gradient_conflict(
        small(table(pair=PAIRS[:4], method=["base", "em", "ic", "mote"], same_task=[True, False], block=range(6)), 0.0),
        batches=3,
        **SAID,
    ),
    "conflict": lambda: interval_figures.task_conflict(
        small(table(pair=["all pairs of tasks", *PAIRS], method=ADAPTERS, same_task=[True, False]), 0.0),
        batches=3,
        **SAID,
    ),
    "use": lambda: expert_figures.expert_use(use(), BLOCKS, run="TSEmbed, seed 0 of 3 seeds"),
    "specialisation": lambda: expert_figures.specialisation(
        history(["vl_moe_lora", "tsembed", "tsembed_one_stage", "vl_question"]), SWITCHES, seeds="3 seeds"
    ),
    "gains by information": lambda: expert_figures.gains_by_information(
        small(table(against=["vl_lora_wide", "vl_lora_wide_mixed"], method=LEARNED)).assign(
            gain=lambda t: t["mean"], seeds=3, information=[0.02 * 1.5**i for i in range(2 * len(LEARNED))]
        ),
        interval="95 % interval for another training on these datasets",
    ),
    "specialisation by layer": lambda: expert_figures.specialisation_by_layer(
        small(table(method=ADAPTERS, layer=range(28))), BLOCKS, seeds="3 seeds"
    ),
    "between datasets": lambda: expert_figures.between_sets(cosines(), seeds="3 seeds", batches=2),
    "proxy": lambda: expert_figures.proxy(proxy(["vl_moe_lora", "tsembed"]), BLOCKS, **SAID),
    "shares": lambda: expert_figures.expert_shares(
        table(route=list(ROUTES), block=range(6), expert=range(4), seed=[0]).assign(share=0.25),
        seeds="1 seed",
        texts=128,
    ),
    "ablations": lambda: interval_figures.ablations(ABLATIONS, **SAID),
    "times": lambda: interval_figures.time_ratios(
        small(TIMES, 1.0).assign(median=lambda t: t["mean"], method="mote"), note="6 rounds"
    ),
    "contrasts": lambda: contrast_figures.contrasts(contrasts(7), "contrasts"),
    "claims": lambda: forest_figures.forest(claims(24), seeds="1 to 5 seeds"),
    "training curve": lambda: scale_figures.training_curve(
        curve(["em", "ic", "mote"], "method"), differences(), seeds="2 seeds", what="recall@1\n(points)"
    ),
    "blocks": lambda: scale_figures.gains_by_blocks(by_blocks()),
    "memory": lambda: scale_figures.gains_by_memory(by_memory(), baseline="IC"),
    "wordings": lambda: wording_figures.similarity_by_pair(wordings(), seeds="3 seeds", texts=128),
    "first page": lambda: overview_figures.together(overview_figures.panels(TWO, OF_TEXT)),
    "first page of images": lambda: overview_figures.together(overview_figures.panels(TWO[:0], OF_IMAGES)),
    "panel of experts": lambda: alone("experts", TWO, OF_TEXT),
    "panel of adapters": lambda: alone("experts", TWO[:0], OF_IMAGES),
    "panel of training": lambda: alone("training", TWO[:0], OF_IMAGES),
    "panel of similarity": lambda: alone("similarity", TWO, OF_TEXT),
    **method_drawing.DRAWINGS,
}


@pytest.mark.parametrize("name", DRAWN)
def test_text_and_marks_lie_inside_and_no_labels_on_each_other(name):
    assert faults(DRAWN[name]()) == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda: forest_figures.forest(no_interval(claims(9)), seeds="1 seed"),
        lambda: contrast_figures.contrasts(no_interval(contrasts(3)), "contrasts"),
        lambda: similarity_figures.mean_similarity(no_interval(small(table(method=["ic", "mote"]))), **SAID),
    ],
)
def test_figures_of_one_seed_are_whole_too(draw):
    assert faults(draw()) == []


def drawn_badly(change):
    with style.new_figure(3.0, 2.0, "x") as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], label="a line")
        change(figure, axes)
    return faults(figure)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda figure, axes: figure.text(0.95, 0.5, "a long label"), "leaves the figure"),
        (lambda figure, axes: axes.set_xlim(0.5, 2), "leaves its axes"),
        (lambda figure, axes: (axes.errorbar(0.5, 0.5, xerr=9), axes.set_xlim(0, 1)), "a bar of '' leaves its axes"),
        (lambda figure, axes: (axes.barh(0.5, 9), axes.set_xlim(0, 1)), "an? area of '' leaves its axes"),
        (lambda figure, axes: [axes.text(0.5, 0.2, word) for word in ("one", "two")], "'one' lies on 'two'"),
        (lambda figure, axes: axes.legend(loc="upper right"), "the legend of '' lies on a mark"),
    ],
)
def test_the_check_sees_a_fault(change, fault):
    import re

    assert any(re.search(fault, found) for found in drawn_badly(change))


def test_the_check_finds_nothing_wrong_with_a_plain_figure():
    assert drawn_badly(lambda figure, axes: None) == []
    assert isinstance(DRAWN["loss"](), Figure)


def test_an_interval_that_goes_on_ends_in_an_arrow():
    axes = forest_figures.forest(claims(24), seeds="5 seeds").axes[0]
    arrows = [line.get_marker() for line in axes.lines if line.get_marker() in "<>"]
    assert arrows.count("<") >= 1
    assert arrows.count(">") >= 1


def test_no_method_has_the_colour_of_a_verdict():
    verdicts = {look.colour.upper() for look in forest_figures.VERDICTS.values()}
    assert not verdicts & {look.colour.upper() for look in method_styles.METHODS.values()}


def test_the_main_methods_of_both_papers_have_a_colour_each():
    main = ["em", "sem", "ic", "mote", "tlr", "mote_static", "mote_eob", "ea", *ADAPTERS]
    assert len({method_styles.METHODS[name].colour for name in main}) == len(main)


def test_the_committed_drawings_are_what_the_code_draws():
    for name, draw in method_drawing.DRAWINGS.items():
        committed = method_drawing.paths.ROOT / method_drawing.FOLDER / f"{name}.svg"
        assert committed.read_bytes() == method_drawing.svg(draw), f"run python -m {method_drawing.__name__}"
