"""The site in a browser, at desktop and phone width.

Invariants: no console error, no request but for files, every link and anchor leads somewhere, the code toggle works
and is remembered, no page is wider than the window.
"""

import functools
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

from study.report import notebook, site

from . import samples

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
TABLE = """
wide = pd.DataFrame([["row", *(tables.gain(i / 7) for i in range(30))]], columns=["Task", *map(str, range(30))])
tables.save(wide, "headline", preset=preset, caption="A wide table with a caption that is longer than a phone is wide")
"""
CLAIM = (
    "  - {{id: {0}, text: Claim {0}, place: Table 2, source: mote, notebook: 20_gain, quantity: score, method: mote, "
    "baseline: ic, over: [STS], claimed: less}}\n"
)
CLAIMED = {
    "references/claims.yaml": "rule: r\nclaims:\n" + "".join(map(CLAIM.format, "abc")),
    "references/mote.yaml": "tables: {table2: {unit: {}, rows: {}}}\n",
    "reports/tiny/tables/claims_gain.csv": "id,difference,low,high,low_beyond,high_beyond,verdict,scope,reason\n"
    "a,-1,-2,-0.5,-2.5,-0.2,reproduced,beyond them,\nb,1,0.5,2,-1,3,contradicted,these sets,\n",
    "reports/tiny/tables/claims_gain.tex": "claims",
}
LINES = "print('\\n'.join('a long line ' * 30 for _ in range(50)))\nwide"
MATH = "## Method\n\n$$\\mathcal{L} = -\\log\\frac{e^{s_{p}/\\tau}}{e^{s_p/\\tau} + \\sum_{j \\neq p} e^{s_j/\\tau}}$$"


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """A built site of one analysis and one run; its folder."""
    root = tmp_path_factory.mktemp("study")
    write = functools.partial(samples.write_notebook, root / "notebooks")
    with pytest.MonkeyPatch.context() as patch:
        samples.use_folder(patch, root)
        analysis = write("20_gain", FIGURE, TABLE, LINES, (MATH,), title="# What does it gain?")
        notebook.execute(analysis, root / "reports/tiny/notebooks/20_gain.ipynb", {"preset": "tiny"})
        run = write("10_train", "print('step 1')", title="# One run")
        notebook.execute(run, root / "runs/tiny/mote/seed0/10_train.ipynb", {"preset": "tiny"})
        for place, content in CLAIMED.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(content)
        return site.build("tiny").parent


def test_every_page_works_offline_at_both_widths(report, browser):
    pages = sorted(report.rglob("*.html"))
    pages = [p for p in pages if p.parent.name != "tables"]
    assert [p.name for p in pages] == ["index.html", "20_gain.html", "mote-seed0.html"]
    faults, links = [], set()
    for width, height in ((1280, 800), (390, 844)):
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
            if unnamed := page.locator("img:not([alt]), img[alt='']").count():
                faults.append(f"{path.name}: {unnamed} pictures without a text")
            if broken := page.evaluate("[...document.images].filter(i => !i.naturalWidth).length"):
                faults.append(f"{path.name}: {broken} pictures do not load")
            links |= set(page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)"))
            page.close()
        context.close()
    assert faults == []
    assert {Path(urlparse(link).path).suffix for link in links} == {".html", ".pdf", ".png", ".csv", ".tex"}
    assert [link for link in links if not _leads_somewhere(link)] == []


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
    verdicts = [f".verdict.{word}" for word in ("reproduced", "contradicted")]
    for selector in (
        "body",
        "a[href^='notebooks']",
        "figcaption",
        "caption",
        ".bar nav a:not([aria-current])",
        *verdicts,
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
