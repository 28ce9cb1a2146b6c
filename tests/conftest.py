"""Shapes in annotations are checked at every call under pytest; tiny backbones and a real tokenizer, all offline."""

import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook(["tsembed.contrastive", "tsembed.mote", "tsembed.encoder"], "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # tiny models: a second thread costs more than it gives, above all on a busy machine


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    """The real tokenizer of all-MiniLM-L6-v2, from the embedded weights."""
    from transformers import AutoTokenizer

    from tsembed.encoder.backbones import embedded_folder

    return AutoTokenizer.from_pretrained(embedded_folder("embedded:all-MiniLM-L6-v2"))


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory):
    """Where transformers copies the code that a model carries to, not the user's own cache.

    One folder for all tests, for Python imports the package inside it once.
    """
    from transformers import dynamic_module_utils

    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(folder)
        yield folder


CHROMIUM_ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless."""
    executable = os.environ.get("TSEMBED_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        reason = "no Chromium: install it, or name it in TSEMBED_CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()
