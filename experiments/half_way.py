"""Scores of a run pulled back towards the untrained backbone: `python -m experiments.half_way PRESET`.

Weights are share * trained + (1 - share) * untrained; nothing is trained. Tells whether what averaged experts gain
needs experts at all, or comes from undoing drift (LOG.md, entry 10).
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch

from study import paths
from study.presets import load_preset, resolve
from study.runs.launch import data_folder
from study.runs.measure import score
from tsembed.data.manifest import read_manifest
from tsembed.encoder.build import build
from tsembed.encoder.text import Encoder


def main() -> None:
    """Print the scores of weights on the line from the backbone to the trained variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--variant", default="ic", help="a dense one, whose run is finished")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    options = parser.parse_args()
    settings = resolve(load_preset(options.preset), options.variant, options.seed)
    data = data_folder(options.preset, options.variant)
    untrained = dict(build(settings.backbone, settings.variant).backbone.named_parameters())
    columns = {}
    for share in options.shares:
        encoder = Encoder.load(paths.run_dir(options.preset, options.variant, options.seed) / "model")
        with torch.no_grad(), tempfile.TemporaryDirectory() as cache:
            for name, weight in encoder.backbone.named_parameters():
                weight.lerp_(untrained[name], 1 - share)
            rows = pd.DataFrame(score(settings, encoder, data, read_manifest(data), Path(cache)))
        means = rows.groupby("task_type").score.mean().to_dict()
        columns[f"{share:g}"] = means | {"mean over sets": rows.score.mean()}
    print(pd.DataFrame(columns).round(1).to_string())


if __name__ == "__main__":
    main()
