"""Figures.

Invariants: the same data give the same bytes, in PDF and PNG; the CSV holds the numbers; fonts are embedded whole;
every figure says its seeds and interval; colours of the compared methods differ in lightness as well.
"""

import re

import numpy as np
import pandas as pd
import pytest

from study.report import method_styles, style
from study.report.figures import experts as expert_figures
from study.report.figures import intervals as interval_figures
from study.report.figures import similarity as similarity_figures
from study.report.figures import training as training_figures
from study.variant_rows import load_variants

GAINS = pd.DataFrame(
    [("Retrieval", "ic", 1.0, 0.5, 1.5), ("Retrieval", "mote", 2.0, 1.0, 3.0), ("STS", "ic", -0.5, -1.0, 0.5)],
    columns=["task_type", "method", "gain", "low", "high"],
).assign(seeds=2)
PUBLISHED = pd.DataFrame({"task_type": ["Retrieval", "STS"], "method": ["ic", "ic"], "gain": [3.27, None]})
SIMILARITY = pd.DataFrame(
    [(pair, m, 0.9 - 0.01 * i) for pair in ("a – b", "a – c") for m in ("ic", "mote") for i in range(8)],
    columns=["pair", "method", "similarity"],
)
METRICS = pd.DataFrame({"step": range(40), "task": ["retrieval", "clustering"] * 20, "loss": range(40, 0, -1)})
SEED_MEANS = pd.DataFrame(
    {"method": ["ic_heterogeneous"] * 2 + ["ic_homogeneous"] * 2, "seed": [0, 1] * 2, "score": [50, 51, 49.0, 50.5]}
)
SHARES = pd.DataFrame(
    [(r, b, e, 0.5, s) for r in ("clustering", "search_query") for b in (0, 1) for e in (0, 1) for s in (0, 1)],
    columns=["route", "block", "expert", "share", "seed"],
)
MEANS = pd.DataFrame({"method": ["ic", "mote"], "mean": [0.8, 0.6], "low": [0.7, 0.5], "high": [0.9, 0.7]})

DRAWN = {
    "loss": lambda: training_figures.loss_curves(METRICS),
    "gains": lambda: interval_figures.gains(GAINS, PUBLISHED, interval="95 % bootstrap"),
    "panels": lambda: similarity_figures.similarity_panels(
        SIMILARITY, {"a – b": 0.03, "a – c": 1e-9}, seeds="2 seeds", texts=8, test="one-sided Welch"
    ),
    "mean": lambda: similarity_figures.mean_similarity(MEANS, seeds="2 seeds", interval="95 % bootstrap"),
    "averages": lambda: interval_figures.seed_averages(SEED_MEANS, datasets=3, difference="+1 [0, 2]: 95 % bootstrap"),
    "shares": lambda: expert_figures.expert_shares(SHARES, seeds="2 seeds", texts=8),
}


def texts(figure):
    import matplotlib.text

    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_says_its_seeds_and_interval(name):
    said = texts(DRAWN[name]())
    assert re.search(r"\b[12] seeds?\b", said)
    assert re.search(r"interval|bootstrap|quartiles", said)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_as_wide_as_a_column_or_a_page(name):
    assert DRAWN[name]().get_figwidth() in (style.COLUMN, style.FULL)


def test_axes_have_units():
    said = [texts(DRAWN[name]()) for name in ("loss", "gains", "mean")]
    for unit, text in zip(("(nats)", "(points)", "cosine similarity"), said, strict=True):
        assert unit in text


def test_the_same_data_give_the_same_bytes(study):
    target = study / "reports" / "tiny" / "figures"
    contents = []
    for _ in range(2):
        style.save(DRAWN["gains"](), "gains", GAINS, preset="tiny", caption="Gains of IC & MoTE — 2 seeds")
        contents.append({p.name: p.read_bytes() for p in sorted(target.iterdir())})
    assert contents[0] == contents[1]
    assert list(contents[0]) == ["gains.csv", "gains.pdf", "gains.png"]
    assert b"/FontFile2" in contents[0]["gains.pdf"]
    assert b"CreationDate" not in contents[0]["gains.pdf"]
    pd.testing.assert_frame_equal(pd.read_csv(target / "gains.csv"), GAINS)


def test_what_the_notebook_shows_has_caption_picture_and_links(study):
    shown = style.save(DRAWN["loss"](), "runs/loss", METRICS, preset="tiny", caption='Loss of "MoTE" <seed 0>').data
    assert shown.startswith("<figure")
    assert 'src="data:image/png;base64,' in shown
    assert shown.count("Loss of &quot;MoTE&quot; &lt;seed 0&gt;") == 2
    for kind in ("pdf", "png", "csv"):
        assert f'reports/tiny/figures/runs/loss.{kind}"' in shown


@pytest.mark.parametrize("name", DRAWN)
def test_a_notebook_shows_an_unsaved_figure_as_a_picture_with_a_text(name):
    shown = DRAWN[name]()._repr_html_()  # matplotlib's own figures need pyplot for this
    assert shown.startswith('<img src="data:image/png;base64,')
    assert ' alt="' in shown


@pytest.mark.parametrize("name", ["../x", "a/b/c", "/x", "a b", "..", ""])
def test_a_name_cannot_leave_the_folder(study, name):
    with pytest.raises(ValueError, match="figures: the name"):
        style.save(DRAWN["loss"](), name, METRICS, preset="tiny", caption="c")


def test_a_figure_needs_data(study):
    with pytest.raises(ValueError, match="'x' has no data"):
        style.save(DRAWN["loss"](), "x", METRICS[:0], preset="tiny", caption="c")


def test_compared_methods_differ_in_grey_and_in_marker():
    looks = [method_styles.METHODS[m] for m in ("em", "sem", "ic", "mote")]
    light = sorted(
        sum(w * int(v.colour[i : i + 2], 16) for w, i in ((0.299, 1), (0.587, 3), (0.114, 5))) for v in looks
    )
    assert min(b - a for a, b in zip(light, light[1:], strict=False)) > 30  # of 255


@pytest.mark.parametrize(
    "methods",
    [
        ("em", "sem", "ic", "mote"),
        ("mote", "tlr", "mote_static", "mote_eob", "mote_shared", "ea"),
        ("ic_homogeneous", "ic_heterogeneous", "ic_t006"),
        ("ic", "mote", "ic_cluster_route", "mote_cluster_route"),
        ("sem_classification", "sem_clustering", "sem_retrieval"),
    ],
)
def test_methods_of_one_figure_differ_in_marker(methods):
    assert len({method_styles.METHODS[m].marker for m in methods}) == len(methods)


def test_a_row_of_yaml_alone_is_drawn_with_its_label(study):
    (study / "configs/variants/mine.yaml").write_text("mine: {label: My own rows, batching: homogeneous}\n")
    drawn = GAINS.replace({"method": {"mote": "mine"}})
    assert "My own rows" in texts(interval_figures.gains(drawn, PUBLISHED, interval="95 % bootstrap"))
    colour, marker = method_styles.METHODS["mine"][1:]
    assert colour in method_styles.COLOURS
    assert marker in method_styles.MARKERS


def test_a_new_row_changes_no_other_look(study):
    before = dict(method_styles.METHODS)
    (study / "configs/variants/mine.yaml").write_text("mine: {label: Mine}\n")
    assert {name: look for name, look in method_styles.METHODS.items() if name != "mine"} == before


def test_a_look_of_the_config_is_taken(study):
    look = 'look: {label: short, colour: "#123456", marker: o}'
    (study / "configs/variants/mine.yaml").write_text(f"mine: {{label: A long label, {look}}}\n")
    assert method_styles.METHODS["mine"] == ("short", "#123456", "o")


def test_a_wrong_colour_is_named_with_its_file(study):
    (study / "configs/variants/mine.yaml").write_text("mine: {label: Mine, look: {colour: red}}\n")
    with pytest.raises(ValueError, match=r"mine.yaml: mine: look: .*colour"):
        load_variants()


def test_a_look_is_no_setting_of_a_run():
    assert set(load_variants()["mote"].model_dump()).isdisjoint({"look", "colour", "marker"})


def test_a_bar_ends_at_the_interval_and_a_gain_without_one_has_none():
    def ends(scores):
        axes = interval_figures.gains(scores, PUBLISHED, interval="95 % bootstrap").axes[0]
        return [[float(cap.get_xdata()[0]) for cap in bar.lines[1]] for bar in axes.containers]

    assert ends(GAINS) == [[0.5, 1.5], [1.0, 3.0], [-1.0, 0.5]]
    one_seed = GAINS.assign(low=float("nan"), high=float("nan"))
    assert np.isnan(ends(one_seed)).all()
    assert "bars: 95 % bootstrap" in texts(interval_figures.gains(GAINS, PUBLISHED, interval="95 % bootstrap"))
    said = texts(interval_figures.gains(one_seed, PUBLISHED, interval="95 % bootstrap"))
    assert "no interval" in said
    assert "bars" not in said


def test_the_legend_of_many_methods_is_inside_the_figure():
    from matplotlib import pyplot

    methods = [
        "lora",
        "lora_wide_slow",
        "moe_lora",
        "tsembed_text",
        "tsembed_text_one_stage",
        "tsembed_text_deviation",
        "tsembed_text_centered",
        "moe_lora_task",
    ]
    rows = [("STS", m, 1.0, 0.5, 1.5) for m in methods]
    found = pd.DataFrame(rows, columns=["task_type", "method", "gain", "low", "high"]).assign(seeds=2)
    figure = interval_figures.gains(found, PUBLISHED[:0], interval="95 % bootstrap", baseline="lora_wide")
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0
    assert legend.x1 <= figure.bbox.x1
    pyplot.close(figure)
