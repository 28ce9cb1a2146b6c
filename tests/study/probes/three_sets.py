"""Three small sets of two tasks, and encoders with an adapter for them."""

import torch
from datasets import Dataset

from tests.tiny_images import BACKBONE, mosaic
from tsembed.encoder.build import build
from tsembed.settings import Variant
from tsembed.tasks import IMAGE_TASKS

TASKS = {"a": IMAGE_TASKS[0], "b": IMAGE_TASKS[0], "c": IMAGE_TASKS[3]}


def tables(rows=8):
    """Three sets: two of one task. Queries ask in words and show a picture; documents are words."""
    asked = {"a": "which number is it", "b": "what colour has it", "c": "where is the one above"}
    group = list(range(rows))
    return {
        name: Dataset.from_dict(
            {
                "query": [f"{question} <image>"] * rows,
                "query_image": [mosaic(i + 8 * k) for i in range(rows)],
                "document": [f"number {k} {i}" for i in range(rows)],
                "document_image": [None] * rows,
                "group": group,
            }
        )
        for k, (name, question) in enumerate(asked.items())
    }


def encoder_of(base, adapter, **variant):
    chosen = Variant(label="V", starts_from="base", tasks=IMAGE_TASKS, adapter=adapter, **variant)
    return build(BACKBONE, chosen, seed=3, start=base).eval()


def train_a_little(encoder, scale=1.0):
    """Other weights than at the start, as after training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if "moe_lora_" in name:
                p += scale * torch.randn(p.shape, generator=generator)
