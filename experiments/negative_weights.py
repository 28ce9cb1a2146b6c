"""How far EANS is from plain InfoNCE in a finished run: `python -m experiments.negative_weights PRESET VARIANT`.

On batches in an order that no training run had, per task: the cosine of a query's signature with those of its
negatives, the weights that follow from it, their correlation with the embedding similarity, and how much of the cosine
belongs to the document alone, whatever the query (a share of the variance; 1 / queries where there is nothing).
"""

import argparse

import numpy as np
import pandas as pd
import torch

from study import paths
from study.data.manifest import load_table, read_manifest, training_tasks
from study.presets import load_preset, resolve
from study.probes.gradients import probe_batches
from study.runs.launch import data_folder
from tsembed.contrastive.eans import UNITS, centered, negative_weights, signature_similarity
from tsembed.contrastive.losses import negatives_of
from tsembed.encoder.text import Encoder
from tsembed.training.objective import PairEncoder


@torch.no_grad()
def main() -> None:
    """Print how the weights of negatives are spread, by task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("variant", help="with a moe_lora adapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batches", type=int, default=3, help="of every task")
    parser.add_argument("--beta", type=float, default=10.0)
    parser.add_argument("--beta-per", default="similarity", choices=UNITS)
    parser.add_argument("--centered", action="store_true", help="signatures minus the batch's mean")
    options = parser.parse_args()
    settings = resolve(load_preset(options.preset), options.variant, options.seed)
    data, variant = data_folder(options.preset, options.variant), settings.variant
    tasks = training_tasks(read_manifest(data), "train", variant)
    tables = {name: load_table(data, "train", name) for name in tasks}
    encoder = Encoder.load(paths.run_dir(options.preset, options.variant, options.seed) / "model")
    pairs, rows = PairEncoder(encoder, variant).eval(), []
    for batch in probe_batches(encoder, tables, tasks, settings, options.batches):
        parts = [pairs(piece) for piece in batch.chunks]
        outputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        negatives = negatives_of(batch.query_groups, batch.document_groups)
        signatures = [outputs["query_signature"], outputs["document_signature"]]
        if options.centered:
            signatures = centered(*signatures)
        sharpness = {"beta": options.beta, "beta_unit": options.beta_unit}
        weights = negative_weights(*signatures, **sharpness, negatives=negatives)[negatives]
        table = signature_similarity(*signatures)
        cosine, relative = table[negatives], table.masked_fill(~negatives, torch.nan)
        relative = relative - relative.nanmean(1, keepdim=True)  # weights compare the negatives of one query
        alike = (outputs["query"] @ outputs["document"].T)[negatives]
        rows.append(
            {
                "task": batch.task,
                "cosine": cosine.mean().item(),
                "deviation": cosine.std().item(),
                "weight, 5 %": weights.quantile(0.05).item(),
                "weight, 95 %": weights.quantile(0.95).item(),
                "correlation": np.corrcoef(weights.numpy(), alike.numpy())[0, 1],
                "of the document": (relative.nanmean(0).square().mean() / relative.square().nanmean()).item(),
            }
        )
    print(pd.DataFrame(rows).groupby("task").mean().round(3).to_string())


if __name__ == "__main__":
    main()
