"""00_explore in JupyterLab, in a browser: `./run_all.sh lab` in a copy of the checkout without any run.

- `lab` opens 00_explore; opening and closing a notebook changes neither its mark nor its bytes.
- A typed text changes the ranking; an image query has a right answer and four candidates.
- A training can be stopped, and then leaves nothing; one that ends is the model that is shown. No preset's run is made.

The preset `cpu`, whose settings a short training takes, is small here: two blocks of MiniLM and a dozen pairs per task.
"""

import json
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

from tests import checkout

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = 240_000  # milliseconds: kernels start slowly on a busy machine
SETTINGS = {  # all cells in the page, however long it is; no question about news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},
}
TAB = ".lm-TabBar-tab:has-text('{name}')"
IDLE = ".jp-StatusBar-TextItem:has-text('| Idle')"  # the circle over the notebook is idle before there is a kernel


def write_small_study(root):
    """Own pairs for each task of text, and the preset `cpu` on them."""
    rows = {
        "pairs/words": [{"anchor": f"question {i}", "positive": f"answer {i}"} for i in range(40)],
        "classification/numbers": [{"text": f"number {i}", "label": str(i % 2)} for i in range(40)],
        "clustering/letters": [{"text": f"letter {i}", "label": str(i % 2)} for i in range(40)],
    }
    for place, content in rows.items():
        path = root / "own" / place / "train.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    smoke = yaml.safe_load((root / "configs/presets/smoke.yaml").read_text())
    small = smoke | {
        "data": {"source": "local", "path": str(root / "own"), "validation_rows": 6},
        "experiments": {"captions": smoke["experiments"]["captions"]},
        "variants": {"em": 1, "ic": 1, "mote": 1},
    }
    (root / "configs/presets/cpu.yaml").write_text(yaml.safe_dump(small))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address with its token, and the root of the checkout that it serves."""
    root = checkout.make(tmp_path_factory.mktemp("lab"))
    for name in ("configs", "notebooks"):
        shutil.rmtree(root / name)
        shutil.copytree(checkout.ROOT / name, root / name, ignore=shutil.ignore_patterns("*checkpoints*"))
    write_small_study(root)
    for name, content in SETTINGS.items():
        path = root / f".cache/jupyter/config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    words = ["lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    log = (root / "lab.log").open("w")
    command = [root / "run_all.sh", *words, "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    server = subprocess.Popen(command, env=checkout.environment(), stdout=log, stderr=log, cwd=root)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api", server, root / "lab.log")
        yield f"http://127.0.0.1:{port}", token, root
    finally:
        server.terminate()
        server.wait(60)
        log.close()


def _wait_for(address, server, log):
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def page(lab, browser):
    """A page at 1280 px that is signed in, and is back at an empty workspace."""
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    opened = context.new_page()
    opened.set_default_timeout(LONG)
    yield opened
    context.close()


def test_lab_opens_00_explore_and_opening_a_notebook_changes_nothing(lab, page):
    address, token, root = lab
    before = {path.name: path.read_bytes() for path in (root / "notebooks").glob("*.ipynb")}
    page.goto(f"{address}/?token={token}")
    page.wait_for_url("**/lab/tree/notebooks/00_explore.ipynb*")
    for name in ("00_explore", "25_inter_task_similarity"):
        if name != "00_explore":
            page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
        page.wait_for_selector(IDLE)
        page.wait_for_timeout(3000)  # the kernel's own metadata come a moment after it is idle
        tab = page.locator(TAB.format(name=name))
        assert tab.count() == 1
        assert "jp-mod-dirty" not in tab.get_attribute("class")
        tab.locator(".lm-TabBar-tabCloseIcon").click()
        page.wait_for_timeout(1000)
        assert page.locator(".jp-Dialog").count() == 0, "nothing is asked"
        assert page.locator(TAB.format(name=name)).count() == 0
    assert before == {path.name: path.read_bytes() for path in (root / "notebooks").glob("*.ipynb")}


def test_a_typed_text_changes_the_ranking_and_a_training_the_model(lab, page):
    address, token, root = lab
    page.goto(f"{address}/lab/tree/notebooks/00_explore.ipynb?reset&token={token}")
    page.wait_for_selector(IDLE)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    ranking = page.locator(".explore-ranking")
    ranking.locator("table").wait_for()
    assert page.locator(".caution").first.inner_text().startswith("Caution: Not trained.")
    assert [cell.split("\n")[0] for cell in ranking.locator("thead th").all_inner_texts()[1:]] == [
        "classification",
        "clustering",
        "search_query",
        "search_document",
    ]
    before = ranking.inner_text()
    first = ranking.locator("tbody tr").first.locator("td")
    page.locator(".explore-text input").fill("how do I open a bank account")
    page.wait_for_function("old => document.querySelector('.explore-ranking').innerText !== old", arg=before)
    assert all("how to open an account" in text for text in first.all_inner_texts()[1:])
    page.locator(".explore-texts textarea").fill("a fish\nmy new bank account")
    page.wait_for_function("document.querySelectorAll('.explore-ranking tbody tr').length === 2")
    assert all("my new bank account" in text for text in first.all_inner_texts()[1:])

    shown = page.locator(".explore-images")
    shown.locator(".candidate").first.wait_for()
    assert shown.locator(".candidate").count() == 5
    assert shown.locator(".candidate", has_text="✓ right answer").count() == 1
    query = shown.inner_html()
    page.locator(".explore-next").click()
    page.wait_for_function("old => document.querySelector('.explore-images').innerHTML !== old", arg=query)
    assert shown.locator(".candidate").count() == 5

    steps = page.locator("input[type=number]")
    train = page.get_by_role("button", name="Train one now")
    stop, status = page.get_by_role("button", name="Stop", exact=True), page.locator(".explore-training")
    steps.fill("5000")
    steps.press("Tab")
    train.click()
    page.locator(".explore-curve img").wait_for()
    page.locator(".explore-text input").fill("a fish")  # the kernel is free while it trains
    page.wait_for_function("document.querySelector('.explore-ranking tbody tr').innerText.includes('a fish')")
    stop.click()
    status.get_by_text("Stopped; nothing of it is kept.").wait_for()
    assert not list((root / "runs/explore").glob("mote/*"))
    steps.fill("6")
    steps.press("Tab")
    untrained = ranking.inner_text()
    train.click()
    status.get_by_text("Done after").wait_for()
    assert "untrained" in status.inner_text()
    page.wait_for_function("old => document.querySelector('.explore-ranking').innerText !== old", arg=untrained)
    assert "A short training. MoTE, short training 1 (6 steps)" in page.locator(".model").first.inner_text()
    assert (root / "runs/explore/mote/1/model/tsembed.json").is_file()
    made = {path.name for path in (root / "runs").iterdir()}
    assert made == {"explore"}, "no preset's run was touched"
