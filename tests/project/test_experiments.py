"""The scripts that LOG.md names.

Invariants: every `python -m benchmarks.NAME` or `experiments.NAME` of LOG.md and docs/reading_order.md is there and
says how it is called; every experiment is in LOG.md, and no benchmark is one.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(p.stem for p in (ROOT / "experiments").glob("[!_]*.py"))


@pytest.mark.parametrize("document", ["LOG.md", "docs/reading_order.md"])
def test_every_script_that_a_document_names_is_there(document):
    named = set(re.findall(r"\b(benchmarks|experiments)\.(\w+)", (ROOT / document).read_text(encoding="utf-8")))
    assert len(named) > 1
    assert not [f"{folder}/{name}.py" for folder, name in named if not (ROOT / folder / f"{name}.py").is_file()]


def test_every_experiment_is_in_the_log():
    log = (ROOT / "LOG.md").read_text(encoding="utf-8")
    assert len(EXPERIMENTS) >= 4
    assert all(f"experiments.{name}" in log for name in EXPERIMENTS)


def test_an_experiment_says_how_it_is_called():
    call = [sys.executable, "-m", f"experiments.{EXPERIMENTS[0]}", "--help"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"experiments.{EXPERIMENTS[0]}" in done.stdout, done.stderr
