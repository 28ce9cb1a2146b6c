"""Where everything is. All paths hang on the checkout's root, so nothing is written outside it."""

import os
from pathlib import Path

from .former_names import former_name

ROOT = Path(os.environ.get("TSEMBED_ROOT") or Path(__file__).resolve().parent.parent)
CONFIGS = ROOT / "configs"
NOTEBOOKS = ROOT / "notebooks"
REFERENCES = ROOT / "references"
RUNS = ROOT / "runs"
REPORTS = ROOT / "reports"


def data_dir(preset: str, experiment: str = "") -> Path:
    """Prepared data of a preset's experiment: `train/<dataset>/`, `eval/<dataset>/`, `manifest.json`."""
    return RUNS / preset / (f"data-{experiment}" if experiment else "data")


def run_dir(preset: str, variant: str, seed: int) -> Path:
    """One run: config.yaml metrics.jsonl scores.json items.parquet env.json checkpoint/ done.json (written last).

    A run that was made when its variant had another name stays where it is.
    """
    folder = RUNS / preset / variant / f"seed{seed}"
    former = RUNS / preset / former_name(variant) / f"seed{seed}"
    return former if not folder.is_dir() and former.is_dir() else folder


def report_dir(preset: str) -> Path:
    """Executed notebooks, figures/, tables/ and the HTML pages of a preset."""
    return REPORTS / preset
