"""Invariants of the variance that comes from the choice of queries.

- a mean metric: var(paired differences, seeds averaged) / n, unbiased; the parts of the datasets add up to sum / D^2;
- a metric of the whole set: the draws are shared by both methods, so equal methods differ by nothing; for a mean the
  bootstrap agrees with the formula; draws stay within a split;
- runs without items are an error that names one.
"""

import json
import shutil

import numpy as np
import pytest
import yaml
from datasets import Dataset
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, v_measure_score

from study import paths
from study.analysis import score_claims
from study.analysis.claims import Claim, Minus
from study.analysis.contrasts import contrast_rows, difference
from study.analysis.gains import gains, gains_by_row
from study.analysis.items import (
    QueryVariance,
    average_precision,
    mean_variance,
    rank_correlation,
    resampled,
    v_measure,
)
from study.analysis.results import load_scores
from tsembed.evaluation.items import Items, write


def mean(reference, values):
    return float(values.mean())


def bootstrap(statistic, reference, ours, theirs, splits=None, resamples=200):
    splits = np.zeros(len(reference), dtype=int) if splits is None else splits
    methods = [
        resampled(statistic, reference, values, splits=splits, resamples=resamples, generator=np.random.default_rng(0))
        for values in (ours, theirs)
    ]
    return float(np.nanvar(methods[0] - methods[1], ddof=1))


def test_the_variance_of_a_mean_by_hand():
    assert mean_variance(np.array([1.0, 3.0])) == pytest.approx(1.0)  # variance 2, over 2 items
    assert mean_variance(np.array([5.0, 5.0, 5.0])) == 0.0
    assert np.isnan(mean_variance(np.ones(1)))


def test_the_estimate_is_unbiased_for_a_mean():
    """Queries drawn anew 4,000 times: the mean estimate is the variance of the mean difference over the draws."""
    rng = np.random.default_rng(0)
    queries, seeds, n = rng.exponential(size=5000), 3, 20
    estimates, means = [], []
    for _ in range(4000):
        drawn = rng.choice(queries, n)
        differences = drawn * np.array([[0.5], [1.0], [1.5]])[:seeds]  # the seeds share the queries
        estimates.append(mean_variance(differences.mean(axis=0)))
        means.append(differences.mean())
    assert np.mean(estimates) == pytest.approx(np.var(means), rel=0.06)
    assert np.mean(estimates) == pytest.approx(queries.var() / n, rel=0.04)


def test_the_bootstrap_of_a_mean_agrees_with_the_formula():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(2, 3, 80))
    found = bootstrap(mean, np.zeros(80), ours, theirs, resamples=2000)
    assert found == pytest.approx(mean_variance((ours - theirs).mean(axis=0)), rel=0.1)


@pytest.mark.parametrize("statistic", [rank_correlation, average_precision, v_measure])
def test_both_methods_are_scored_on_the_same_draws(statistic):
    rng = np.random.default_rng(2)
    reference, values = rng.integers(2, size=40), rng.integers(5, size=(2, 40)).astype(float)
    other = rng.integers(5, size=(2, 40)).astype(float)
    few = {"resamples": 20}
    assert bootstrap(statistic, reference, values, values, **few) == 0.0
    assert bootstrap(statistic, reference, values, values[::-1], **few) == pytest.approx(0.0, abs=1e-30)
    assert bootstrap(statistic, reference, values, other, **few) > 1e-4


def test_draws_stay_within_a_split():
    """Constant values within each split: any draw has the same mean of means, though the splits' sizes differ."""
    splits = np.array([0] * 3 + [1] * 7)
    values = np.where(splits == 0, 1.0, 5.0)[None]
    assert bootstrap(mean, np.zeros(10), values, 0 * values, splits) == pytest.approx(0.0, abs=1e-30)
    assert bootstrap(mean, np.zeros(10), values, 0 * values) > 0.1


def test_a_draw_without_a_metric_does_not_count():
    reference = np.array([1, 0])  # half of the draws have one of the two alone
    ours, theirs = np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])
    assert np.isfinite(bootstrap(average_precision, reference, ours, theirs))
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
    assert rank_correlation(np.arange(3.0), np.ones(3)) == 0.0


def test_the_metrics_are_those_of_the_libraries():
    rng = np.random.default_rng(3)
    for digits in (0, 1, 6):  # few and many values that are equal
        grades, values = rng.integers(5, size=50).astype(float), np.round(rng.normal(size=50), digits)
        assert rank_correlation(grades, values) == pytest.approx(spearmanr(grades, values).statistic)
        assert average_precision(grades > 2, values) == pytest.approx(average_precision_score(grades > 2, values))
        clusters = rng.integers(3, size=50).astype(float)
        assert v_measure(grades, clusters) == pytest.approx(v_measure_score(grades, clusters))
    one, apart = np.zeros(4), np.arange(4.0)
    for labels, clusters in ((one, one), (one, apart), (apart, one), (apart, apart)):
        assert v_measure(labels, clusters) == pytest.approx(v_measure_score(labels, clusters))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two methods and two seeds, scored on a set whose metric is a mean and on one of pairs."""
    for name in ("RUNS", "CONFIGS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    (tmp_path / "configs/presets").mkdir(parents=True)
    (tmp_path / "configs/variants").mkdir()
    content = {"about": "", "data": {"source": "local"}, "variants": {"em": 2, "ic": 2}}
    (tmp_path / "configs/presets/tiny.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "configs/variants/text.yaml").write_text("em: {label: EM, instruction: false}\nic: {label: IC}\n")
    grades = [float(i) for i in range(12)]
    Dataset.from_dict({"score": grades}).save_to_disk(tmp_path / "runs/tiny/data/eval/pairs/rows")
    entry = {"part": "eval", "name": "pairs", "format": "sts", "rows": {"rows": 12}}
    (tmp_path / "runs/tiny/data/manifest.json").write_text(json.dumps({"datasets": [entry]}))
    rng = np.random.default_rng(0)
    for variant, hits in (("em", [[0, 0, 0], [0, 0, 0]]), ("ic", [[0, 0.2, 0.1], [0, 0.2, 0.5]])):
        for seed in range(2):
            folder = tmp_path / f"runs/tiny/{variant}/seed{seed}"
            folder.mkdir(parents=True)
            (folder / "done.json").write_text("{}")
            cosines = np.array(grades) / 12 + (variant == "ic") * rng.normal(size=12)
            found = {
                "queries": Items("score", ["a", "b", "c"], hits[seed]),
                "pairs": Items("cosine", [str(i) for i in range(12)], cosines),
            }
            write(folder / "items.parquet", found)
            score = {
                "task_type": "Retrieval",
                "dataset": "queries",
                "metric": "x",
                "score": 100 * float(np.mean(hits[seed])),
            }
            (folder / "scores.json").write_text(json.dumps([score]))
    return tmp_path / "runs/tiny"


def test_the_parts_of_the_datasets_add_up(runs):
    """Differences 0, 0.2, 0.3 over the seeds' mean: variance 0.07 / 3, over 3 items, in points squared."""
    query_variance = QueryVariance("tiny")
    of_mean = query_variance(difference("ic", "em"), [0, 1], ["queries"])
    assert of_mean == pytest.approx(100**2 * 0.07 / 3 / 3)
    of_pairs = query_variance(difference("ic", "em"), [0, 1], ["pairs"])
    assert of_pairs > 1
    assert of_pairs == QueryVariance("tiny")(difference("ic", "em"), [0, 1], ["pairs"]), "the draws are fixed"
    assert query_variance(difference("ic", "em"), [0, 1], ["queries", "pairs"]) == pytest.approx(
        (of_mean + of_pairs) / 4
    )
    of_one_seed = 100**2 * np.var([0, 0.2, 0.5], ddof=1) / 3
    assert query_variance(difference("ic", "em"), [1], ["queries"]) == pytest.approx(of_one_seed)


def test_runs_without_items_are_named(runs):
    (runs / "ic/seed1/items.parquet").unlink()
    query_variance = QueryVariance("tiny")
    assert query_variance.known("ic", "em")
    assert not query_variance.known("ic", "mote")
    with pytest.raises(ValueError, match="ic seed 1 has no items of queries"):
        query_variance(difference("ic", "em"), [0, 1], ["queries"])
    assert query_variance(difference("ic", "em"), [0], ["queries"]) > 0


def measured_of_tiny():
    return score_claims.measure(load_scores("tiny"), QueryVariance("tiny"))


def test_a_claim_about_scores_is_judged_with_the_choice_of_queries(runs):
    claim = Claim(
        id="a",
        text="",
        place="",
        source="ours",
        notebook="",
        quantity="score",
        method="ic",
        baseline="em",
        over=("Retrieval",),
        claimed="greater",
    )
    measured = measured_of_tiny()(claim)
    assert measured.values.tolist() == [[pytest.approx(10.0)], [pytest.approx(100 * 0.7 / 3)]]
    assert measured.query_variance == pytest.approx(100**2 * 0.07 / 3 / 3)
    assert measured_of_tiny()(claim.model_copy(update={"method": "mote"})) is None
    for path in runs.glob("*/seed*/items.parquet"):
        path.unlink()
    assert measured_of_tiny()(claim).query_variance == 0.0


def test_a_claim_can_be_about_a_difference_less_so_many_times_another(runs):
    """(ic − em) − 0.5 (ic − em) is half of ic − em, and varies by a quarter of it."""
    stated = dict(id="a", text="", place="", source="ours", notebook="", quantity="score", over=("Retrieval",))
    whole = Claim(**stated, method="ic", baseline="em", claimed="greater")
    half = Claim(
        **stated, method="ic", baseline="em", claimed="greater", minus=Minus(method="ic", baseline="em", times=0.5)
    )
    assert half.weights == {"ic": 0.5, "em": -0.5}
    measure = measured_of_tiny()
    assert measure(half).values == pytest.approx(measure(whole).values / 2)
    assert measure(half).query_variance == pytest.approx(measure(whole).query_variance / 4)
    absent = half.model_copy(update={"minus": Minus(method="mote", baseline="em")})
    assert measure(absent) is None, "the preset has no run of mote"
    with pytest.raises(ValueError, match="`minus` needs the quantity score"):
        Claim(**stated | {"quantity": "gradient"}, method="ic", baseline="em", claimed="less", minus=half.minus)


def test_gains_and_contrasts_have_it_in_their_intervals(runs):
    """Two equal seeds: all that the interval knows is the choice of queries."""
    for name in ("items.parquet", "scores.json"):
        shutil.copy(runs / "ic/seed1" / name, runs / "ic/seed0" / name)
    scores, query_variance = load_scores("tiny"), QueryVariance("tiny")
    reach = 1.959964 * query_variance(difference("ic", "em"), [0, 1], ["queries"]) ** 0.5
    assert reach > 10
    expected = 70 / 3 - reach
    types = {"types": ["Retrieval"]}
    rows = contrast_rows(scores, {"x": difference("ic", "em")}, types, query_variance=query_variance)
    assert rows.low.item() == pytest.approx(expected)
    found = gains(scores, ["ic"], ["Retrieval"], query_variance=query_variance)
    assert found.low.to_list() == pytest.approx([expected] * 2)
    of_row = {"Retrieval": list(scores.dataset[scores.task_type == "Retrieval"].unique())}
    by_row = gains_by_row(scores, ["ic"], of_row, baseline="em", query_variance=query_variance)
    assert by_row.low.item() == pytest.approx(expected)
    assert gains(scores, ["ic"], ["Retrieval"]).low[0] == pytest.approx(70 / 3)
    assert gains(scores, ["em"], ["Retrieval"], query_variance=query_variance).low[0] == 0.0


def test_methods_share_their_draws(runs):
    """Equal items are no difference, whatever is drawn."""
    for seed in range(2):
        shutil.copy(runs / f"ic/seed{seed}/items.parquet", runs / f"em/seed{seed}/items.parquet")
    assert QueryVariance("tiny")(difference("ic", "em"), [0, 1], ["pairs"]) == 0.0


def test_methods_of_other_items_have_no_common_draws(runs):
    (runs / "ic/seed0/items.parquet").unlink()
    (runs / "ic/seed1/items.parquet").unlink()
    for seed in range(2):
        write(runs / f"ic/seed{seed}/items.parquet", {"pairs": Items("cosine", ["0", "1"], [0.1, 0.2])})
    with pytest.raises(ValueError, match="pairs: em has other items than ic"):
        QueryVariance("tiny")(difference("ic", "em"), [0, 1], ["pairs"])
