"""A training that `accelerate launch` starts, for tests of configs/accelerate.

    accelerate launch --config_file … -m tests.launched FOLDER PART[,PART…] ROW…

The parts are whole, cut and resumed. Each row is trained in FOLDER/PART/ROW/run and saved in FOLDER/PART/ROW/model;
`cut` stops after a checkpoint and saves nothing, and `resumed` goes on from there, in FOLDER/cut.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from tests.tiny import tiny
from tsembed.encoder.adapters import adapt
from tsembed.encoder.text import Encoder
from tsembed.mote.experts import upcycle
from tsembed.mote.token_routing import route_tokens
from tsembed.settings import Adapter, TokenRouting, Training, Variant
from tsembed.tasks import INSTRUCTIONS, ROUTES
from tsembed.training import processes
from tsembed.training.loop import train

TASKS = {"c": "classification", "r": "retrieval"}
STEPS = 6
ROWS = {
    "ic": Variant(label="IC", tasks=tuple(TASKS.values())),
    "ic_bf16": Variant(label="IC", tasks=tuple(TASKS.values())),
    "mote": Variant(label="MoTE", experts={route: route for route in ROUTES}, tasks=tuple(TASKS.values())),
    "tlr": Variant(label="TLR", token_routing=TokenRouting(), tasks=tuple(TASKS.values())),
    "moe_lora": Variant(label="MoE-LoRA", adapter=Adapter(kind="moe_lora"), tasks=tuple(TASKS.values())),
}
WORDS = "amber birch cedar delta ember fjord grove heath inlet joint kelp lunar maple north ocean pearl".split()


def settings(row: str) -> Training:
    """Two micro-batches a step, and two pieces of the gradient cache in each, on each of two processes."""
    return Training(
        steps=STEPS,
        batch_size=16,
        micro_batch_size=8,
        grad_cache_chunk_size=2,
        learning_rate=1e-3,
        weight_decay=0.1,
        warmup_steps=1,
        max_grad_norm=0.1,  # below the norms that there are, so that clipping is felt
        max_query_tokens=32,
        max_document_tokens=96,
        precision="bf16" if row == "ic_bf16" else "fp32",
        gradient_checkpointing=row == "ic",
        task_sampling="balanced",
        checkpoint_every=3,
    )


def encoder_of(row: str) -> Encoder:
    """The untrained encoder, the same in every process."""
    from transformers import AutoTokenizer

    from tsembed.encoder.backbones import embedded_folder

    name = "embedded:all-MiniLM-L6-v2"
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(name))
    model, variant = tiny("bert"), ROWS[row]
    base = None
    if variant.experts:
        model = upcycle(model, variant.experts)
    elif variant.token_routing:
        model = route_tokens(model)
    elif variant.adapter:
        model, base = adapt(model, variant.adapter, seed=0), {"backbone": {"name": name}}
    return Encoder(model, tokenizer, instructions=dict(INSTRUCTIONS), base=base).eval()


def tables(pairs: int = 64) -> dict[str, Dataset]:
    """Pairs of random words; every fourth document is so long that it is a chunk of its own, on one rank or both."""
    found = {}
    for seed, name in enumerate(TASKS):
        rng = np.random.default_rng(seed)
        texts = [[" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(pairs)] for _ in range(2)]
        texts[1][::4] = [" ".join(rng.choice(WORDS, 90)) for _ in texts[1][::4]]
        found[name] = Dataset.from_dict({"query": texts[0], "document": texts[1], "group": range(pairs)})
    return found


def run(folder: Path, part: str, row: str) -> Encoder:
    """Train a row, or the part of it that is asked for."""
    encoder = encoder_of(row)
    stop = 4 if part == "cut" else None
    chosen = {"training": settings(row), "variant": ROWS[row], "resume": part == "resumed", "stop_after": stop}
    assert train(encoder, tables(), TASKS, folder / row / "run", **chosen) == (part != "cut")
    return encoder


def main(folder: str, parts: str, *rows: str) -> None:
    """Train and save the parts of the rows."""
    torch.set_num_threads(1)
    state = processes.join()
    prepare = processes.prepare

    def shown(*arguments):
        prepared = prepare(*arguments)
        print("model", type(prepared.model).__name__, flush=True)
        return prepared

    processes.prepare = shown  # the loop looks it up there
    for part in parts.split(","):
        place = Path(folder) / ("cut" if part == "resumed" else part)
        for row in rows:
            encoder = run(place, part, row)
            if state.is_main_process and part != "cut":
                encoder.save(place / row / "model")
            state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
