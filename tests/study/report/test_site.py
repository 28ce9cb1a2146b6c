"""The site.

Invariants: it can be built from nothing and from half of the runs, and says what is missing; training time is that of
the log; the same inputs give the same bytes; no page asks
for anything outside; formulas are MathML; code is there but hidden; the state of a run is what its files say; every
claim is listed, judged or not, with a verdict that does not need its colour.
"""

import json
import re

import matplotlib.text
import pytest

from study.analysis import claims
from study.report import site, status, style
from study.report.figures import forest as forest_figures
from study.report.notebook import mark_of
from study.report.pages import safe_html
from study.report.tables import claims as claim_tables


@pytest.fixture
def executed(study, write_notebook):
    """Place a notebook as if it had been executed."""

    def place(folder, name, *cells, done=True, **given):
        path = study / folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_notebook(name, *cells, **given).rename(path)
        if done:
            mark_of(path).write_text(json.dumps({"parameters": {"preset": "tiny"}}))
        return path

    return place


def pages_of(index):
    """Name -> content of the pages beside the first one."""
    return {page.name: page.read_text() for page in index.parent.glob("*.html")}


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_nothing_yet_is_said(study):
    built = pages_of(site.build("tiny"))
    said = {
        "index.html": ("There is no answer yet", "The comparison is missing", "The figure is missing", "no runs yet"),
        "claims.html": ("There are no claims",),
        "figures.html": ("No figure has been drawn",),
        "runs.html": ("There are no runs yet",),
        "data.html": ("No data have been prepared",),
        "provenance.html": ("No run has noted",),
    }
    assert set(built) == set(said)
    assert [(page, text) for page, texts in said.items() for text in texts if text not in built[page]] == []


@pytest.mark.parametrize(
    ("methods", "said", "unsaid"),
    [
        (["ic"], "the experts averaged (EA). All", "LoRA"),
        (["ic", "tsembed"], "averaged (EA); on images, low-rank adapters", None),
        (["tsembed"], "</strong> low-rank adapters (LoRA)", "(EM)"),
    ],
)
def test_the_first_page_names_the_methods_of_the_parts_that_the_study_has(study, methods, said, unsaid):
    for method in methods:
        run = study / f"runs/tiny/{method}/seed0"
        put(run / "done.json", {})
        put(run / "scores.json", [{"dataset": "set_a"}])
        put(run / "config.yaml", {"training": {"steps": 2, "batch_size": 4}})
    text = re.sub(r"\s+", " ", site.build("tiny").read_text())
    compared = text[text.index("Compared:") : text.index("All start from") + 3]
    assert said in compared
    assert unsaid is None or unsaid not in compared


def test_the_same_inputs_give_the_same_bytes(study, executed):
    executed("reports/tiny/notebooks", "20_gain", "x = 1")
    put(study / "runs/tiny/em/seed0/env.json", {"commit": "abc", "python": "3.11"})
    first = {p: p.read_bytes() for p in site.build("tiny").parent.rglob("*.html")}
    assert len(first) == 7
    site.build("tiny")
    assert first == {p: p.read_bytes() for p in first}


def test_a_page_has_title_navigation_language_and_nothing_from_outside(study, executed):
    executed("reports/tiny/notebooks", "20_gain", "x = 1", title="# What is gained & lost?")
    executed("runs/tiny/mote/seed1", "10_train", "x = 2")
    site.build("tiny")
    report = study / "reports/tiny"
    for page, current in (("notebooks/20_gain.html", "20_gain.html"), ("runs/mote-seed1.html", "runs.html")):
        text = (report / page).read_text()
        assert '<html lang="en">' in text
        assert 'href="../index.html"' in text
        assert 'href="../notebooks/20_gain.html"' in text  # the first page of its group
        assert re.search(rf'{re.escape(current)}"\s+aria-current="page"', text)
        assert not re.search(r'(src|href)="(https?:)?//', text)
        assert "@import" not in text
    assert "<title>What is gained &amp; lost? · tsembed tiny</title>" in (report / "notebooks/20_gain.html").read_text()


def test_formulas_are_mathml_and_code_is_kept(study, executed):
    executed("reports/tiny/notebooks", "20_gain", ("The loss $e^{x} < 1$ and\n\n$$\\sum_i x_i$$",), "answer = 42")
    site.build("tiny")
    text = (study / "reports/tiny/notebooks/20_gain.html").read_text()
    assert text.count("<math") == 2
    assert 'display="block"' in text
    assert "$" not in text.split("<article")[1]
    assert '<div class="input">' in text
    assert "42" in text
    assert 'id="show-code"' in text


def test_links_to_figures_fit_the_page(study, executed):
    link = '<a href="../reports/tiny/figures/gain.pdf">PDF</a>'
    executed("reports/tiny/notebooks", "20_gain", (link,))
    site.build("tiny")
    assert 'href="../figures/gain.pdf"' in (study / "reports/tiny/notebooks/20_gain.html").read_text()


def test_an_unfinished_notebook_is_named_so_and_a_removed_one_leaves_no_page(study, executed):
    path = executed("reports/tiny/notebooks", "20_gain", done=False)
    executed("reports/tiny/notebooks", "21_other.failed", done=False)
    assert "not finished" in site.build("tiny").read_text()
    page = path.with_suffix(".html")
    assert "has not run to its end" in page.read_text()
    assert sorted(p.name for p in page.parent.glob("*.html")) == ["20_gain.html", "21_other.html"]
    (path.parent / "21_other.failed.ipynb").unlink()
    path.unlink()
    site.build("tiny")
    assert not page.exists()


def test_a_notebook_whose_runs_the_preset_no_longer_has_leaves_no_page(study, executed):
    put(study / "configs/presets/tiny.yaml", "about: x\ndata: {source: embedded}\nvariants: {em: 1}\n")
    executed("reports/tiny/notebooks", "20_gain", "x = 1")
    executed("reports/tiny/notebooks", "31_expert_routing", "x = 1", title="# What do the routers learn?")
    text = site.build("tiny").read_text()
    assert "20_gain" in text
    assert "What do the routers learn?" not in text
    assert [page.name for page in (study / "reports/tiny/notebooks").glob("*.html")] == ["20_gain.html"]


def test_a_broken_notebook_is_named(study):
    put(study / "reports/tiny/notebooks/20_gain.ipynb", "{")
    with pytest.raises(ValueError, match="20_gain.ipynb is not a notebook"):
        site.build("tiny")


def test_the_state_of_a_run_is_what_its_files_say(study):
    runs = study / "runs" / "tiny"
    put(runs / "em/seed0/config.yaml", "variant: {label: EM}\ntraining: {steps: 9}\n")
    put(runs / "em/seed0/metrics.jsonl", '{"step": 0}\n{"step": 8}\n{"st')
    put(
        runs / "em/seed0/done.json",
        {"seconds": {"training": 12.3, "evaluation": 4.5}, "finished": "2026-01-02T03:04:05"},
    )
    put(runs / "ic/seed0/config.yaml", "training: {steps: 9}\n")
    put(runs / "mote/seed0/config.yaml", "training: {steps: 9}\n")
    put(runs / "mote/seed0/10_train.failed.ipynb", "{}")
    put(runs / "sem_classification/seed0/config.yaml", "training: {steps: 9}\n")
    put(runs / "logs/sem_classification.seed0.json", {"state": "failed"})
    rows = {row["name"]: row for row in status.runs("tiny", {})}
    assert {n: r["state"] for n, r in rows.items()} == {
        "em": "done",
        "ic": "incomplete",
        "mote": "failed",
        "sem_classification": "failed",
    }
    assert (rows["em"]["variant"], rows["em"]["steps"], rows["em"]["of"]) == ("EM", 9, 9)
    index = site.build("tiny")
    assert "3 of 4 runs are not finished" in index.read_text()
    text = index.with_name("runs.html").read_text()
    assert "1 of 4 runs are done" in text
    assert "2026-01-02 03:04" in text


def test_a_page_says_what_a_method_cost(study):
    for variant, seed, training, evaluation in (("EM", 0, 100.0, 20.0), ("EM", 1, 140.0, 40.0), ("EA", 0, 0.0, 60.0)):
        folder = study / f"runs/tiny/{variant.lower()}/seed{seed}"
        put(folder / "config.yaml", f"variant: {{label: {variant}}}\ntraining: {{steps: 9}}\n")
        put(folder / "done.json", {"seconds": {"training": training, "evaluation": evaluation}})
    put(study / "runs/tiny/ic/seed0/config.yaml", "variant: {label: IC}\n")  # not finished: it has no cost yet
    costs = {cost["variant"]: cost for cost in status.costs(status.runs("tiny", {}))}
    assert costs["EM"] == {
        "variant": "EM",
        "runs": 2,
        "training": 120.0,
        "evaluation": 30.0,
        "minutes": 5.0,
        "share": pytest.approx(300 / 360),
    }
    assert set(costs) == {"EM", "EA"}
    text = site.build("tiny").with_name("runs.html").read_text()
    assert "Together 6 minutes." in text
    assert '<td class="number">83.3 %</td>' in text
    assert status.costs([]) == []
    same = {"variant": "EM", "state": "done", "seconds": {"training": 60.0}}
    two = status.costs([same | {"name": "em"}, same | {"name": "em_fast"}])
    assert [cost["runs"] for cost in two] == [1, 1], "a label can stand for two variants; each is a row"


def test_a_planned_run_is_listed_before_it_starts(study):
    put(study / "configs/variants/text.yaml", "em: {label: EM}\n")
    preset = "about: a test\ndata: {source: embedded}\nvariants: {em: 2}\n"
    put(study / "configs/presets/tiny.yaml", preset)
    assert [(r["name"], r["seed"], r["state"]) for r in status.runs("tiny", {})] == [
        ("em", "0", "not started"),
        ("em", "1", "not started"),
    ]
    assert "A test." in site.build("tiny").read_text()


def test_provenance_joins_equal_environments_and_warns_of_different_ones(study):
    for variant, commit in (("em", "aaa"), ("ic", "aaa"), ("mote", "bbb")):
        put(study / f"runs/tiny/{variant}/seed0/env.json", {"commit": commit, "python": "3.11"})
        put(study / f"runs/tiny/{variant}/seed0/done.json", {"finished": f"2026-01-0{len(variant)}"})
    assert [o["runs"] for o in status.origins("tiny")] == [["em/seed0", "ic/seed0"], ["mote/seed0"]]
    assert "do not share one environment" in site.build("tiny").with_name("provenance.html").read_text()


def test_the_data_are_listed_with_counts_and_licences(study):
    row = {"name": "set_a", "part": "train", "format": "pairs", "task": "retrieval", "rows": {"rows": 1200}}
    row |= {"sha256": "c" * 64, "origin": "somewhere 1.0", "licence": "MIT", "group": "", "notes": {}}
    put(study / "runs/tiny/data/manifest.json", {"source": "local", "seed": 0, "sha256": "d" * 64, "datasets": [row]})
    text = site.build("tiny").with_name("data.html").read_text()
    assert "set_a" in text
    assert "1,200 rows" in text
    assert "MIT" in text


CLAIM = (
    "  - {{id: {0}, text: Claim {0}, place: 'Table 2, Average', source: mote, notebook: {1}, quantity: score, "
    "method: mote, baseline: ic, over: [STS, Retrieval], claimed: greater}}\n"
)
JUDGED = "id,line,difference,low,high,low_beyond,high_beyond,detectable,seeds,datasets,verdict,scope,reason,explained\n"
REPRODUCED = "a,,1.5,0.5,2.5,-1.5,4.5,0.9,3,22,reproduced,these sets,,explained by the rate\n"


@pytest.fixture
def claimed(study):
    """Three claims of two notebooks."""
    rows = CLAIM.format("a", "20_gain") + CLAIM.format("b", "20_gain") + CLAIM.format("c", "21_other")
    put(study / "references/claims.yaml", f"rule: r\nclaims:\n{rows}")
    numbers = "tables: {table2: {unit: {em: score}, rows: {Average: {em: 50.0, ic: 2.35, mote: 3.23}}}}\n"
    put(study / "references/mote.yaml", numbers)
    return study


def test_every_measured_claim_is_listed_with_its_verdict_and_the_others_are_counted(claimed, executed):
    executed("reports/tiny/notebooks", "20_gain", "x = 1")
    rows = "b,,0.1,-1.0,1.2,-2,2,1.3,3,22,open,,below the minimum detectable effect: 1.3,\nb,its line,0.1,,,,,,,,,,,\n"
    put(claimed / "reports/tiny/tables/claims_gain.csv", JUDGED + REPRODUCED + rows)
    text = site.build("tiny").with_name("claims.html").read_text()
    table = text[text.index('aria-label="Claims: ') :]
    first, second = re.findall(r'<tr><th scope="row">Claim .*?</tr>', table, re.S)
    assert "● reproduced" in first
    assert "on these datasets" in first
    assert "explained by the rate; not after Holm" in first
    assert "+1.5 [+0.5, +2.5]" in first
    assert "[−1.5, +4.5]" in first
    assert "3\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}22" in first
    assert "+0.9" in first
    assert ">0.9<" in first
    assert "○ open" in second
    assert "below the minimum detectable effect: 1.3" in second
    assert 'href="notebooks/20_gain.html"' in second
    assert "3 claims and questions" in text
    assert "Not measured by this preset, and without a row: 1." in text
    assert re.search(r"<strong>1</strong>&nbsp;reproduced on these datasets,\s+<strong>1</strong>&nbsp;open", text)
    assert "below the minimum detectable effect&nbsp;(1)" in text
    assert "A test of the machinery" not in text
    frame = claims.collect("tiny")
    assert list(claims.out_of_sight(frame).id) == ["b"]
    assert claim_tables.table(frame[:0]).empty


def test_a_table_of_former_words_is_read(claimed):
    former = "id,difference,low,high,detectable,verdict\na,1.5,0.5,2.5,0.9,reproduced\n"
    former += "b,0,-1,1,1,inconclusive at this scale\n"
    put(claimed / "reports/tiny/tables/claims_gain.csv", former)
    assert claims.collect("tiny").verdict.tolist() == ["reproduced", "open", "not judged"]
    put(claimed / "references/claims.yaml", "claims:\n" + CLAIM.format("a", "20_gain").replace(": mote,", ": ours,", 1))
    assert claims.collect("tiny").verdict.tolist() == ["supported"]


def test_a_test_of_the_machinery_has_a_banner_on_every_page_and_no_verdict(claimed, executed):
    preset = "about: x\njudged: false\ndata: {source: embedded}\nvariants: {em: 1}\n"
    put(claimed / "configs/presets/tiny.yaml", preset)
    put(claimed / "reports/tiny/tables/claims_gain.csv", JUDGED + REPRODUCED)
    page = executed("reports/tiny/notebooks", "20_gain", "x = 1").with_suffix(".html")
    index = site.build("tiny")
    text = index.with_name("claims.html").read_text()
    for html in (text, page.read_text(), index.read_text()):
        assert "A test of the machinery" in html
        assert "say nothing about any method" in html
    assert "reproduced</span>" not in text
    assert "<strong>3</strong>&nbsp;not judged" in text


def test_no_claims_are_said(study):
    assert "There are no claims" in site.build("tiny").with_name("claims.html").read_text()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (REPRODUCED + REPRODUCED, "'a' is judged in another"),
        (REPRODUCED.replace("reproduced", "right"), "'right'"),
    ],
)
def test_a_claim_has_one_known_verdict(claimed, rows, message):
    put(claimed / "reports/tiny/tables/claims_gain.csv", JUDGED + rows)
    with pytest.raises(ValueError, match=message):
        claims.collect("tiny")


def test_the_figure_of_claims_tells_verdicts_apart_by_marker_and_says_seeds(claimed):
    put(claimed / "reports/tiny/tables/claims_gain.csv", JUDGED + REPRODUCED)
    figure = forest_figures.forest(claims.collect("tiny"), seeds="2 seeds")
    assert figure.get_figwidth() == style.FULL
    looks = forest_figures.VERDICTS.values()
    assert len({look.marker for look in looks}) == len({look.colour for look in looks}) == 6
    texts = " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))
    assert "2 seeds" in texts
    assert "random effects" in texts
    thin, thick = (bars.get_segments()[0][:, 0].tolist() for bars in figure.axes[0].collections[-2:])
    assert (thin, thick) == ([-1.5, 4.5], [0.5, 2.5]), "beyond these sets, and on them"
    assert "not judged" in texts
    assert "(points)" in texts


def test_training_time_is_that_of_the_log_and_not_of_a_resumed_process(study):
    folder = study / "runs/tiny/mote/seed0"
    put(folder / "config.yaml", "variant: {label: MoTE}\ntraining: {steps: 240, batch_size: 64}\n")
    put(folder / "metrics.jsonl", "".join(f'{{"step": {i}, "examples_per_s": 8.0}}\n' for i in range(240)) + '{"st')
    put(folder / "done.json", {"seconds": {"training": 8.5, "evaluation": 56.9}})
    (row,) = status.runs("tiny", {})
    assert row["seconds"] == {"training": 240 * 64 / 8.0, "evaluation": 56.9}
    assert status.costs([row])[0]["training"] == 1920.0
    put(folder / "metrics.jsonl", "")
    assert status.runs("tiny", {})[0]["seconds"]["training"] == 8.5  # nothing else says it


def test_a_planned_notebook_that_did_not_run_has_a_page_that_says_so_and_a_failed_one_its_error(study, executed):
    put(study / "configs/presets/tiny.yaml", "about: x\ndata: {source: embedded}\nvariants: {em: 1}\n")
    executed("notebooks", "20_gain", "x = 1", title="# What is gained?", done=False)
    executed("notebooks", "22_other", "x = 1", title="# Who chooses?", done=False)
    failed = executed("reports/tiny/notebooks", "22_other.failed", "x = 1", title="# Who chooses?", done=False)
    content = json.loads(failed.read_text())
    error = {"output_type": "error", "ename": "ValueError", "evalue": "sem: scores of <Retrieval> are missing"}
    content["cells"][-1]["outputs"] = [error | {"traceback": []}]
    failed.write_text(json.dumps(content))
    index = site.build("tiny")
    pages = {page.name: page.read_text() for page in (index.parent / "notebooks").glob("*.html")}
    assert set(pages) == {"20_gain.html", "22_other.html"}
    assert "<h1>What is gained?</h1>" in pages["20_gain.html"]
    assert "Nothing to show yet" in pages["20_gain.html"]
    assert "sem: scores of &lt;Retrieval&gt; are missing" in pages["22_other.html"]
    assert index.read_text().count('<span class="flag">missing</span>') == 1
    assert index.read_text().count('<span class="flag">failed</span>') == 1
    assert "21_task_aware_training</code> needs" in index.read_text()


def test_long_tables_are_folded_and_those_of_verdicts_are_not():
    def table(rows, head="Gain"):
        body = f"<thead><tr><th>{head}</th></tr></thead>" + "<tr><td>1</td></tr>" * rows
        return f'<div class="table-box" role="region"><table class="data"><caption>Tests</caption>{body}</table></div>'

    long, short = safe_html.LONG_TABLE, safe_html.LONG_TABLE - 1
    folded = safe_html.fold_long_tables(table(long))
    assert folded.startswith(f'<details class="folded"><summary>Tests <span>({long} rows)</span></summary>')
    assert safe_html.fold_long_tables(table(short)) == table(short)
    assert safe_html.fold_long_tables(table(long, "Verdict")) == table(long, "Verdict")


def test_what_would_run_or_load_is_taken_out_and_text_stays_text():
    body = '<p onclick="x()">1 &lt; 2 <script>alert(1)</script> '
    body += '<img src="x.png" onerror="x()"> <a href=" javascript:x">a</a></p>'
    cleaned = safe_html.clean(body + "<iframe src='//e.org'></iframe><script>never closed <b>c</b>")
    assert "<script" not in cleaned
    assert "<iframe" not in cleaned
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in cleaned
    assert cleaned.endswith("<b>c</b>")
    assert "<p>1 &lt; 2 " in cleaned
    assert '<img src="x.png"> <a>a</a>' in cleaned
