"""A fresh run against the committed one.

Invariants: equal runs have moved nothing, status 0; a score beyond the tolerance, a changed verdict or a run that
cannot be compared is named, status 1; no reference, or no run, is one line, status 2; other settings are never
compared; on another kind of machine the tolerance is looser, and the text says so.
"""

import sys

import pandas as pd
import pytest

from study.analysis import numerics
from study.report.reference import freeze, verify
from tsembed.evaluation import items

from .test_reference import ENVIRONMENT, finish, finished, put

__all__ = ["finished"]  # a fixture
CLAIMS = "id,verdict\nt2,{}\n"


@pytest.fixture
def frozen(finished):
    """A study with its own reference."""
    put(finished / "reports/tiny/tables/claims_gain.csv", CLAIMS.format("reproduced"))
    put(finished / "reports/tiny/tables/claims_gain.tex", "t2")
    freeze.freeze("tiny")
    return finished


@pytest.fixture
def ask(monkeypatch, capsys):
    """Call the command; its status, its output and its errors."""

    def call(*options):
        monkeypatch.setattr(sys, "argv", ["verify", "tiny", *options])
        status = verify.main()
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_equal_runs_have_moved_nothing(frozen, ask):
    status, text, errors = ask()
    assert status == 0
    assert errors == ""
    assert text.endswith("Nothing moved.\n")
    rows = verify.compare("tiny").rows
    assert dict(rows.quantity.value_counts()) == {"score": 4, "gain": 3, "similarity": 2}
    assert rows[rows.row == "ic all types"].reference.item() == 1.0
    assert not rows.moved.any()
    first, second = text.splitlines()[:2]
    assert first == "The same kind of machine: 1 of 1 verdicts agree; gains differ by at most 0 points."
    assert second.startswith("reports/reference/tiny (")
    assert "commit aaaaaaaaaaaa" in second
    assert "gain: 0 of 3 moved; they differ by at most 0 (allowed 1e-06)" in text


def test_a_moved_score_is_named_with_gain_and_similarity(frozen, ask):
    finish(frozen, "ic", gain=3.0)
    status, text, _ = ask()
    assert status == 1
    assert text.startswith("The same kind of machine: 1 of 1 verdicts agree; gains differ by at most 2 points.\n")
    assert "  ic all types: 1 -> 3 (+2)" in text
    assert "  ic/seed0 a–b: 0.61 -> 0.63 (+0.02)" in text
    assert "score: 2 of 4 moved; they differ by at most 2 (allowed 1e-06); --all names them\n" in text
    assert "sts_a" not in text
    text = ask("--all")[1]
    assert "  ic/seed0 sts_a cosine_spearman: 71 -> 73 (+2)" in text
    assert "em/seed0" not in text


def put_items(study, variant, cosines):
    rows = {"sts_a": items.Items("cosine", [str(row) for row in range(len(cosines))], cosines)}
    items.write(study / f"runs/tiny/{variant}/seed0/items.parquet", rows)


def test_differing_items_of_a_moved_score_are_counted(finished, ask):
    for variant in ("em", "ic"):
        put_items(finished, variant, [0.1, 0.2, 0.3])
    folder = freeze.freeze("tiny")
    assert ask("--all")[1].endswith("items: the same bytes in 2 of 2 runs\n")
    finish(finished, "ic", gain=3.0)
    put_items(finished, "ic", [0.1, 0.25, 0.5])
    status, text, _ = ask("--all")
    assert status == 1
    assert "items: the same bytes in 1 of 2 runs" in text
    assert "items: ic/seed0 sts_a: 2 of 3 differ, by at most 0.2" in text
    assert "items: ic/seed0 set_b: has none" in text
    assert "items:" not in ask()[1]
    put_items(finished, "ic", [0.1, 0.2])
    assert "items: ic/seed0 sts_a: 1 of 3 differ, by at most 0" in ask("--all")[1]
    (folder / "results/ic/seed0/items.parquet").unlink()
    assert "items: ic/seed0 sts_a: those of the reference are not on this machine" in ask("--all")[1]


def test_runs_without_items_have_nothing_to_say_of_them(frozen, ask):
    status, text, _ = ask("--all")
    assert status == 0
    assert text.endswith("items: none to compare; the reference, or the runs here, were made without them\n")


def test_another_machine_has_a_looser_tolerance(frozen, ask):
    finish(frozen, "ic", gain=1.0 + 0.9 * verify.OTHER_MACHINE.average, cpu_capability="AVX512")
    status, text, _ = ask()
    assert status == 0
    assert text.startswith("Another instruction set: 1 of 1 verdicts agree; gains differ by at most 0.45 points.\n")
    finish(frozen, "ic", gain=1.0 + 1.1 * verify.OTHER_MACHINE.average, cpu_capability="AVX512")
    assert ask()[0] == 1


@pytest.mark.parametrize(("queries", "moved"), [(40, [False, True]), (400, [True, True])])
def test_elsewhere_two_queries_of_a_set_may_tip_over(tmp_path, queries, moved):
    (tmp_path / "datasets.csv").write_text(
        f"part,dataset,rows\ntrain,p,rows:9\neval,p,queries:{queries} candidates:18\n"
    )
    counted = verify._queries(tmp_path)
    assert counted == {"p": queries}
    keys = {"run": ["r", "s"], "dataset": ["p", "p"], "metric": ["precision_at_1"] * 2}
    old, new = (pd.DataFrame({**keys, "score": scores}) for scores in ([15.0, 20.0], [10.0, 12.5]))
    rows = verify._score_rows(old, new, verify.OTHER_MACHINE, counted)
    assert [abs(here - was) > allowed for _, _, was, here, allowed in rows] == moved
    assert [row[-1] for row in verify._score_rows(old, new, verify.SAME, {})] == [verify.SAME.score] * 2


def test_a_changed_verdict_has_moved(frozen, ask):
    put(frozen / "reports/tiny/tables/claims_gain.csv", CLAIMS.format("contradicted"))
    status, text, _ = ask()
    assert status == 1
    assert "verdict t2: reproduced -> contradicted" in text


def test_a_reference_with_the_former_words_is_compared_in_those_of_today(frozen, ask):
    row = "text: A, place: ours, notebook: n, quantity: score, method: ic, baseline: em, over: [STS], claimed: greater"
    rows = "".join(
        f"  - {{id: {i}, source: {s}, {row}}}\n" for i, s in (("t2", "mote"), ("t3", "ours"), ("t4", "mote"))
    )
    put(frozen / "references/claims.yaml", "claims:\n" + rows)
    was = "id,verdict\nt2,inconclusive at this scale\nt3,reproduced\nt4,reproduced\n"
    put(frozen / "reports/reference/tiny/tables/claims_gain.csv", was)
    now = "id,line,verdict\nt2,,open\nt2,a line,\nt3,,supported\nt4,,reproduced\n"
    put(frozen / "reports/tiny/tables/claims_gain.csv", now)
    status, text, _ = ask()
    assert (status, "verdict t2:" in text) == (0, False)
    put(frozen / "reports/tiny/tables/claims_gain.csv", now.replace("t2,,open", "t2,,reproduced"))
    assert "verdict t2: open -> reproduced" in ask()[1]


def test_other_settings_are_said_and_not_compared(frozen, ask):
    put(
        frozen / "configs/variants/text.yaml",
        "em: {label: EM, instruction: false}\nic: {label: IC, temperature: 0.5}\n",
    )
    finish(frozen, "ic", gain=5.0)
    status, text, _ = ask()
    assert status == 1
    assert "ic" not in text.partition("not compared: ")[0].replace("verdicts", "").replace("tiny", "")
    assert "the verdicts are not compared" in text
    assert "not compared: ic/seed0: other settings: variant.temperature was 'task_aware', is 0.5" in text


def test_a_dataset_that_is_missing_here_has_moved(frozen):
    put(
        frozen / "runs/tiny/ic/seed0/scores.json", [{"task_type": "STS", "dataset": "sts_a", "metric": "m", "score": 1}]
    )
    rows = verify.compare("tiny").rows
    assert set(rows[rows.moved & rows.difference.isna()].row) >= {"ic/seed0 set_b ndcg_at_10", "ic Retrieval"}


def test_a_run_that_the_reference_lacks_is_mentioned(frozen, ask):
    finish(frozen, "ic").rename(frozen / "runs/tiny/ic/seed1")
    finish(frozen, "ic", gain=1.0)
    status, text, _ = ask()
    assert status == 0
    assert "not in the reference: ic/seed1" in text


def test_nothing_to_compare_is_one_line(finished, ask):
    status, text, errors = ask()
    assert (status, text) == (2, "")
    assert len(errors.splitlines()) == 1
    assert "reports/reference/tiny holds no results; presets with a reference: none" in errors
    freeze.freeze("tiny")
    for variant in ("em", "ic"):
        (finished / f"runs/tiny/{variant}/seed0/done.json").unlink()
    assert ask() == (2, "", "run_all.sh: verify: runs/tiny has no finished run; ./run_all.sh tiny makes them\n")


def test_the_tolerances_are_those_of_the_machine_alone():
    assert set(verify.KIND) <= set(ENVIRONMENT)
    assert "commit" not in verify.KIND
    assert all(tight < loose for tight, loose in zip(verify.SAME, verify.OTHER_MACHINE, strict=True))


def test_a_method_on_other_datasets_than_em_has_no_gain():
    columns = {"metric": "m", "task_type": "STS", "seed": 0}
    rows = [
        {"method": "em", "dataset": "a", "score": 1.0},
        {"method": "ic", "dataset": "a", "score": 2.0},
        {"method": "vl_lora", "dataset": "p", "score": 3.0},
    ]
    scores = pd.DataFrame([row | columns | {"run": f"{row['method']}/seed0"} for row in rows])
    found = verify._gain_rows(scores, scores, verify.SAME)
    assert [row[1] for row in found] == ["ic STS", "ic all types"]


def test_the_tolerance_of_another_machine_is_twice_the_measured_spread(frozen, ask):
    """Of each row that numerics_tiny.csv has: 0.3 points of a score, 0.2 of a type's gain, 0.1 of the average."""
    moves = {
        ("score", "ic/seed0, sts_a"): 0.3,
        ("gain", "ic, STS"): 0.2,
        ("gain", "ic, mean of datasets"): 0.1,
    }
    rows = [
        {"condition": name, "kind": kind, "row": row, "value": times * move}
        for (kind, row), move in moves.items()
        for name, times in (("a", 0), ("b", 1))
    ]
    table = frozen / "references/numerics_tiny.csv"
    table.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).reindex(columns=list(numerics.COLUMNS)).to_csv(table, index=False)
    found = verify.tolerance_of("tiny", same_machine=False)
    assert found == pytest.approx((0.6, 0.4, 0.2, verify.OTHER_MACHINE.similarity))
    assert verify.tolerance_of("tiny", same_machine=True) == verify.SAME
    finish(frozen, "ic", gain=1.0 + 0.19, cpu_capability="AVX512")
    assert ask()[0] == 0
    finish(frozen, "ic", gain=1.0 + 0.21, cpu_capability="AVX512")
    status, text, _ = ask()
    assert status == 1
    assert "gain: 1 of 3 moved; they differ by at most 0.21 (allowed 0.2 to 0.4)" in text


def test_conditions_that_move_nothing_still_allow_rounding(frozen):
    rows = [
        {"condition": condition, "kind": kind, "row": row, "value": 1.0}
        for kind, row in (("score", "ic/seed0, sts_a"), ("gain", "ic, STS"), ("gain", "ic, mean of datasets"))
        for condition in ("a", "b")
    ]
    table = frozen / "references/numerics_tiny.csv"
    table.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).reindex(columns=list(numerics.COLUMNS)).to_csv(table, index=False)
    assert verify.tolerance_of("tiny", same_machine=False)[:3] == verify.SAME[:3]
