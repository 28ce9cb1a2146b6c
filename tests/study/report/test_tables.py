"""Tables.

Invariants: three files with the same cells; LaTeX is escaped and set with booktabs; numbers stand to the right;
nothing in a cell can become markup; every row of a tabular has as many cells as columns; every table compiles in a
one- and a two-column page without running out of it.
"""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from study.report import style
from study.report.tables import write as tables

FRAME = pd.DataFrame(
    {
        "Task": ["Pair_class & more", "<b>STS</b>"],
        "EM": ["42.31 ± 0.20", style.MISSING],
        "MoTE": [tables.gain_interval(5.21, -1.0, 6.0), tables.gain(-0.06)],
        "p": [0.5, 0.25],
        "note": ["50 % of 1", "none"],
    }
)


@pytest.fixture
def saved(study):
    shown = tables.save(FRAME, "headline", preset="tiny", caption="Gain ± interval; 2 seeds").data
    folder = study / "reports" / "tiny" / "tables"
    return shown, {p.suffix: p.read_text() for p in folder.iterdir()}


def test_a_table_is_csv_latex_and_html(saved):
    assert set(saved[1]) == {".csv", ".tex", ".html"}


def test_the_csv_holds_the_frame_or_the_numbers_behind_it(saved, study):
    path = study / "reports" / "tiny" / "tables" / "headline.csv"
    pd.testing.assert_frame_equal(pd.read_csv(path), FRAME)
    tables.save(FRAME, "headline", preset="tiny", caption="c", raw=pd.DataFrame({"gain": [5.2134]}))
    assert path.read_text() == "gain\n5.2134\n"


def test_latex_is_escaped_and_in_booktabs(saved):
    tex = saved[1][".tex"]
    assert r"Pair\_class \& more & 42.31 $\pm$ 0.20 & +5.21 [$-$1.00, +6.00] & 0.50 & 50 \% of 1 \\" in tex
    assert r"\begin{tabular}{lrrrl}" in tex
    assert r"\begin{table*}" in tex
    assert [tex.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]


def test_html_is_escaped_and_marks_numbers_and_heads(saved):
    text = saved[1][".html"]
    assert '<th scope="row">&lt;b&gt;STS&lt;/b&gt;</th>' in text
    assert "<b>" not in text
    assert '<td class="number">42.31 ± 0.20</td>' in text
    assert "<td>none</td>" in text
    assert text in saved[0]
    assert 'headline.tex"' in saved[0]


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert tables.gain(-0.004) == "0.00"
    assert tables.gain(0.004) == "0.00"


def test_text_of_others_gets_the_minus_and_the_dash_of_the_study(study):
    frame = pd.DataFrame({"Method": ["top-2", "1e-4"], "a": ["-0.25 [-1.0, 2.0]", "-0.00"], "b": ["nan", "−0.004"]})
    shown = tables.save(frame, "mended", preset="tiny", caption="c").data
    cells = re.findall("<t[hd] [^>]*>([^<]*)|<td>([^<]*)", shown.partition("<tbody>")[2])
    assert [a or b for a, b in cells] == ["top-2", "−0.25 [−1.0, 2.0]", "–", "1e-4", "0.00", "−0.004"]


def test_what_is_missing_is_a_dash():
    nan = float("nan")
    assert {tables.interval(nan, 0, 1), tables.gain(nan), tables.gain_interval(nan, 0, 1)} == {style.MISSING}


def test_an_empty_table_is_an_error(study):
    with pytest.raises(ValueError, match="'x' has no row"):
        tables.save(FRAME[:0], "x", preset="tiny", caption="c")


def test_a_narrow_table_takes_one_column_and_long_text_is_set_as_paragraphs(study):
    tables.save(pd.DataFrame({"a": ["x"], "b": [1.0]}), "narrow", preset="tiny", caption="c")
    tables.save(pd.DataFrame({"a": ["word " * 20], "b": [1.0]}), "long", preset="tiny", caption="c")
    folder = study / "reports" / "tiny" / "tables"
    narrow, long = ((folder / f"{name}.tex").read_text() for name in ("narrow", "long"))
    assert r"\begin{table}" in narrow
    assert r"\begin{tabular}{lr}" in narrow
    assert r"\begin{table*}" in long
    assert r"p{22em}r}" in long


HARD = "50 % & $x$ #1 a_b {c} ~^ \\ ± − – — × ≤ ≥ < > → · ≈ ∞ | ‖ « » “ ” ’ … § ² Δ α β θ µ τ ● ○ ✕ é"


def hard() -> pd.DataFrame:
    """Every character that is escaped, a `[` at the start of a row, and more columns than a page takes."""
    wide = {f"column {i}": [tables.gain_interval(i, -i, 2 * i)] * 2 for i in range(12)}
    return pd.DataFrame({"[a]": [HARD, "[0, 1]"], **wide})


def test_every_row_has_as_many_cells_as_the_table_has_columns(study):
    tables.save(hard(), "hard", preset="tiny", caption=HARD)
    tex = (study / "reports/tiny/tables/hard.tex").read_text()
    rows = re.findall(r"^(.*) \\\\$", tex, re.M)
    assert len(rows) == 3
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {12}
    assert tex.isascii() or set(re.sub(r"[\x00-\x7f]", "", tex)) == {"é"}
    assert not re.search(r"\\\\\s*\[", tex)
    assert "{[}0, 1]" in tex


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex (texlive-latex-recommended) is not on PATH")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_a_table_compiles_and_stays_on_the_page(study, columns):
    tables.save(hard(), "hard", preset="tiny", caption=HARD)
    tables.save(FRAME, "plain", preset="tiny", caption="c")
    folder = study / "reports" / "tiny" / "tables"
    (folder / "paper.tex").write_text(
        rf"\documentclass[10pt,{columns}]{{article}}\usepackage{{array,booktabs,graphicx}}"
        r"\begin{document}\input{hard}\input{plain}text\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Missing character" not in done.stdout
