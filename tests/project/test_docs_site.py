"""The documentation builds without a warning, has a page per module of the library, and needs no network to be read."""

import re
import subprocess
import sys

import pytest

from study import paths

pytestmark = pytest.mark.slow
PACKAGE = paths.ROOT / "tsembed"
LOADS = re.compile(r'<(?:script|img|iframe)[^>]*\bsrc="(?:https?:)?//|<link[^>]*\brel="stylesheet"[^>]*\bhref="https?:')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_module_has_a_page_with_its_public_names(site):
    pages = {path.stem for path in (site / "reference").glob("*.html")}
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(paths.ROOT).with_suffix("").parts
        if path.read_text().strip():
            modules.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert len(modules) > 30
    assert pages == modules
    text = (site / "reference" / "tsembed.contrastive.losses.html").read_text()
    assert "info_nce" in text
    assert "temperature" in text
    assert "van den Oord" in text


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if LOADS.search(page.read_text())] == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_open_in_a_browser_without_a_network(site, browser, width):
    pages = ["index.html", "sentence_transformers.html", "reference/tsembed.mote.experts.html"]
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    try:
        page, faults = context.new_page(), []
        page.on("requestfailed", lambda request: faults.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in pages:
            page.goto((site / name).as_uri())
            assert page.locator("h1").first.is_visible(), name
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            page.get_by_role("link").first.wait_for(state="attached")
        assert faults == []
    finally:
        context.close()
