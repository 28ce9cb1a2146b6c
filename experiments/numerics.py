"""Claims, gains and scores of a preset's main methods under other arithmetic: do they depend on the processor?

    python -m experiments.numerics cpu FOLDER

Trains and scores the variants of a preset, with its data and settings, once per condition: kernels for older
processors, one thread or two, bf16 where the processor has it. Every condition is a checkout of its own below FOLDER;
a second call goes on where the first was ended. The result is references/numerics_PRESET.csv, which the report and
`verify` read (`study.analysis.numerics`).
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from study import paths
from study.analysis import numerics
from study.presets import load_preset
from tsembed.encoder.precision import has_fast_bf16

SAME_SOURCES = ("configs/accelerate", "configs/variants", "notebooks", "references")
MEASURE = """\
import sys
from study.analysis import numerics
preset, condition, file = sys.argv[1:]
numerics.measured(preset, condition).to_csv(file, index=False)
"""


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
    runs = [(variant, seed) for variant, seed in load_preset(options.preset).runs("") if variant in options.variants]
    tables = []
    for name, variables in conditions().items():
        root = options.folder.resolve() / name.replace(" ", "_")
        checkout(root, options.preset, _content(options.preset, options.variants, name))
        environment = os.environ | variables | {"TSEMBED_ROOT": str(root)}
        for variant, seed in runs:
            call(["-m", "study", "run", options.preset, variant, str(seed), "--resume"], environment)
        call(["-c", MEASURE, options.preset, name, str(root / "measured.csv")], environment)
        tables.append(pd.read_csv(root / "measured.csv"))
        pd.concat(tables).to_csv(numerics.table_of(options.preset), index=False, float_format="%.5g")
        print(tables[-1].query("kind != 'score'").to_string(index=False), flush=True)


def call(command: list[str], environment: dict[str, str]) -> None:
    """Run this Python with these arguments and environment.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    subprocess.run([sys.executable, *command], env=environment, cwd=paths.ROOT, check=True)


def checkout(root: Path, preset: str, content: dict[str, Any]) -> None:
    """Make `root` a checkout with the sources and the prepared data of this one, and this content of the preset."""
    (root / "configs" / "presets").mkdir(parents=True, exist_ok=True)
    (root / "runs" / preset).mkdir(parents=True, exist_ok=True)
    for name in SAME_SOURCES:
        if not (root / name).is_symlink():
            (root / name).symlink_to(paths.ROOT / name)
    data = root / "runs" / preset / "data"
    if not data.is_symlink():
        data.symlink_to(paths.data_dir(preset))
    (root / "configs" / "presets" / f"{preset}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _content(preset: str, variants: list[str], condition: str) -> dict[str, Any]:
    """The preset's file with these of its own variants alone."""
    content: dict[str, Any] = yaml.safe_load((paths.CONFIGS / "presets" / f"{preset}.yaml").read_text())
    content["variants"] = {name: seeds for name, seeds in content["variants"].items() if name in variants}
    content["experiments"] = {}
    if condition == "bf16":
        content["training"]["precision"] = "bf16"
    return content


if __name__ == "__main__":
    main()
