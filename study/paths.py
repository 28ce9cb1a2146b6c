"""Where everything is. All paths hang on the checkout's root, so nothing is written outside it."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("TSEMBED_ROOT") or Path(__file__).resolve().parent.parent)
CONFIGS = ROOT / "configs"
NOTEBOOKS = ROOT / "notebooks"
REFERENCES = ROOT / "references"
RUNS = ROOT / "runs"
REPORTS = ROOT / "reports"


def data_dir(preset: str, study: str = "") -> Path:
    """Prepared data of a preset's study: `train/<dataset>/`, `eval/<dataset>/`, `manifest.json`."""
    return RUNS / preset / (f"data-{study}" if study else "data")


def run_dir(preset: str, variant: str, seed: int) -> Path:
    """One run: config.yaml metrics.jsonl scores.json env.json checkpoint/ done.json (written last)."""
    return RUNS / preset / variant / f"seed{seed}"


def report_dir(preset: str) -> Path:
    """Executed notebooks, figures/, tables/ and the HTML pages of a preset."""
    return REPORTS / preset
