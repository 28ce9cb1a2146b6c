"""`python -m study fetch PRESET`: weights and benchmarks that a preset's jobs would download, where no network is.

`./run_all.sh fetch PRESET` prepares the data before it calls this. What was fetched stands in runs/PRESET/fetched.json:
as long as the preset asks for no more, its jobs look for nothing on the hub.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tsembed.files import write_text
from tsembed.hub import fetch_model

from . import paths
from .presets import SOURCES_OF_HUB, Preset, load_preset


def needed(preset: Preset) -> dict[str, list[Any]]:
    """What the preset's jobs read of a network: weights with their revisions, benchmarks, data.

    >>> needed(load_preset("gpu"))["benchmarks"]
    ['MTEB(eng, v1)']
    """
    experiments = preset.all_experiments.values()
    backbones = [each.backbone for each in experiments]
    hub = [b for b in backbones if not b.name.startswith(("embedded:", "random:")) and not Path(b.name).is_dir()]
    data = [each.data for each in experiments if each.data.source in SOURCES_OF_HUB and each.data.path is None]
    return {
        "weights": _distinct([b.name, b.revision] for b in hub),
        "benchmarks": _distinct(each.evaluation.benchmark for each in experiments if each.evaluation.benchmark),
        "data": _distinct(each.model_dump(mode="json") for each in data),
    }


def is_fetched(preset: Preset) -> bool:
    """Whether everything that the preset's jobs read of a network was fetched; false if they read nothing."""
    mark, wanted = _mark(preset.name), needed(preset)
    return any(wanted.values()) and mark.is_file() and json.loads(mark.read_text()) == wanted


def fetch(preset: Preset) -> None:
    """Download weights and benchmarks into the caches that the jobs read, a line each; what is there is left alone.

    Raises:
        ValueError: If something cannot be fetched: what, and why.
    """
    wanted = needed(preset)
    for name, revision in wanted["weights"]:
        print(f"weights    {name}: {fetch_model(name, revision)}", flush=True)
    for benchmark in wanted["benchmarks"]:
        _benchmark(preset, benchmark)
    write_text(_mark(preset.name), json.dumps(wanted, indent=1) + "\n")


def _benchmark(preset: Preset, name: str) -> None:
    from .runs.measure import mteb_tasks

    tasks: dict[str, Any] = {}
    for experiment in preset.all_experiments.values():
        if experiment.evaluation.benchmark == name:
            tasks |= {task.metadata.name: task for task in mteb_tasks(experiment.evaluation, Path())}
    for number, (task, content) in enumerate(tasks.items(), start=1):
        try:
            content.load_data()
        except Exception as error:  # of any library behind mteb
            raise ValueError(f"{task} of {name}: {type(error).__name__}: {str(error).splitlines()[0]}") from None
        content.unload_data()
        print(f"benchmark  {name}: {number}/{len(tasks)} {task}", flush=True)


def _mark(preset: str) -> Path:
    return paths.RUNS / preset / "fetched.json"


def _distinct(values) -> list[Any]:
    found: list[Any] = []
    found += (value for value in values if value not in found)
    return found


def main(arguments: list[str] | None = None) -> None:
    """`python -m study fetch`: download what a preset's jobs read of the hub."""
    parser = argparse.ArgumentParser(prog="python -m study fetch", description="Download weights and benchmarks.")
    parser.add_argument("preset", help="a name in configs/presets")
    parser.add_argument("--data", type=Path, help="folder of a local source, or of a mirror of the hub's data")
    options = parser.parse_args(arguments)
    preset = load_preset(options.preset, options.data)
    try:
        fetch(preset)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{preset.name}: its jobs need no network now" if is_fetched(preset) else f"{preset.name} needs no network")
