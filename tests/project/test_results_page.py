"""The one-page summary and the README's lines about the results.

- Both are what `python -m study results` writes from the committed studies.
- Sentences follow the verdicts: another sign or verdict gives another word; a study of an earlier version is named.
- The minutes are those that `plan` computes.
"""

import re
import shutil
import sys

import pandas as pd
import pytest

from study import paths
from study.report.reference import summary

PAGE, README = paths.ROOT / "docs/RESULTS.md", paths.ROOT / "README.md"
COMMAND = "is not what `python -m study results` writes"


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The tables of the committed study of `cpu` in a folder of their own."""
    source, folder = paths.REPORTS / "reference/cpu", tmp_path / "reports/reference/cpu"
    for name in ("reference.json", "tables/claims.csv", "figures/overview.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, folder / name)
    (folder / "results").symlink_to(source / "results")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "REPORTS", tmp_path / "reports")
    return folder


def change(folder, claim, **values):
    table = pd.read_csv(folder / "tables/claims.csv", dtype={"scope": str, "reason": str})
    table.loc[table.id == claim, list(values)] = list(values.values())
    table.to_csv(folder / "tables/claims.csv", index=False)


def test_the_committed_page_and_readme_are_what_the_command_writes():
    assert PAGE.read_text() == summary.results_page(), f"docs/RESULTS.md {COMMAND}"
    assert README.read_text() == summary.filled(README.read_text()), f"README.md {COMMAND}"
    assert "{{" not in PAGE.read_text()
    assert not re.search(r"the paper:\s+not in", PAGE.read_text() + README.read_text())


def test_the_sentences_follow_the_verdicts(copied):
    before = summary.results_page()
    assert "**Do task experts raise scores? No, on these datasets.** MoTE scores 0.41 points lower" in before
    change(copied, "all-mote", difference=0.9, low=0.5, high=1.3, verdict="reproduced", scope="beyond them")
    change(copied, "f1-mean", verdict="open", scope="", reason="1 seed", seeds=1)
    after = summary.results_page()
    assert "**Do task experts raise scores? Yes.** MoTE scores 0.9 points higher" in after
    assert "**Do task experts separate the tasks? Undecided.**" in after
    lines = summary.filled(README.read_text())
    assert "- **Do task experts raise scores? Yes.**" in lines
    assert "- **Not settled:** Do task experts separate the tasks? (−0.089 in cosine" in lines


def test_a_study_of_an_earlier_version_is_named_and_not_read(copied):
    shutil.copytree(copied, copied.with_name("gpu"), symlinks=True)
    (copied.with_name("gpu") / "tables/claims.csv").write_text("id,difference\nall-mote,3.0\n")
    (copied.parents[1] / "kept/gpu").mkdir(parents=True)
    about = '"preset": "gpu", "runs": 7, "commits": ["a", "b"], "finished": ["2026-01-01T", "2026-01-02T"]'
    (copied.with_name("gpu") / "reference.json").write_text(f"{{{about}}}")
    assert "`reports/reference/gpu` holds an older study: 7 runs of 2 commits, finished on 2026-01-02" in (
        summary.results_page()
    )
    assert "finished on 2026-01-02. A new one is under way (`reports/kept/gpu`)." in summary.filled(README.read_text())


def test_a_preset_that_judges_nothing_is_no_result(copied):
    assert "`cpu`" in summary.results_page()
    copied.rename(copied.with_name("smoke"))
    assert not re.search("`(cpu|smoke)`", summary.results_page())


def test_the_minutes_are_those_of_plan(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path)  # no finished run of this checkout
    monkeypatch.syspath_prepend(str(paths.ROOT / "workflow"))
    import nodes
    from expected import expected

    graph = nodes.RunGraph("cpu")
    known = expected(graph, [f"{node}/seed{seed}" for node, seed in graph.runs])
    assert "runs of the reference" in known.source
    assert summary.minutes("cpu") == pytest.approx(known.seconds / 60, rel=0.02)
    assert f"<!-- minutes cpu -->{known.seconds / 60:.0f}<!-- -->" in README.read_text()
    for name in ("nodes", "expected"):
        sys.modules.pop(name)


def test_a_readme_without_a_place_for_the_lines_is_an_error():
    with pytest.raises(ValueError, match=r"README.md: the lines between .* are missing"):
        summary.filled("# A project\n")


def test_the_command_writes_both(copied, capsys):
    root = paths.ROOT
    (root / "docs").mkdir()
    (root / "README.md").write_text(README.read_text().replace("Do task experts", "?"))
    summary.main([])
    assert capsys.readouterr().out.splitlines() == ["docs/RESULTS.md", "README.md"]
    assert (root / "docs/RESULTS.md").read_text() == summary.results_page()
    assert "**Do task experts raise scores? No, on these datasets.**" in (root / "README.md").read_text()
