"""What the notebook of a run shows: the loss, the scores beside those of the untrained model, a closing sentence."""

from typing import TYPE_CHECKING

import pandas as pd

from .. import paths
from ..presets import Preset, load_preset, resolve
from ..process import run_supervised
from ..runs.launch import launch_command, study_is_running
from . import style
from .figures.training import loss_curves
from .figures.words import number, words

if TYPE_CHECKING:
    from IPython.display import HTML


def untrained_of(preset: Preset, variant: str) -> str | None:
    """The variant that is this one before its training: where it starts from, or the backbone as it is.

    None where the preset has no such row, or `variant` is that row itself.
    """
    settings = resolve(preset, variant, preset.first_seed)
    if settings.variant.starts_from:
        return settings.variant.starts_from
    for name in (name for each in preset.all_experiments.values() for name in each.variants):
        other = resolve(preset, name, preset.first_seed)
        plain = not other.variant.trained and not other.variant.others
        if plain and name != variant and other.backbone == settings.backbone and other.data == settings.data:
            return name
    return None


def score_untrained(preset: str, variant: str, seed: int) -> None:
    """Score the untrained model of a run, unless it is scored, or a study is running that will do it."""
    plan = load_preset(preset)
    name = untrained_of(plan, variant)
    if name is None or study_is_running():
        return
    its_seed = plan.seed_of_weights(name, seed)
    folder = paths.run_dir(preset, name, its_seed)
    if not (folder / "done.json").is_file():
        print(f"scoring {name}, the model before its training", flush=True)
        run_supervised(launch_command(preset, name, its_seed), log=folder / "run.log")


def losses(preset: str, variant: str, seed: int) -> pd.DataFrame | None:
    """The rows of metrics.jsonl of a run; None of one that is not trained by itself."""
    path = paths.run_dir(preset, variant, seed) / "metrics.jsonl"
    return pd.read_json(path, lines=True) if path.is_file() else None


def loss_figure(preset: str, variant: str, seed: int) -> "HTML | None":
    """The saved loss curve of a run; None of one that is not trained by itself."""
    metrics = losses(preset, variant, seed)
    if metrics is None:
        return None
    label = resolve(load_preset(preset), variant, seed).variant.label
    caption = f"InfoNCE loss per batch of {label}, seed {seed}, preset {preset}."
    name = f"runs/{variant}-seed{seed}-loss"
    return style.save(loss_curves(metrics), name, metrics, preset=preset, caption=caption)


def scores(preset: str, variant: str, seed: int) -> pd.DataFrame:
    """A run's scores: columns task_type, dataset, metric, trained, untrained and gain; nan where nothing is scored."""
    plan = load_preset(preset)
    keys = ["task_type", "dataset", "metric"]
    rows = _scores_of(preset, variant, seed).rename(columns={"score": "trained"})
    name = untrained_of(plan, variant)
    before = _scores_of(preset, name, plan.seed_of_weights(name, seed)) if name else None
    if before is None:
        return rows.assign(untrained=float("nan"), gain=float("nan"))
    rows = rows.merge(before.rename(columns={"score": "untrained"}), on=keys, how="left")
    return rows.assign(gain=rows.trained - rows.untrained)


def _scores_of(preset: str, variant: str, seed: int) -> pd.DataFrame | None:
    path = paths.run_dir(preset, variant, seed) / "scores.json"
    return pd.read_json(path) if path.is_file() else None


def conclusion(preset: str, variant: str, seed: int) -> str:
    """How the loss fell, what the run scores, and how far that is from the untrained model, in Markdown."""
    settings, rows = resolve(load_preset(preset), variant, seed), scores(preset, variant, seed)
    means = ", ".join(
        f"{words(kind)} {number(value)}" for kind, value in rows.groupby("task_type").trained.mean().items()
    )
    fell = _fall(losses(preset, variant, seed))
    said = f"**{settings.variant.label}**, seed {seed}: {fell} scores over {len(rows)} datasets, in points: {means}."
    if untrained_of(load_preset(preset), variant) is None:
        return said
    compared = rows.dropna()
    if compared.empty:
        return f"{said} The untrained model is not scored here, so nothing says what the training changed."
    before, after, gain = (compared[column].mean() for column in ("untrained", "trained", "gain"))
    rose = int((compared.gain > 0).sum())
    caution = "" if load_preset(preset).judged else " The preset tests the machinery, so this is no result."
    return (
        f"{said} **Untrained against trained:** the mean over {len(compared)} datasets goes from {number(before)} to "
        f"{number(after)} ({number(gain) if gain < 0 else '+' + number(gain)}); it rose on {rose} of them.{caution}"
    )


def _fall(metrics: pd.DataFrame | None) -> str:
    if metrics is None:
        return "it is not trained by itself, and it"
    part = max(1, len(metrics) // 10)
    first, last = metrics.loss[:part].mean(), metrics.loss[-part:].mean()
    return f"its loss goes from {first:.2f} to {last:.2f} nats (first and last tenth of its steps), and it"
