"""Recall@1 on held-out training pairs over pairs seen, learning rate and batch size: LOG.md, entry 16.

    python -m experiments.training_size DATA OUTPUT.jsonl --pairs 4096 --rates 3e-5 1e-4 3e-4 --batches 32 64 128

Every cell is a training of its own, with its own schedule, of EM and IC for two seeds that the study does not use. A
line of the output is written when its training has ended; a second call trains what is missing. `--part 0/2` and
`--part 1/2` share the cells between two processes.
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import torch

from study.presets import load_preset, resolve
from tsembed.data.manifest import load_table, read_manifest, training_tasks
from tsembed.encoder.build import build
from tsembed.evaluation.recall import held_out_scores
from tsembed.training.loop import train

KEY = ("variant", "supervision", "seed", "batch_size", "learning_rate", "pairs")


def main() -> None:
    """Train the missing cells of the grid and write a line about each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="prepared data of the preset `local`")
    parser.add_argument("output", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", required=True, help="seen in training")
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=["em", "ic"])
    parser.add_argument("--supervision", nargs="+", default=["pairs"], choices=["pairs", "labels", "both"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101], help="none of the study's own")
    parser.add_argument("--part", default="0/1", help="K/N: every N-th cell from the K-th")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    torch.set_num_threads(max(1, torch.get_num_threads() // parts))
    preset = load_preset("local", "unused")
    axes = (options.pairs, options.supervision, options.batches, options.rates, options.seeds, options.variants)
    for number, (pairs, supervision, batch_size, rate, seed, variant) in enumerate(product(*axes)):
        cell = dict(zip(KEY, (variant, supervision, seed, batch_size, rate, pairs), strict=True))
        if number % parts == part and cell not in _finished(options.output):
            row = cell | _measured(preset, options.data, **cell)
            with options.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def _finished(output: Path) -> list[dict]:
    lines = output.read_text().splitlines() if output.is_file() else []
    return [{key: row[key] for key in KEY} for row in map(json.loads, lines)]


def _measured(preset, data: Path, *, variant, supervision, seed, batch_size, learning_rate, pairs) -> dict:
    settings = resolve(preset, variant, seed)
    row = settings.variant.model_copy(update={"supervision": supervision})
    steps = pairs // batch_size
    changes = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "precision": "fp32"}
    training = settings.training.model_copy(update=changes | {"warmup_steps": max(4, steps // 10)})
    manifest = read_manifest(data)
    trained = training_tasks(manifest, "train", row)
    # Whatever it was trained on: the rule compares kinds of training data on natural pairs.
    held_out = training_tasks(manifest, "validation", row.model_copy(update={"supervision": "pairs"}))
    tables = {name: load_table(data, "train", name) for name in trained}
    encoder = build(settings.backbone, row, seed=seed)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(encoder, tables, trained, Path(folder), training=training, variant=row, seed=seed)
    seconds = time.perf_counter() - begin
    validation = {name: load_table(data, "validation", name) for name in held_out}
    scores = held_out_scores(encoder, validation, held_out, max_tokens=training.max_document_tokens, precision="fp32")
    return {"steps": steps, "seconds": round(seconds, 1), "scores": {s["dataset"]: s["score"] for s in scores}}


if __name__ == "__main__":
    main()
