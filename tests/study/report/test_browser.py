"""The site in a browser, at desktop and phone width.

Invariants: no console error, no request but for files, every link and anchor leads somewhere, the code toggle works
and is remembered, no page is wider than the window; the first page is at most three screens high and answers with the
numbers of the result files; where one is can be seen, and no link of the navigation is out of sight; a text of the
data is never code.
"""

import functools
import shutil
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pandas as pd
import pytest

from study import paths
from study.report import notebook, site
from study.report.pages import answer_boxes

from . import samples
from .text_runs import write_text_study

pytestmark = pytest.mark.browser
FIGURE = """
import pandas as pd
from study.report import style
from study.report.figures import similarity
from study.report.tables import write as tables
data = pd.DataFrame({"method": ["ic", "mote"], "mean": [0.8, 0.6], "low": [0.7, 0.5], "high": [0.9, 0.7]})
drawn = similarity.mean_similarity(data, seeds="2 seeds", interval="95 % bootstrap")
style.save(drawn, "similarity", data, preset=preset, caption="Mean similarity; 2 seeds")
"""
HOSTILE = "<script>document.title = 'taken'</script>"
TABLE = f"""
named = pd.DataFrame([[{HOSTILE!r}, "1"], ["b", "2"]], columns=["Dataset", "Score"])
from IPython.display import HTML, Markdown, display
display(tables.save(named, "named", preset=preset, caption="A name that is code"))
display(Markdown("A dataset: " + {HOSTILE!r}))
display(HTML("<img src=x.png alt=none onerror=\\"document.title='taken'\\" hidden>"))
"""
WIDE = """
wide = pd.DataFrame([["row", *(tables.gain(i / 7) for i in range(30))]], columns=["Task", *map(str, range(30))])
tables.save(wide, "headline", preset=preset, caption="A wide table with a caption that is longer than a phone is wide")
"""
COLUMNS = "id,difference,low,high,low_beyond,high_beyond,low_bootstrap,high_bootstrap,detectable,seeds,datasets"
JUDGED = f"""{COLUMNS},verdict,scope,reason
f1-mean,-0.0893,-0.1142,-0.0644,-0.1143,-0.0643,-0.11,-0.06,0.033,5,128,reproduced,beyond them,
all-mote,-0.413,-0.791,-0.034,-0.881,0.055,-0.7,0.1,0.53,5,46,contradicted,these sets,
t7-loss,0.405,-0.142,0.953,-0.26,1.07,-0.1,0.9,0.761,5,46,open,,below the minimum detectable effect: 0.76
ts-eans,1.2,,,,,-0.8,2.7,,1,25,open,,1 seed
"""
LINES = "print('\\n'.join('a long line ' * 30 for _ in range(50)))\nwide"
MATH = "## Method\n\n$$\\mathcal{L} = -\\log\\frac{e^{s_{p}/\\tau}}{e^{s_p/\\tau} + \\sum_{j \\neq p} e^{s_j/\\tau}}$$"


NOTEBOOKS, CONFIGS, REFERENCES = paths.NOTEBOOKS, paths.CONFIGS, paths.REFERENCES
SIZES = ((1280, 800), (390, 844))


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """A built site: runs of the text methods, one analysis of two, one run, claims; its folder."""
    root = tmp_path_factory.mktemp("study")
    write = functools.partial(samples.write_notebook, root / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        samples.use_folder(patch, root)
        shutil.copytree(REFERENCES, root / "references")
        write_text_study(root, configs=CONFIGS)
        shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns("*checkpoints*"))
        analysis = write("20_gain", FIGURE, TABLE, WIDE, LINES, (MATH,), ("## Data",), ("## End",), title="# A gain?")
        notebook.execute(analysis, root / "reports/tiny/notebooks/20_gain.ipynb", {"preset": "tiny"})
        run = write("10_train", "print('step 1')", title="# One run")
        notebook.execute(run, root / "runs/tiny/mote/seed0/10_train.ipynb", {"preset": "tiny"})
        (root / "reports/tiny/tables/claims_gain.csv").write_text(JUDGED)
        (root / "reports/tiny/tables/claims_gain.tex").write_text("claims")
        return site.build("tiny").parent


HEADERS_TOO_WIDE = """
[...document.querySelectorAll('thead th')].filter(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1;
}).map(cell => cell.textContent)
"""


def pages_of(report):
    """All pages, the short tables of the report apart."""
    return [page for page in sorted(report.rglob("*.html")) if page.parent.name != "tables"]


def test_every_page_works_offline_at_both_widths(report, browser):
    pages = pages_of(report)
    assert {"index.html", "claims.html", "runs.html", "20_gain.html", "mote-seed0.html"} <= {p.name for p in pages}
    faults, links = [], set()
    for width, height in SIZES:
        context = browser.new_context(viewport={"width": width, "height": height})
        for path in pages:
            page = context.new_page()
            page.on("console", lambda m, path=path: faults.append((path.name, m.text)) if m.type == "error" else None)
            page.on("pageerror", lambda e, path=path: faults.append((path.name, str(e))))
            page.on(
                "request", lambda r: faults.append(r.url) if urlparse(r.url).scheme not in ("file", "data") else None
            )
            page.goto(path.as_uri())
            if page.locator("#show-code").count():
                page.check("#show-code")
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide > 0:
                faults.append(f"{path.name} is {wide} px too wide at {width} px")
            if cut := page.evaluate(HEADERS_TOO_WIDE):
                faults.append(f"{path.name}: headers leave their cells at {width} px: {cut}")
            if unnamed := page.locator("img:not([alt]), img[alt='']").count():
                faults.append(f"{path.name}: {unnamed} pictures without a text")
            if broken := page.evaluate("[...document.images].filter(i => !i.naturalWidth && !i.hidden).length"):
                faults.append(f"{path.name}: {broken} pictures do not load")
            links |= set(page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)"))
            page.close()
        context.close()
    assert [fault for fault in faults if "ERR_FILE_NOT_FOUND" not in str(fault)] == []  # of the picture that is hostile
    assert {Path(urlparse(link).path).suffix for link in links} == {".html", ".pdf", ".png", ".csv", ".tex"}
    assert [link for link in links if not _leads_somewhere(link)] == []


def test_the_first_page_is_three_screens_at_most_and_answers_with_the_numbers_of_the_files(report, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((report / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollHeight") <= 3 * 800
    rows = pd.read_csv(report / "tables/claims_gain.csv").set_index("id")
    for name, claim, word in (
        ("separate", "f1-mean", "Yes."),
        ("scores", "all-mote", "No, on these datasets."),
        ("averaging", "t7-loss", "Undecided."),
        ("tsembed", "ts-eans", "Undecided."),
    ):
        box, row = page.locator(f"#answer-{name}"), rows.loc[claim]
        ends = (row.low, row.high) if row.seeds > 1 else (row.low_bootstrap, row.high_bootstrap)
        unit = "cosine" if claim == "f1-mean" else "points"
        numbers = [answer_boxes.signed(value, unit, *ends) for value in (row.difference, *ends)]
        for number, value in zip(numbers, (row.difference, *ends), strict=True):
            assert float(number.replace("−", "-")) == pytest.approx(value, abs=0.0501)
        text = box.inner_text()
        assert box.locator(".word").inner_text() == word
        assert numbers[0] in text, (name, text)
        assert f"[{numbers[1]}, {numbers[2]}]" in text, (name, text)
        assert box.locator("dt", has_text="Paper").count() == 1
    assert "+0.79 points" in page.locator("#answer-scores").inner_text()
    for panel in page.locator(".panels img").all():
        assert panel.bounding_box()["width"] > 300
    assert page.locator(".panels img").count() == 3
    assert page.locator(".first p").inner_text().startswith("Against the untrained backbone, training changed the mean")
    page.close()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_one_sees_where_one_is_and_no_link_is_out_of_sight(report, browser, width, height):
    page = browser.new_page(viewport={"width": width, "height": height})
    faults = []
    for path in pages_of(report):
        page.goto(path.as_uri())
        for bar in page.locator(".groups, .pages").all():
            marked = bar.locator("[aria-current]")
            if marked.count() != 1:
                faults.append(f"{path.name}: {marked.count()} links are marked")
            for link in bar.locator("a").all():
                box = link.bounding_box()
                if not (0 <= box["x"] and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height):
                    faults.append(f"{path.name}: {link.inner_text()} is out of view")
        if path.name != "mote-seed0.html" and not page.locator(".turn a").count():
            faults.append(f"{path.name} leads nowhere")
    assert faults == []
    page.goto((report / "notebooks/20_gain.html").as_uri())
    assert page.locator(".pages [aria-current]").inner_text() == "Gain"
    assert page.locator(".groups [aria-current]").inner_text() == "MoTE"
    assert page.locator(".contents nav").is_visible() == (width == 1280), "a list beside the text, or closed above it"
    page.close()


def test_a_table_that_goes_on_says_so_and_a_phone_shows_verdict_and_number_first(report, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((report / "claims.html").as_uri())
    boxes = page.locator(".table-box").all()
    scrolling = [box for box in boxes if box.evaluate("b => b.scrollWidth > b.clientWidth")]
    assert scrolling, "some table is wider than a phone"
    for box in scrolling:
        assert box.evaluate("b => getComputedStyle(b).backgroundImage").count("radial-gradient") == 2
    first = page.locator("table.claims tbody tr").first
    cell = first.locator("td").first.bounding_box()
    assert first.locator("td").first.inner_text()[0] in "●○✕"
    assert cell["x"] + cell["width"] <= 390, "the verdict stands beside the claim, in view"
    page.close()


def test_a_text_of_the_data_is_never_code(report, browser):
    page = browser.new_page()
    page.goto((report / "notebooks/20_gain.html").as_uri())
    assert page.title() == "A gain? · tsembed tiny"
    shown = page.locator(".notebook .output_wrapper").all_inner_texts()
    assert sum(HOSTILE in text for text in shown) == 1, "in the table, and in the prose"
    assert sum(text.count(HOSTILE) for text in shown) == 2
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=none onerror=\"window.ran = 1\">')")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None, "the policy lets no other script run"
    page.close()


def test_code_is_hidden_until_asked_for_and_the_choice_is_remembered(report, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto((report / "notebooks/20_gain.html").as_uri())
    code = page.locator(".notebook .input").first
    assert code.count() == 1
    assert not code.is_visible()
    page.check("#show-code")
    assert code.is_visible()
    page.goto((report / "runs/mote-seed0.html").as_uri())
    assert page.locator(".notebook .input").first.is_visible()
    page.uncheck("#show-code")
    page.reload()
    assert not page.locator(".notebook .input").first.is_visible()
    context.close()


def test_it_works_where_nothing_can_be_stored(report, browser):
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})")
    page.goto((report / "notebooks/20_gain.html").as_uri())
    page.check("#show-code")
    assert page.locator(".notebook .input").first.is_visible()
    assert errors == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(report, browser, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.goto((report / "index.html").as_uri())
    read = "s => { const e = document.querySelector(s); return getComputedStyle(e).color }"
    paper = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    for selector in (
        "body",
        "a[href^='notebooks']",
        "figcaption",
        ".scope",
        ".judged",
        ".word.holds",
        ".word.opposite",
        ".word.open",
        ".groups a:not([aria-current])",
    ):
        ink = _luminance(page.evaluate(read, selector))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector  # WCAG AA
    assert (paper < 0.5) == (scheme == "dark")
    page.close()


def _leads_somewhere(link: str) -> bool:
    address, anchor = urldefrag(link)
    path = Path(unquote(urlparse(address).path))
    return path.is_file() and (not anchor or f'id="{unquote(anchor)}"' in path.read_text())


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of "rgb(r, g, b)"."""
    parts = [int(v) / 255 for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
