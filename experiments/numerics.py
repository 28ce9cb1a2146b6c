"""The score claims of EM, IC and MoTE under other arithmetic: do the verdicts depend on the processor?

    python -m experiments.numerics cpu FOLDER

Trains and scores the variants of a preset, with its data and settings, once per condition: kernels for older
processors, one thread or two, bf16 where the processor has it. Every condition is a checkout of its own below FOLDER;
a second call goes on where the first was ended. The result is references/numerics_PRESET.csv, which the report reads
(`study.analysis.numerics`).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from study import paths
from study.analysis import numerics
from study.presets import load_preset
from tsembed.encoder.precision import has_fast_bf16

SAME_SOURCES = ("configs/accelerate", "configs/variants", "notebooks", "references")


def conditions() -> dict[str, dict[str, str]]:
    """Condition -> environment variables, of those that this processor can have."""
    import torch

    able = torch.backends.cpu.get_cpu_capability()
    two = {"OMP_NUM_THREADS": "2"}
    table = {
        "as it is, 2 threads": two,
        "1 thread": {"OMP_NUM_THREADS": "1"},
        "PyTorch without vector units": two | {"ATEN_CPU_CAPABILITY": "default"},
        "matrix products for SSE 4.1": two | {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    }
    if able != "AVX2":
        table["PyTorch for AVX2"] = two | {"ATEN_CPU_CAPABILITY": "avx2"}
        table["matrix products for AVX2"] = two | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    if has_fast_bf16(torch.device("cpu")):
        table["bf16"] = two
    return table


def main() -> None:
    """Do the runs that are missing of every condition, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="its data must be prepared")
    parser.add_argument("folder", type=Path, help="where the conditions' runs are")
    parser.add_argument("--variants", nargs="+", default=["em", "ic", "mote"])
    options = parser.parse_args()
    preset = load_preset(options.preset)
    runs = [(variant, seed) for variant, seed in preset.runs("") if variant in options.variants]
    frames = []
    for name, variables in conditions().items():
        root = _checkout(options.folder.resolve() / name.replace(" ", "_"), options.preset, name)
        environment = os.environ | variables | {"TSEMBED_ROOT": str(root)}
        for variant, seed in runs:
            command = [sys.executable, "-m", "study", "run", options.preset, variant, str(seed), "--resume"]
            subprocess.run(command, env=environment, cwd=paths.ROOT, check=True)
        folders = {run: root / "runs" / options.preset / run[0] / f"seed{run[1]}" for run in runs}
        frames.append(numerics.measured(folders).assign(condition=name))
        pd.concat(frames).to_csv(numerics.table_of(options.preset), index=False)
        print(frames[-1].to_string(index=False), flush=True)


def _checkout(root: Path, preset: str, condition: str) -> Path:
    """A root with the sources and the prepared data of this one, and with runs of its own."""
    (root / "configs" / "presets").mkdir(parents=True, exist_ok=True)
    (root / "runs" / preset).mkdir(parents=True, exist_ok=True)
    for name in SAME_SOURCES:
        if not (root / name).is_symlink():
            (root / name).symlink_to(paths.ROOT / name)
    data = root / "runs" / preset / "data"
    if not data.is_symlink():
        data.symlink_to(paths.data_dir(preset))
    content = yaml.safe_load((paths.CONFIGS / "presets" / f"{preset}.yaml").read_text())
    if condition == "bf16":
        content["training"]["precision"] = "bf16"
    (root / "configs" / "presets" / f"{preset}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root


if __name__ == "__main__":
    main()
