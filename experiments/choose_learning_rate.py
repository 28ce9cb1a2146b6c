"""Recall@1 on held-out training pairs for every learning rate, number of steps, and value of one setting of an adapter.

    python -m experiments.choose_learning_rate cpu --rates 3e-5 1e-4 3e-4 --steps 96
    python -m experiments.choose_learning_rate cpu --variants vl_lora vl_lora_wide --rates 3e-4 1e-3 3e-3 --steps 48
    python -m experiments.choose_learning_rate tsembed --variants vl_moe_lora --rates 3e-4 --steps 100 \\
        --adapter router_learning_rate_scale 1 10 30 100

The rule: the setting with the highest mean over tasks (of the mean over datasets), averaged over the variants (EM and
IC by default). No evaluation set is looked at. A variant that starts from another's weights takes those of seed 0.
Where routers are learned, what the last window of training says of them stands beside the score: the mutual
information of expert and task, and of expert and set, and that of the untrained routers, in nats.
"""

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path

import pandas as pd

from study import paths
from study.presets import load_preset, resolve
from study.runs.launch import data_folder
from tsembed.data.manifest import load_table, read_manifest, training_tasks
from tsembed.encoder.build import build
from tsembed.evaluation.recall import held_out_scores
from tsembed.settings import Variant
from tsembed.training.loop import train


def main() -> None:
    """Train every variant at every rate for every number of steps, and print recall@1 on held-out pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its data must be prepared, with validation_rows > 0")
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=["em", "ic"])
    parser.add_argument("--seed", type=int, default=100, help="none of the study's own")
    parser.add_argument("--adapter", nargs="+", default=["-", "0"], help="a setting of the adapter, and its values")
    options = parser.parse_args()
    setting, *values = options.adapter
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
        plan = [(0, 0.0, values[0]), *product(options.steps, options.rates, values)]
        for steps, rate, value in plan:
            begin = time.perf_counter()
            row = settings.variant if setting == "-" else with_adapter(settings.variant, setting, float(value))
            encoder = build(settings.backbone, row, seed=options.seed, start=start)
            routing: dict[str, float] = {}
            if steps:
                training = settings.training.model_copy(update={"learning_rate": rate, "steps": steps})
                with tempfile.TemporaryDirectory() as folder:
                    chosen = {"training": training, "variant": row, "seed": settings.seed}
                    train(encoder, tables["train"], tasks, Path(folder), **chosen)
                    routing = last_window(Path(folder) / "routing.jsonl")
            scores = pd.DataFrame(held_out_scores(encoder, tables["validation"], tasks, **encode))
            means = scores.groupby("task").score.mean()
            found = {"variant": variant, "steps": steps, "rate": rate, setting: value}
            rows.append(found | {**means, "mean": means.mean()} | routing)
            seconds = time.perf_counter() - begin
            print(
                {k: round(float(v), 6) if isinstance(v, float) else v for k, v in rows[-1].items()}, f"{seconds:.0f} s"
            )
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.4g}".format))
    print(table[table.steps > 0].groupby(["steps", "rate", setting])["mean"].mean().round(2).to_string())


def with_adapter(variant: Variant, setting: str, value: float) -> Variant:
    """The variant with another value of a setting of its adapter, checked as when it is read.

    Raises:
        ValueError: If it has no adapter, or the adapter no such setting.
    """
    if variant.adapter is None or setting not in type(variant.adapter).model_fields:
        raise ValueError(f"{variant.label} has no adapter with the setting {setting!r}")
    content = variant.model_dump() | {"adapter": variant.adapter.model_dump() | {setting: value}}
    return Variant.model_validate(content)


def last_window(path: Path) -> dict[str, float]:
    """Mutual information of expert with task and set in the last window of a training, and of untrained routers."""
    if not path.is_file():
        return {}
    row = json.loads(path.read_text().splitlines()[-1])
    return {name: row[name] for name in ("mutual_information", "set_information", "untrained", "noise")}


if __name__ == "__main__":
    main()
