"""Training TSEmbed on a Qwen2-VL with *random* weights: throughput, memory, share of the peak.

    python -m benchmarks.multimodal 2b --batch 256 --cached 16        (a GPU with 40 GiB or more)
    python -m benchmarks.multimodal tiny --batch 8                    (any processor)

Time and memory do not depend on the weights' values. A query is a picture and some words, a document is words. The MFU
is that of mfu.py, a weight of the frozen tower counting as one that only embeds.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from tsembed.encoder.adapters import adapt
from tsembed.encoder.build import make
from tsembed.encoder.tiny_qwen import random_parts
from tsembed.inputs import encode_png
from tsembed.settings import Adapter, Backbone, Negatives, Training, Variant
from tsembed.tasks import IMAGE_ROUTES
from tsembed.training.loop import train

from . import mfu
from .timing import machine

WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()
TASK = "image_retrieval"
WARM = 3  # first steps, not counted
BACKBONES = {
    "tiny": Backbone(name="random:qwen2-vl", pooling="last", patch_size=4, num_layers=2),
    "2b": Backbone(name="random:qwen2-vl-2b", pooling="last", max_pixels=401408),
}


def pairs(number: int, side: int):
    """Pairs of a random picture of `side` pixels with some words, and some other words."""
    from datasets import Dataset

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 24)) for _ in range(2 * number)]
    pictures = [encode_png(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(number)]
    return Dataset.from_dict(
        {
            "query": texts[:number],
            "query_image": pictures,
            "document": texts[number:],
            "document_image": [None] * number,
            "group": list(range(number)),
        }
    )


def measure(
    size: str, steps: int, batch: int, cached: int | None, measure_peak: bool = False
) -> dict[str, float | str | None]:
    """Train and read the log; all numbers are of the steps after the first ones, the second stage included."""
    cuda = torch.cuda.is_available()
    backbone = BACKBONES[size]
    parts = random_parts(backbone, WORDS, seed=0)
    if size == "2b":
        parts.model.bfloat16()
    tower = sum(p.numel() for p in parts.model.visual.parameters())
    table = parts.model.get_input_embeddings().weight.numel()
    frozen = sum(p.numel() for p in parts.model.parameters()) - tower - table
    encoder = make(parts._replace(model=adapt(parts.model, Adapter(), seed=0)), pooling="last", routes=IMAGE_ROUTES)
    adapters = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    stages = Negatives(first_stage=0.5)
    variant = Variant(label="TSEmbed", starts_from="base", tasks=(TASK,), adapter=Adapter(), negatives=stages)
    training = Training(
        steps=steps,
        batch_size=batch,
        grad_cache_chunk_size=cached,
        learning_rate=1e-4,
        warmup_steps=1,
        precision="auto",
        gradient_checkpointing=size == "2b",
        task_sampling="balanced",
        checkpoint_every=10**6,
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = {"random": pairs(batch, 448 if size == "2b" else 32)}
        train(encoder, tables, {"random": TASK}, Path(folder), training=training, variant=variant)
        rows = [json.loads(row) for row in (Path(folder) / "metrics.jsonl").read_text().splitlines()][WARM:]
    per_s, tokens = (float(np.median([row[name] for row in rows])) for name in ("examples_per_s", "tokens_per_s"))
    patches = per_s * (1024 if size == "2b" else 64)  # of 14 and 4 pixels; the tower sees four per token
    done = mfu.operations(tokens, frozen=frozen, trained=adapters) + mfu.operations(patches, embedding=tower)
    name = torch.cuda.get_device_name() if cuda else "cpu"
    peak = mfu.peak("cuda" if cuda else "cpu", measure=measure_peak)
    return {
        "size": size,
        "device": name,
        "weights": "random",
        "parameters": frozen + tower + table,
        "adapters": adapters,
        "pairs_per_s": per_s,
        "tokens_per_s": tokens,
        "mfu": mfu.share(done, 1.0, peak),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
    }


def main() -> None:
    """Print time, share of the peak and memory of a training step on pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=list(BACKBONES))
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--cached", type=int, default=None, help="pairs per forward pass of the gradient cache")
    mfu.add_option(parser)
    options = parser.parse_args()
    print(machine())
    for key, value in measure(**vars(options)).items():
        print(f"{key:14s} {value}")


if __name__ == "__main__":
    main()
