"""Claims and their verdicts.

- Every claim of references/claims.yaml names an existing notebook, method, control and kind of rows.
- A verdict follows the interval on these sets, its scope the one beyond them; words tell a paper's claim from ours.
- Without three seeds, four datasets and a design within the limit there is no verdict; the reason says what is short.
- A claim of lines takes all of them by Holm and counts once; equality is two one-sided tests; a control explains.
- Holm corrects over one source's claims that can have a verdict. A test of the machinery judges nothing.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from study import paths, selection
from study.analysis import claims, false_verdicts, judgement, results
from study.analysis.claims import Claim
from study.analysis.judgement import BEYOND, THESE, Measured
from study.probes.similarity import PAIRS
from study.report.tables import claims as claim_tables
from study.variant_rows import load_variants
from tsembed.tasks import IMAGE_TASKS, TASK_OF_IMAGE_TYPE, TASK_OF_TYPE, TASKS

NOISE = np.array([[0.3, -0.1, 0.0, -0.2], [-0.2, 0.1, 0.2, -0.1], [-0.1, 0.0, -0.2, 0.3]])  # seeds' means are zero
APART = np.array([[3.0, 0.0, -0.5, -2.5]])  # what all seeds share of a dataset
FIELDS = {
    "id": "x",
    "text": "A claim",
    "place": "Table 2",
    "source": "mote",
    "notebook": "20_specialization",
    "quantity": "score",
    "method": "mote",
    "baseline": "ic",
    "over": ("STS",),
    "claimed": "greater",
}


def claim(**fields):
    return Claim(**(FIELDS | fields))


def values(mean=1.0, apart=0.0):
    """Three seeds that differ by a little, four datasets."""
    return mean + NOISE + apart * APART + np.array([[-0.05], [0.0], [0.05]])


def judge(measured, **fields):
    return judgement.judge(claim(**fields), [Measured(measured)])


def test_every_claim_can_be_judged():
    methods = {results.METHOD_OF_VARIANT.get(v, v) for v in load_variants()}
    pairs = {f"{a}–{b}" for a, b in PAIRS}
    tasks = {f"{a}–{b}" for a, b in combinations(TASKS, 2)} | {f"{a}–{b}" for a, b in combinations(IMAGE_TASKS, 2)}
    references = {f"{reference}, {pool}" for reference in ("embedding", "answer") for pool in ("all", "same task")}
    assert len(claims.claims()) >= 18
    for each in claims.claims():
        assert (paths.NOTEBOOKS / f"{each.notebook}.ipynb").is_file()
        assert {each.method, each.baseline or each.method} <= methods | {"random_routers"}
        known = {
            "score": {*TASK_OF_TYPE, *TASK_OF_IMAGE_TYPE},
            "similarity": pairs,
            "gradient": tasks,
            "conflict": tasks,
            "correlation": references,
            "information": {"last window"},
        }[each.quantity]
        assert set(each.over) <= known, each.id
        assert (each.source == "ours") >= (each.place == "ours"), each.id


def test_a_verdict_follows_the_interval_on_these_sets_and_its_scope_the_one_beyond():
    assert judge(values()) == ("reproduced", BEYOND, "")
    assert judge(values(), claimed="less") == ("contradicted", BEYOND, "")
    assert judge(values(apart=1.0)) == ("reproduced", THESE, ""), "datasets differ by more than the mean"
    assert judge(values(mean=0.05)).verdict == "open"
    assert judge(values(), source="ours") == ("supported", BEYOND, "")
    assert judge(values(), source="ours", claimed="less") == ("refuted", BEYOND, "")
    assert judge(-values(0.5), than=-1.0) == ("reproduced", BEYOND, ""), "a claim of at most so much loss"
    assert judge(-values(0.5)) == ("contradicted", BEYOND, "")


def test_the_verdict_is_that_of_the_printed_intervals():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(60):
        drawn = rng.normal(size=(3, 1)) * 0.3 + rng.normal(size=(1, 5)) + rng.normal(size=(3, 5)) + rng.normal()
        row = judgement.estimate(claim(), Measured(drawn))
        these, beyond = (not row[f"low{s}"] <= 0 <= row[f"high{s}"] for s in ("", "_beyond"))
        verdict, scope, _ = judge(drawn)
        assert (verdict != "open", scope == BEYOND) == (these, beyond)
        verdicts.append((verdict, scope))
    assert len(set(verdicts)) >= 4, "all kinds happen"


@pytest.mark.parametrize(
    ("rows", "columns", "quantity", "reason"),
    [
        (1, 4, "score", "1 seed"),
        (2, 4, "score", "2 seeds"),
        (3, 2, "score", "2 datasets"),
        (3, 3, "gradient", "3 batches"),
        (1, 1, "similarity", "1 seed, 1 text"),
    ],
)
def test_few_seeds_or_datasets_have_no_verdict(rows, columns, quantity, reason):
    few = values()[:rows, :columns]
    assert judge(few, quantity=quantity) == ("open", "", reason)
    assert np.isnan(judgement.estimate(claim(quantity=quantity), Measured(few))["p"]), "nor are they in Holm's family"


def test_a_design_beyond_the_limit_of_false_verdicts_has_no_verdict(monkeypatch):
    monkeypatch.setattr(false_verdicts, "LIMIT", 0.04)
    assert judge(values()) == ("open", "", "more than 4 % false verdicts")


def test_an_open_claim_says_what_would_have_been_seen():
    row = judgement.estimate(claim(), Measured(values(0.05)))
    assert judge(values(0.05)).reason == f"below the minimum detectable effect: {row['detectable']:.2g}"
    assert judge(np.zeros((3, 4))).reason == "no difference at all"
    assert judge(np.full((3, 4), -2e-14)).verdict == "open", "zero but for rounding"


def test_the_spread_over_queries_can_leave_a_claim_open():
    assert judgement.judge(claim(), [Measured(values(), query_variance=1.0)]).verdict == "open"


def test_equality_is_two_one_sided_tests_within_a_margin():
    equal = {"claimed": "equal", "margin": 0.5}
    assert judge(values(0.0), **equal) == ("reproduced", BEYOND, "")
    assert judge(values(0.0, apart=1.0), **equal) == ("reproduced", THESE, "")
    assert judge(values(2.0), **equal) == ("contradicted", BEYOND, "")
    assert judge(values(0.45), **equal) == ("open", "", "neither within ±0.5 nor outside")


@pytest.mark.parametrize(
    "wrong", [{"claimed": "equal"}, {"margin": 0.5}, {"claimed": "equal", "margin": -1}, {"claimed": "more"}]
)
def test_a_margin_belongs_to_equality(wrong):
    with pytest.raises(ValueError, match="margin|claimed"):
        claim(**wrong)


def of_notebook_25(means, preset="cpu"):
    """Its verdicts where MoTE − IC has a mean per pair, f1 and the exception aside."""

    def measure(each):
        return values(np.mean([means.get(pair, -1.0) for pair in each.over]))

    return claims.verdicts("25_inter_task_similarity", measure, preset=preset)


def test_a_claim_of_lines_takes_all_of_them_and_counts_once():
    lower = of_notebook_25({})
    figure3 = lower[lower.id == "f3"]
    assert len(figure3) == 6
    assert figure3.verdict.tolist() == ["reproduced", *[""] * 5]
    assert figure3.p.iloc[0] == figure3.p.iloc[1:].max()
    one = judgement.estimate(claim(claimed="less"), Measured(values(-1.0)))
    assert figure3.p.iloc[1] == pytest.approx(5 * one["p"]), "Holm over five equal lines"
    assert judgement.counts(lower) == {"reproduced beyond these datasets": 2, "contradicted beyond these datasets": 1}
    shown = claim_tables.notebook_table(lower)
    assert shown.Claim.str.startswith("– ").sum() == 5
    mixed = of_notebook_25({"classification–clustering": 1.0, "clustering–search_query": 0.0})
    assert mixed[mixed.id == "f3"].iloc[0][["verdict", "reason"]].tolist() == ["open", "3 of 5 lines"]
    higher = of_notebook_25(dict.fromkeys((f"{a}–{b}" for a, b in PAIRS), 1.0))
    assert higher[higher.id == "f3"].verdict.iloc[0] == "contradicted"


def test_lines_are_corrected_by_holm_for_the_verdict_too():
    each = judgement.estimate(claim(claimed="less"), Measured(values(-0.165)))
    assert 0.01 < each["p"] < 0.05, "enough for one claim, and not for five lines"
    judged = of_notebook_25(dict.fromkeys((f"{a}–{b}" for a, b in PAIRS), -0.165))
    assert judged[judged.id == "f1-mean"].verdict.iloc[0] == "reproduced"
    assert judged[judged.id == "f3"].iloc[0][["verdict", "reason"]].tolist() == ["open", "0 of 5 lines"]


def text_adapters(gain, control, preset="local"):
    means = {"ts-text-moe": gain, "ts-text-moe-slow": control}
    measure = lambda each: values(means.get(each.id, 0.0))  # noqa: E731
    return claims.verdicts("32_text_adapters", measure, preset=preset).set_index("id")


def test_a_claim_that_its_control_does_not_show_is_explained():
    assert text_adapters(1.0, 0.0).explained["ts-text-moe"] == "explained by the rate"
    assert text_adapters(1.0, 0.0).verdict["ts-text-moe"] == "supported", "the verdict stays"
    assert text_adapters(1.0, 1.0).explained["ts-text-moe"] == "", "the control shows it too"
    assert text_adapters(-1.0, 0.0).explained["ts-text-moe"] == "", "there is nothing to explain"
    assert (text_adapters(1.0, 0.0).explained == "").sum() == 4


def test_a_test_of_the_machinery_judges_nothing():
    judged = text_adapters(1.0, 0.0, preset="smoke")
    assert set(judged.verdict) == {"not judged"}
    assert set(judged.scope) == set(judged.explained) == {""}
    assert judged.difference["ts-text-moe"] == pytest.approx(1.0), "it is measured all the same"


def test_what_another_processor_would_change_is_open():
    measure = lambda each: values()  # noqa: E731
    judged = claims.verdicts("23_block_placement", measure, preset="cpu", depends_on_processor={"t6"}).set_index("id")
    assert judged.loc["t6", ["verdict", "scope", "reason"]].tolist() == ["open", "", "depends on the processor"]
    assert judged.verdict["t6-half"] == "reproduced"


@pytest.fixture
def collected(tmp_path, monkeypatch):
    """Write tables as the notebooks do and collect them."""
    monkeypatch.setattr(paths, "REPORTS", tmp_path)

    def collect(preset="cpu", **given):
        folder = tmp_path / preset / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        of_notebook_25({}).to_csv(folder / "claims_similarity.csv", index=False)
        text_adapters(1.0, 0.0).reset_index().to_csv(folder / "claims_text.csv", index=False)
        few = claims.verdicts("23_block_placement", lambda each: values()[:2], preset="cpu")
        few.to_csv(folder / "claims_placement.csv", index=False)
        return claims.collect(preset, **given).set_index("id")

    return collect


def test_collected_claims_have_what_their_tables_say_once(collected):
    found = collected()
    assert len(found) == len(claims.claims())
    assert found.loc["f3", ["verdict", "scope"]].tolist() == ["reproduced", BEYOND]
    assert found.explained["ts-text-moe"] == "explained by the rate"
    assert found.loc["t6", ["verdict", "reason"]].tolist() == ["open", "2 seeds"]
    assert found.loc["t2-ic", ["verdict", "scope", "reason"]].tolist() == ["not judged", "", ""]
    assert judgement.open_reasons(found)["2 seeds"] == 2
    assert "**2** reproduced beyond these datasets" in judgement.counts_text(found)
    assert judgement.counts_text(found).endswith(
        "open because of “below the minimum detectable effect” (4), “2 seeds” (2)"
    )


def test_tables_of_notebooks_that_a_part_of_a_preset_lacks_are_of_an_earlier_call(collected, monkeypatch):
    assert collected().verdict["f3"] == "reproduced"
    monkeypatch.setenv(selection.VARIABLE, selection.Selection(only=("mote",)).dump())
    found = collected()
    assert set(found.verdict) == {"not judged"}
    assert found.difference.isna().all()


def test_holm_is_over_the_claims_of_one_source_that_can_have_a_verdict(collected):
    found = collected()
    family = found[(found.source == "mote") & found.p.notna()]
    assert sorted(family.index) == ["f1-mean", "f3", "f3-equal"]
    smallest = family.p.idxmin()
    assert found.p_holm[smallest] == pytest.approx(3 * found.p[smallest])
    assert found.survives["f3"] == BEYOND
    assert found.survives["t6"] == found.survives["t2-ic"] == ""
    ours = found[(found.source == "ours") & found.p.notna()]
    assert found.p_holm["ts-text-moe"] == pytest.approx(len(ours) * found.p["ts-text-moe"])


def test_a_verdict_that_holm_does_not_leave_is_marked():
    rows = pd.DataFrame({"source": "mote", "p": [0.03, 0.001, 0.04], "p_beyond": [0.03, 0.2, 0.04]})
    rows = rows.assign(verdict=["reproduced", "contradicted", "open"], scope=[BEYOND, THESE, ""])
    assert claims._with_holm(rows).survives.tolist() == ["", THESE, ""]


def test_a_collected_claim_can_depend_on_the_processor_or_be_of_a_test(collected):
    assert collected(depends_on_processor={"f3"}).loc["f3", ["verdict", "reason"]].tolist() == [
        "open",
        "depends on the processor",
    ]
    trial = collected("smoke")
    assert set(trial.verdict) == {"not judged"}
    assert set(trial.survives) == {""}
    assert trial.difference["f3"] == pytest.approx(-1.0)


def test_a_control_is_judged_in_the_same_notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCES", tmp_path)
    row = "id: a, text: A, place: ours, source: ours, notebook: n, quantity: score, method: mote, baseline: ic"
    row += ", over: [STS], claimed: greater, control: {claim: b, says: explained by b}"
    (tmp_path / "claims.yaml").write_text(f"claims:\n  - {{{row}}}\n")
    with pytest.raises(ValueError, match="a: control: n judges no claim 'b'"):
        claims.claims()


def test_the_designs_in_use_have_their_rates(collected):
    rates = judgement.designs_in_use(collected().reset_index(), runs=20_000)
    assert list(zip(rates.seeds, rates.datasets, rates.claims, rates.judged, strict=True)) == [
        (2, 4, 2, False),
        (3, 4, 8, True),
    ]
    assert (rates.beyond_here <= rates.beyond + 0.01).all()
    shown = claim_tables.rates_table(rates)
    assert [each.split() for each in shown.Design] == [["2", "×", "4"], ["3", "×", "4"]]
    assert shown.Verdicts.tolist() == ["none", "yes"]
    nothing = pd.DataFrame({"seeds": [1.0], "datasets": [22.0]})
    shares = dict.fromkeys(("variance_of_seeds", "variance_of_datasets", "variance_of_residual"), 0.0)
    assert judgement.designs_in_use(nothing.assign(**shares)).empty
