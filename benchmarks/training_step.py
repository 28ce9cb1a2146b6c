"""A training step against SentenceTransformerTrainer: `python -m benchmarks.training_step [--steps N] [--rounds N]`.

Both train all-MiniLM-L6-v2 in fp32 with AdamW and InfoNCE (there MultipleNegativesRankingLoss) on the same pairs of
mixed lengths in batches of the same size. Ours pads within chunks of similar length, the peer within the batch.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset

from tsembed.encoder.backbones import embedded_folder
from tsembed.encoder.build import build
from tsembed.settings import Backbone, Training, Variant
from tsembed.training.loop import train

from . import mfu
from .encoding import MINILM, texts
from .timing import compare, line, machine

BATCH, MAX_TOKENS, TEMPERATURE = 32, 128, 0.05


class Step(NamedTuple):
    """What the steps of a training took."""

    seconds: float
    tokens: float  # of all of them, without padding
    weights: int  # that a token passes


def ours(pairs: Dataset, steps: int) -> Step:
    """The steps of ours, without loading and set-up."""
    backbone = Backbone(name=MINILM, dropout=0.0)
    training = Training(
        steps=steps,
        batch_size=BATCH,
        learning_rate=1e-5,
        warmup_steps=0,
        max_query_tokens=MAX_TOKENS,
        max_document_tokens=MAX_TOKENS,
        precision="fp32",
        checkpoint_every=10**6,
    )
    variant = Variant(label="EM", instruction=False, tasks=("retrieval",), temperature=TEMPERATURE)
    with tempfile.TemporaryDirectory() as folder:
        tables, tasks = {"pairs": pairs}, {"pairs": "retrieval"}
        encoder = build(backbone, variant)
        train(encoder, tables, tasks, Path(folder), training=training, variant=variant)
        rows = [json.loads(row) for row in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    taken = [BATCH / row["examples_per_s"] for row in rows[1:]]
    tokens = sum(seconds * row["tokens_per_s"] for seconds, row in zip(taken, rows[1:], strict=True))
    return Step(sum(taken), tokens, mfu.weights(encoder.backbone)["trained"])


def peer(pairs: Dataset, steps: int, device: str) -> float:
    """The same through sentence-transformers."""
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        ends: list[float] = []

        def on_step_end(self, *_, **__):
            self.ends.append(time.perf_counter())

    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = SentenceTransformer(embedded_folder(MINILM), device=device, config_kwargs=off)
    model.max_seq_length = MAX_TOKENS
    clock = Clock()
    clock.ends = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-5,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=device == "cpu",
        )
        loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
        SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=pairs.remove_columns("group"), loss=loss, callbacks=[clock]
        ).train()
    return clock.ends[-1] - clock.ends[0]


def main() -> None:
    """Print the time of a training step of both loops, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    mfu.add_option(parser)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"  # where the loop trains, too
    peak = mfu.peak(device, measure=options.measure_peak)
    rng = np.random.default_rng(2)
    rows = BATCH * options.steps
    queries = np.clip(rng.lognormal(2.5, 0.4, rows), 4, 32).astype(int)
    documents = np.clip(rng.lognormal(3.6, 0.7, rows), 6, MAX_TOKENS).astype(int)
    pairs = Dataset.from_dict({"query": texts(queries), "document": texts(documents), "group": list(range(rows))})
    print(machine())
    print(f"{device}, fp32, no dropout, {BATCH} pairs a step, {options.steps - 1} steps a round, AdamW, clip 1.0")
    for name, lengths in (("query", queries), ("document", documents)):
        print(f"{name} tokens: quartiles {np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1]).astype(int).tolist()}")
    steps: list[Step] = []

    def train_ours() -> float:
        steps.append(ours(pairs, options.steps))
        return steps[-1].seconds

    found = compare(train_ours, lambda: peer(pairs, options.steps, device), options.rounds)
    print(line("training step, mixed lengths", found, 1.4))
    done = mfu.operations(steps[-1].tokens, trained=steps[-1].weights)
    print(mfu.shown("training step, ours", done, found["ours"], peak))


if __name__ == "__main__":
    main()
