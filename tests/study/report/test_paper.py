"""The LaTeX folder of a finished study, from the committed one.

Invariants: main.tex holds no number of its own, every macro that it uses is defined and says what the study's tables
say, every file, label and reference exists, every row of a table has its columns, and it compiles without a line that
leaves the page. Without LaTeX the folder is written all the same.
"""

import re
import subprocess

import pandas as pd
import pytest

from study import paths
from study.report.paper import command, engine, folder, macros
from study.report.reference import finished

REFERENCE = paths.REPORTS / "reference"
CHECKOUT = paths.ROOT
OVER = re.compile(r"Overfull \\hbox \((\d+\.\d+)pt")
FILES = r"\\(?:input|includegraphics|label|ref|cite|bibitem|usepackage)(?:\[[^]]*\])?\{[^}]*\}"


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """An empty reports/ with the committed studies in it."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/reference").symlink_to(REFERENCE)
    (tmp_path / "CITATION.cff").symlink_to(CHECKOUT / "CITATION.cff")
    return tmp_path / "reports"


@pytest.fixture
def paper(reports):
    return folder.write(finished.latest("cpu"))


def sources(paper):
    """The texts of the paper itself: main.tex and the tables with macros for cells."""
    return [(paper / "main.tex").read_text(), *(p.read_text() for p in sorted(paper.glob("tables/main_*.tex")))]


def defined(paper):
    return dict(re.findall(r"\\newcommand\{\\(\w+)\}\{(.*)\}", (paper / "results.tex").read_text()))


def test_every_number_is_a_macro_and_every_macro_is_defined(paper):
    used = {name for text in sources(paper) for name in re.findall(r"\\(res[A-Z]\w*)", text)}
    assert len(used) > 150
    assert used <= set(defined(paper))
    body = (paper / "main.tex").read_text().split(r"\begin{document}")[1]
    body = re.sub(r"\\begin\{thebibliography\}.*\\end\{thebibliography\}", "", body, flags=re.DOTALL)
    texts = [body, *((paper / f"tables/main_{name}.tex").read_text() for name in ("gains", "images", "kinds"))]
    texts = [re.sub(FILES + r"|\d+pt|\\multicolumn\{\d\}|^%.*|\[1\]", "", text, flags=re.MULTILINE) for text in texts]
    assert [re.findall(r".*\d.*", text) for text in texts] == [[]] * len(texts)


def test_a_macro_says_what_the_tables_of_the_study_say(paper):
    row = pd.read_csv(REFERENCE / "cpu/tables/claims.csv").set_index("id").loc["all-mote"]
    numbers = re.findall(r"\$?([-+])\$?(\d\.\d+)", defined(paper)["resMoteMinusIcAll"])
    found = [float(f"{sign}{digits}") for sign, digits in numbers]
    assert found == pytest.approx([row.difference, row.low, row.high], abs=0.005)
    assert defined(paper)["resMoteMinusIcAll"] in (paper / "results.tex").read_text()
    gains = (paper / "tables/main_gains.tex").read_text()
    line = next(line for line in gains.splitlines() if line.startswith("retrieval"))
    assert line.split(" & ")[4] == r"\resMoteMinusIcRetrieval{}"


def test_every_file_label_and_citation_is_there(paper):
    main = (paper / "main.tex").read_text()
    figures = re.findall(r"\\includegraphics\{([^}]*)\}", main)
    inputs = re.findall(r"\\input\{([^}]*)\}", main)
    assert len(figures) > 15
    assert [name for name in figures if not (paper / name).is_file()] == []
    assert [name for name in inputs if not (paper / f"{name}.tex").is_file()] == []
    labels = set(re.findall(r"\\label\{([^}]*)\}", main))
    assert set(re.findall(r"\\ref\{([^}]*)\}", main)) <= labels
    assert set(re.findall(r"\\cite\{([^}]*)\}", main)) == set(re.findall(r"\\bibitem\{([^}]*)\}", main))


def test_both_papers_are_cited_by_their_identifiers(paper):
    entries = re.findall(r"\\bibitem\{(\w+)\} (.*)", (paper / "main.tex").read_text())
    assert [key for key, _ in entries] == ["mote", "tsembed"]
    assert "2025.findings-acl.1168" in entries[0][1]
    assert "2603.04772" in entries[1][1]


def test_the_macros_that_the_guide_names_exist(paper):
    named = set(re.findall(r"\\(res\w+)", (CHECKOUT / "docs/paper.md").read_text()))
    assert len(named) > 8
    assert named <= set(defined(paper))


def test_every_row_of_a_table_has_its_columns(paper):
    rows = 0
    for path in paper.glob("tables/main_*.tex"):
        text = path.read_text()
        columns = re.search(r"\\begin\{(?:tabular|longtable)\}\{(.*)\}", text)[1]
        columns = re.sub(r">\{[^}]*\}|p\{[^}]*\}", lambda m: "l" if m[0].startswith("p") else "", columns)
        for line in text.splitlines():
            if line.endswith(r"\\") and "multicolumn" not in line and "caption" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line
                rows += 1
    assert rows > 50


def test_text_is_ascii_or_accented_latin(paper):
    for path in paper.rglob("*.tex"):
        assert {character for character in path.read_text() if ord(character) > 0x17F} == set(), path


def test_a_name_stands_for_one_number():
    known = macros.Macros()
    assert known.put("resGain", "+0.4") == known.put("resGain", "+0.4") == r"\resGain{}"
    with pytest.raises(ValueError, match="resGain stands for two numbers"):
        known.put("resGain", "+0.5")


@pytest.mark.skipif(engine.found() != "pdflatex", reason="pdflatex (texlive-latex-recommended) is not on PATH")
def test_it_compiles_and_no_line_leaves_the_page(paper, tmp_path):
    pdf = engine.compile(paper, "pdflatex", finished="2026-01-31")
    assert pdf.read_bytes().startswith(b"%PDF")
    build = ["pdflatex", "-interaction=nonstopmode", f"-output-directory={tmp_path}", "main.tex"]
    for _ in range(engine.PASSES):
        log = subprocess.run(build, cwd=paper, capture_output=True, text=True, errors="replace", timeout=120).stdout
    assert "undefined" not in log
    assert "multiply defined" not in log
    assert [float(size) for size in OVER.findall(log.replace("\n", "")) if float(size) > 2] == []


@pytest.mark.skipif(engine.found() is None, reason="no LaTeX")
def test_a_paper_that_does_not_compile_says_where(paper):
    (paper / "main.tex").write_text((paper / "main.tex").read_text().replace(r"\maketitle", r"\resNoSuchNumber"))
    with pytest.raises(ValueError, match=r"main.tex does not compile: .*Undefined control sequence.*resNoSuchNumber"):
        engine.compile(paper, engine.found(), finished="2026-01-31")


def test_without_latex_the_folder_is_written_and_one_line_says_what_to_install(reports, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    command.main(["cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "reports/cpu/paper: from reports/reference/cpu"
    assert len(lines) == 2
    assert "apt-get install" in lines[1]
    assert (reports / "cpu/paper/main.tex").is_file()
    assert not (reports / "cpu/paper/report.pdf").exists()


def test_own_files_stay_and_old_ones_go(reports):
    place = folder.write(finished.latest("cpu"))
    (place / "notes.tex").write_text("mine")
    (place / "tables/gone.tex").write_text("old")
    folder.write(finished.latest("cpu"))
    assert (place / "notes.tex").read_text() == "mine"
    assert not (place / "tables/gone.tex").exists()


def test_no_study_or_one_of_an_earlier_version_is_one_line(reports):
    with pytest.raises(SystemExit, match="paper: preset smoke: neither reports/smoke nor .* holds a finished study"):
        command.main(["smoke"])
    (reports / "gpu/tables").mkdir(parents=True)
    (reports / "gpu/tables/claims.csv").write_text("id,difference\n")
    with pytest.raises(SystemExit, match=r"gpu/tables/claims.csv is of an earlier version: .* run ./run_all.sh gpu"):
        command.main(["gpu"])


def test_a_finished_run_of_this_checkout_goes_first(reports):
    (reports / "cpu/tables").mkdir(parents=True)
    (reports / "cpu/tables/claims.csv").write_bytes((REFERENCE / "cpu/tables/claims.csv").read_bytes())
    assert not finished.latest("cpu").committed
    assert finished.committed("cpu").committed
