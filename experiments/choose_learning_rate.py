"""Recall@1 on held-out training pairs for every learning rate and number of steps, on the baselines alone.

    python -m experiments.choose_learning_rate cpu --rates 3e-5 1e-4 3e-4 --steps 96
    python -m experiments.choose_learning_rate cpu --variants vl_lora vl_lora_wide --rates 3e-4 1e-3 3e-3 --steps 48

The rule: the setting with the highest mean over tasks (of the mean over datasets), averaged over the variants (EM and
IC by default). Neither MoTE, nor MoE-LoRA, nor an evaluation set is looked at. A variant that starts from another's
weights takes those of seed 0.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

from study import paths
from study.data.manifest import load_table, read_manifest, training_tasks
from study.presets import load_preset, resolve
from study.runs.launch import data_folder
from tsembed.encoder.build import build
from tsembed.evaluation.recall import held_out_scores
from tsembed.training.loop import train


def main() -> None:
    """Train every variant at every rate for every number of steps, and print recall@1 on held-out pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its data must be prepared, with validation_rows > 0")
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=["em", "ic"])
    parser.add_argument("--seed", type=int, default=100, help="none of the study's own")
    options = parser.parse_args()
    rows = []
    for variant in options.variants:
        data = data_folder(options.preset, variant)
        settings = resolve(load_preset(options.preset), variant, options.seed)
        manifest, tables, tasks = read_manifest(data), {}, {}
        for part in ("train", "validation"):
            chosen = training_tasks(manifest, part, settings.variant)
            tables[part] = {name: load_table(data, part, name) for name in chosen}
            tasks |= chosen
        other = settings.variant.starts_from
        start = paths.run_dir(options.preset, other, 0) / "model" if other else None
        encode = {"max_tokens": settings.training.max_document_tokens, "precision": settings.training.precision}
        for steps in [0, *options.steps]:
            for rate in options.rates if steps else [0.0]:
                begin = time.perf_counter()
                encoder = build(settings.backbone, settings.variant, seed=options.seed, start=start)
                if steps:
                    training = settings.training.model_copy(update={"learning_rate": rate, "steps": steps})
                    with tempfile.TemporaryDirectory() as folder:
                        chosen = {"training": training, "variant": settings.variant, "seed": settings.seed}
                        train(encoder, tables["train"], tasks, Path(folder), **chosen)
                scores = pd.DataFrame(held_out_scores(encoder, tables["validation"], tasks, **encode))
                means = scores.groupby("task").score.mean()
                rows.append({"variant": variant, "steps": steps, "rate": rate, **means, "mean": means.mean()})
                seconds = time.perf_counter() - begin
                print({k: round(v, 6) if isinstance(v, float) else v for k, v in rows[-1].items()}, f"{seconds:.0f} s")
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.4g}".format))
    print(table[table.steps > 0].groupby(["steps", "rate"])["mean"].mean().round(2).to_string())


if __name__ == "__main__":
    main()
