"""A training of some minutes beside the study, for a person who wants to see one: `runs/explore/<variant>/<number>/`.

    python -m study.runs.short_training FOLDER --variant mote --steps 64

It trains on the data of the preset `cpu`, and measures on pairs that are held out what the training changed. Nothing of
a preset's own runs is written; its prepared data are read where they are there. done.json is written last.
"""

import argparse
import json
import time
from pathlib import Path

import yaml

from tsembed.files import write_folder, write_text

from .. import paths
from ..presets import RunSettings, load_preset, resolve

PRESET = "cpu"  # backbone, data and settings
FOLDER = "explore"  # below runs/; no preset has this name
STEPS = 64
VARIANTS = ("mote", "ic")


def short_settings(variant: str, steps: int, *, preset: str = PRESET) -> RunSettings:
    """The settings of a preset's variant, with another number of steps.

    Raises:
        ValueError: If there are fewer than two steps, or the variant is not trained on texts by itself.
    """
    settings = resolve(load_preset(preset), variant, 0)
    if steps < 2:
        raise ValueError(f"steps must be >= 2, got {steps}")
    if not settings.variant.trained or settings.variant.others or settings.variant.of_images:
        raise ValueError(f"variant {variant!r} is not trained on texts by itself")
    warmup = min(settings.training.warmup_steps, steps // 2)
    changes = {"steps": steps, "warmup_steps": warmup}
    return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})


def new_folder(variant: str) -> Path:
    """The folder of the next short training of a variant; it is not made."""
    numbers = [int(path.name) for path in (paths.RUNS / FOLDER / variant).glob("*") if path.name.isdecimal()]
    return paths.RUNS / FOLDER / variant / str(max(numbers, default=0) + 1)


def train_short(folder: Path, settings: RunSettings) -> None:
    """Train, save the model, and write what the training changed into done.json; a line about every part on stdout.

    Args:
        folder: config.yaml, metrics.jsonl, model/ and done.json come here; it must not be there or be empty.
        settings: As `short_settings` returns them.

    Raises:
        ValueError: If the folder is not empty, or the data have no held-out pairs.
    """
    if folder.exists() and any(path.name != "run.log" for path in folder.iterdir()):
        raise ValueError(f"{folder} is not empty")
    began = time.monotonic()
    write_text(folder / "config.yaml", yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    data, manifest = _data(settings)

    from tsembed.data.manifest import load_table, training_tasks
    from tsembed.encoder.build import best_device, build
    from tsembed.training.loop import train

    variant = settings.variant
    tasks, held_out_tasks = (training_tasks(manifest, part, variant) for part in ("train", "validation"))
    if not held_out_tasks:
        raise ValueError(f"{data} has no held-out pairs to measure on")
    tables = {name: load_table(data, "train", name) for name in tasks}
    held_out = {name: load_table(data, "validation", name) for name in held_out_tasks}
    encoder = build(settings.backbone, variant, seed=settings.seed).to(best_device())
    print("measuring the untrained model on held-out pairs", flush=True)
    before = _recall(encoder, held_out, held_out_tasks, settings)
    print(f"training for {settings.training.steps} steps", flush=True)
    train(encoder, tables, tasks, folder, training=settings.training, variant=variant, seed=settings.seed)
    print("measuring the trained model on held-out pairs", flush=True)
    after = _recall(encoder.to(best_device()), held_out, held_out_tasks, settings)
    with write_folder(folder / "model") as partial:
        encoder.cpu().save(partial)
    done = {"before": before, "after": after, "seconds": round(time.monotonic() - began, 1)}
    write_text(folder / "done.json", json.dumps(done, indent=1) + "\n")
    print(f"recall@1 on held-out pairs: {before:.1f} untrained, {after:.1f} trained", flush=True)


def _data(settings: RunSettings) -> tuple[Path, dict]:
    """Prepared data and their manifest: the preset's own, or such as this module has prepared."""
    from tsembed.data.manifest import read_manifest

    from ..data.prepare import prepare

    prepared = paths.data_dir(settings.preset)
    if not (prepared / "manifest.json").is_file():
        prepared = paths.RUNS / FOLDER / f"data-{settings.preset}"
        print("preparing the data, which is done once", flush=True)
        prepare(load_preset(settings.preset), prepared)
    return prepared, read_manifest(prepared)


def _recall(encoder, tables: dict, tasks: dict[str, str], settings: RunSettings) -> float:
    """Mean over the datasets of recall@1 among their held-out pairs, in 0..100."""
    from tsembed.evaluation.recall import held_out_scores

    encode = {"max_tokens": settings.evaluation.max_tokens, "token_budget": settings.evaluation.token_budget}
    scores = [row["score"] for row in held_out_scores(encoder, tables, tasks, **encode)]
    return sum(scores) / len(scores)


def main(arguments: list[str] | None = None) -> None:
    """`python -m study.runs.short_training`."""
    parser = argparse.ArgumentParser(prog="python -m study.runs.short_training", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", default=VARIANTS[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--preset", default=PRESET)
    options = parser.parse_args(arguments)
    train_short(options.folder, short_settings(options.variant, options.steps, preset=options.preset))


if __name__ == "__main__":
    main()
