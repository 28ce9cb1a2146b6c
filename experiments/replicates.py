"""The noise floor of a preset's differences: one seed, trained again under other arithmetic.

    python -m experiments.replicates tsembed FOLDER --variants vl_lora_wide vl_moe_lora

A replicate has the same seed, start, batches and settings; numbers are only added in another order. Whatever two
replicates differ by is no effect of a method. The runs that the variants start from must be there; a second call goes
on where the first was ended. The result is references/replicates_PRESET.csv, which notebook 33 reads.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from study import paths
from study.analysis import replicates
from study.presets import load_preset

from .numerics import call, checkout, conditions


def main() -> None:
    """Do the runs that are missing of every condition, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its data must be prepared, with the preset's own variants trained")
    parser.add_argument("folder", type=Path, help="where the replicates are")
    parser.add_argument("--variants", nargs="+", required=True, help="of one experiment of the preset")
    options = parser.parse_args()
    plan = load_preset(options.preset)
    (experiment,) = {plan.experiment_of(variant) for variant in options.variants}
    tables = []
    for name, variables in conditions().items():
        if name == "bf16":  # another precision is another setting
            continue
        root = options.folder.resolve() / name.replace(" ", "_")
        checkout(root, options.preset, _content(options.preset, experiment, options.variants))
        for start in plan.variants:
            link = root / "runs" / options.preset / start
            if not link.is_symlink():
                link.symlink_to(paths.run_dir(options.preset, start, plan.first_seed).parent)
        environment = os.environ | variables | {"TSEMBED_ROOT": str(root)}
        for variant in options.variants:
            run = ["-m", "study", "run", options.preset, variant, str(plan.first_seed), "--resume"]
            call(run, environment)
            scores = root / "runs" / options.preset / variant / f"seed{plan.first_seed}" / "scores.json"
            tables.append(pd.DataFrame(json.loads(scores.read_text())).assign(condition=name, variant=variant))
        table = pd.concat(tables, ignore_index=True)[list(replicates.COLUMNS)]
        table.to_csv(replicates.table_of(options.preset), index=False, float_format="%.5g")
    print(replicates.noise(table, baseline=options.variants[0]).to_string(index=False, float_format="{:.2f}".format))


def _content(preset: str, experiment: str, variants: list[str]) -> dict[str, Any]:
    """The preset's file with one seed of its own variants and of these of the experiment."""
    content: dict[str, Any] = yaml.safe_load((paths.CONFIGS / "presets" / f"{preset}.yaml").read_text())
    content["variants"] = dict.fromkeys(content["variants"], 1)
    chosen = content["experiments"][experiment] | {"variants": dict.fromkeys(variants, 1), "share_process": False}
    content["experiments"] = {experiment: chosen}
    return content


if __name__ == "__main__":
    main()
