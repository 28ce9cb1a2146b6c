"""Recall@1 on held-out training pairs for every learning rate and number of steps, on EM and IC alone.

    python -m benchmarks.choose_learning_rate cpu --rates 3e-5 1e-4 3e-4 --steps 96

The rule: the setting with the highest mean over tasks (of the mean over datasets), averaged over EM and IC.
Neither MoTE nor an evaluation set is looked at.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

from tsembed import paths
from tsembed.config import load_preset, resolve
from tsembed.data.sources import load, manifest
from tsembed.encoder import build
from tsembed.evaluation.held_out import held_out_scores
from tsembed.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its data must be prepared, with validation_rows > 0")
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=["em", "ic"])
    parser.add_argument("--seed", type=int, default=100, help="none of the study's own")
    options = parser.parse_args()
    data = paths.data_dir(options.preset)
    tables, tasks = {}, {}
    for part in ("train", "validation"):
        listed = [d for d in manifest(data)["datasets"] if d["part"] == part]
        tables[part] = {d["name"]: load(data, part, d["name"]) for d in listed}
        tasks |= {d["name"]: d["task"] for d in listed}
    rows = []
    for variant in options.variants:
        settings = resolve(load_preset(options.preset), variant, options.seed)
        encode = {"max_tokens": settings.training.max_document_tokens, "precision": settings.training.precision}
        for steps in [0, *options.steps]:
            for rate in options.rates if steps else [0.0]:
                begin = time.perf_counter()
                encoder = build(settings.backbone, settings.variant)
                if steps:
                    training = settings.training.model_copy(update={"learning_rate": rate, "steps": steps})
                    with tempfile.TemporaryDirectory() as folder:
                        chosen = settings.model_copy(update={"training": training})
                        train(chosen, encoder, tables["train"], tasks, Path(folder))
                scores = pd.DataFrame(held_out_scores(encoder, tables["validation"], tasks, **encode))
                means = scores.groupby("task").score.mean()
                rows.append({"variant": variant, "steps": steps, "rate": rate, **means, "mean": means.mean()})
                seconds = time.perf_counter() - begin
                print({k: round(v, 6) if isinstance(v, float) else v for k, v in rows[-1].items()}, f"{seconds:.0f} s")
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    print(table[table.steps > 0].groupby(["steps", "rate"])["mean"].mean().round(2).to_string())


if __name__ == "__main__":
    main()
