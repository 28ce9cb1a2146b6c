"""The site.

Invariants: it can be built from nothing and says what is missing; the same inputs give the same bytes; no page asks
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


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_nothing_yet_is_said(study):
    text = site.build("tiny").read_text()
    for missing in ("no headline table yet", "No notebook has been", "No figure", "no runs yet", "No data have"):
        assert missing in text


def test_the_same_inputs_give_the_same_bytes(study, executed):
    executed("reports/tiny/notebooks", "20_gain", "x = 1")
    put(study / "runs/tiny/em/seed0/env.json", {"commit": "abc", "python": "3.11"})
    first = {p: p.read_bytes() for p in site.build("tiny").parent.rglob("*.html")}
    assert len(first) == 2
    site.build("tiny")
    assert first == {p: p.read_bytes() for p in first}


def test_a_page_has_title_navigation_language_and_nothing_from_outside(study, executed):
    executed("reports/tiny/notebooks", "20_gain", "x = 1", title="# What is gained & lost?")
    executed("runs/tiny/mote/seed1", "10_train", "x = 2")
    site.build("tiny")
    report = study / "reports/tiny"
    for page, current in (("notebooks/20_gain.html", "20_gain.html"), ("runs/mote-seed1.html", "index.html#runs")):
        text = (report / page).read_text()
        assert '<html lang="en">' in text
        assert 'href="../index.html"' in text
        assert 'href="../notebooks/20_gain.html"' in text
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
    assert [p.name for p in page.parent.glob("*.html")] == ["20_gain.html"]
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
    text = site.build("tiny").read_text()
    assert "1 of 4 runs are done" in text
    assert "2026-01-02 03:04" in text


def test_the_first_page_says_what_a_row_cost(study):
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
    text = site.build("tiny").read_text()
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
    assert "a test." in site.build("tiny").read_text()


def test_provenance_joins_equal_environments_and_warns_of_different_ones(study):
    for variant, commit in (("em", "aaa"), ("ic", "aaa"), ("mote", "bbb")):
        put(study / f"runs/tiny/{variant}/seed0/env.json", {"commit": commit, "python": "3.11"})
        put(study / f"runs/tiny/{variant}/seed0/done.json", {"finished": f"2026-01-0{len(variant)}"})
    assert [o["runs"] for o in status.origins("tiny")] == [["em/seed0", "ic/seed0"], ["mote/seed0"]]
    assert "do not share one environment" in site.build("tiny").read_text()


def test_the_data_are_listed_with_counts_and_licences(study):
    row = {"name": "set_a", "part": "train", "format": "pairs", "task": "retrieval", "rows": {"rows": 1200}}
    row |= {"sha256": "c" * 64, "origin": "somewhere 1.0", "licence": "MIT", "group": "", "notes": {}}
    put(study / "runs/tiny/data/manifest.json", {"source": "local", "seed": 0, "sha256": "d" * 64, "datasets": [row]})
    text = site.build("tiny").read_text()
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
    text = site.build("tiny").read_text()
    table = text[text.index('aria-label="Claims"') :]
    first, second = re.findall(r'<tr><th scope="row">Claim .*?</tr>', table, re.S)
    assert "● reproduced" in first
    assert "on these datasets" in first
    assert "explained by the rate; not after Holm" in first
    assert "+1.50 [+0.50, +2.50]" in first
    assert "[−1.50, +4.50]" in first
    assert "3\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}22" in first
    assert "+0.88" in first
    assert "0.90" in first
    assert "○ open" in second
    assert "below the minimum detectable effect: 1.3" in second
    assert 'href="notebooks/20_gain.html"' in second
    assert "3 claims and questions" in text
    assert "Not measured by this preset, and without a row: 1." in text
    assert re.search(r"<strong>1</strong>&nbsp;reproduced on these datasets,\s+<strong>1</strong>&nbsp;open", text)
    assert "«below the minimum detectable effect»&nbsp;(1)" in text
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
    text = site.build("tiny").read_text()
    for html in (text, page.read_text()):
        assert "A test of the machinery" in html
        assert "say nothing about any method" in html
    assert "reproduced</span>" not in text
    assert "<strong>3</strong>&nbsp;not judged" in text


def test_no_claims_are_said(study):
    assert "There are no claims" in site.build("tiny").read_text()


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
