"""Shapes in annotations are checked at every call under pytest; tiny backbones and a real tokenizer, all offline."""

import os

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
