"""`python -m study data PRESET [--experiment NAME] [--data FOLDER] [--part I/N]`: prepare the data of a preset."""

import argparse
import sys
from pathlib import Path

from tsembed.data.manifest import unbalanced
from tsembed.data.schema import MTEB_TYPE
from tsembed.files import FULL
from tsembed.tasks import TEXT_TASKS

from .. import paths
from ..presets import SOURCES_WITHOUT_PATH, Experiment, load_preset, remarks
from .prepare import prepare, prepare_part


def line_of(entry: dict) -> str:
    """One line about a manifest entry, for a terminal."""
    rows = ", ".join(f"{count:,} {table}" for table, count in entry["rows"].items())
    notes = "".join(f" | {note}" for note in entry["notes"].values())
    if "chance" in entry:
        notes += f" | chance {entry['chance']:.1f} %"
    return f"{entry['part']:<10} {entry['name']:<32} {entry['task'] or entry['format']:<20} {rows}{notes}"


def _lacking(manifest: dict, experiment: Experiment) -> list[str]:
    """What the notebooks of the text study need and would miss after hours of training."""
    if not {"em", "ic", "mote"} <= set(experiment.variants):
        return []
    scored = MTEB_TYPE if experiment.evaluation.benchmark is None else ()  # a benchmark brings its own sets
    there = {(d["part"], d["format"] if d["part"] == "eval" else d["task"]) for d in manifest["datasets"]}
    needed = [("train", task) for task in TEXT_TASKS] + [("eval", format) for format in (*scored, "wikipedia")]
    words = {"train": "training part of the task", "eval": "test part of the format"}
    return [f"{words[part]} {name}" for part, name in needed if (part, name) not in there]


def _part(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with whole numbers 0 <= I < N")
    return int(first), int(count)


def main(arguments: list[str] | None = None) -> None:
    """`python -m study data`: prepare the data of a preset and print a line per dataset."""
    parser = argparse.ArgumentParser(prog="python -m study data", description="Prepare a preset's data.")
    parser.add_argument("preset", help="a name in configs/presets")
    parser.add_argument("--experiment", default="", help="one of the preset's `experiments`; its own by default")
    parser.add_argument("--data", type=Path, help="folder of a local source, or of a mirror of the hub files")
    parser.add_argument("--part", type=_part, metavar="I/N", help="make every N-th shard from the I-th on, no manifest")
    options = parser.parse_args(arguments)
    try:
        preset = load_preset(options.preset, options.data)
        if options.experiment not in preset.all_experiments:
            known = ", ".join(preset.experiments)
            raise ValueError(f"preset {preset.name} has no experiment {options.experiment!r}; it has: {known}")
        if options.data and preset.all_experiments[options.experiment].data.source in SOURCES_WITHOUT_PATH:
            raise ValueError(f"preset {preset.name} uses embedded data and takes no --data; `local` and the hub's do")
        folder = paths.data_dir(preset.name, options.experiment)
        if options.part is not None:
            prepare_part(preset, folder, options.part, experiment=options.experiment)
            return

        def report(entry: dict) -> None:
            print(line_of(entry), flush=True)

        manifest = prepare(preset, folder, experiment=options.experiment, report=report)
        if lacking := _lacking(manifest, preset.all_experiments[options.experiment]):
            raise ValueError(f"the notebooks compare all task types, and the data have no {', no '.join(lacking)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.exit(f"error: no space left in {paths.RUNS} ({error}); free some and start again: what is complete stays")
    for remark in [*remarks(preset), *unbalanced(manifest)]:
        print(f"note: {remark}")
    counts = f"{len(manifest['datasets'])} datasets, {len(manifest['unused'])} files unused"
    print(f"{counts}, sha256 {manifest['sha256'][:16]}: {folder}")
