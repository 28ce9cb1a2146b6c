"""A finished run as a folder that `SentenceTransformer(folder)` loads, with a model card.

    python -m study export runs/cpu/mote/seed0 OUT --route search_query

What the run adds to `tsembed.export`: the card's scores and data, and the mean gates of learned routers.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsembed.export.run import Run
from tsembed.tasks import ROUTES

if TYPE_CHECKING:
    from tsembed.encoder.text import Encoder


def export(source: Path, out: Path, *, route: str | None = None, average: bool = False) -> None:
    """Write the model of a run's folder, or of a folder that `Encoder.save` wrote, to `out`, with a model card.

    Args:
        source: With a done.json, or with a tsembed.json.
        out: Must not exist, or be empty. It appears when all is written and its embeddings are the model's own.
        route: Export the dense model of this route.
        average: Export the dense model of the averaged experts; of learned routers, at their mean gates.

    Raises:
        ValueError: If the source is neither, or unfinished, if it has no such route or no experts, or if `out` is not
            empty.
    """
    from tsembed.encoder.build import load
    from tsembed.export import dense
    from tsembed.export.folder import export_encoder, must_be_free

    must_be_free(out)
    model, run = read_source(source)
    encoder = load(model)
    gates = None
    if run is not None and average and dense.has_learned_router(encoder):
        gates = _mean_gates(encoder, run)
    export_encoder(
        encoder,
        out,
        source=source,
        route=route,
        average=average,
        run=run,
        gates=gates,
        measure=None if run is None else lambda exported: scores_of(exported, run),
    )


def read_source(folder: Path) -> tuple[Path, Run | None]:
    """The model's folder, and what is known of its run.

    Raises:
        ValueError: If the folder is no run and no model, or if the run or its data are not complete.
    """
    import yaml

    from tsembed.data.manifest import read_manifest

    if (folder / "tsembed.json").is_file():
        return folder, None
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder} is no run (config.yaml) and no saved encoder (tsembed.json)")
    way_on = "; a trained model can be exported without its scores from the run's folder model/"
    needed = ("done.json", "scores.json", "env.json", "model/tsembed.json")
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise ValueError(f"{folder} is a half-finished run (no {', '.join(missing)}): finish it first{way_on}")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    manifests = {
        path.parent: read_manifest(path.parent) for path in sorted(folder.parent.parent.glob("data*/manifest.json"))
    }
    data = next((place for place, manifest in manifests.items() if manifest["sha256"] == config["data_sha256"]), None)
    if data is None:
        folders = ", ".join(map(str, manifests)) or f"{folder.parent.parent} has none"
        raise ValueError(f"the data that {folder} was trained on are not there ({folders}){way_on}")
    env, scores = (json.loads((folder / name).read_text()) for name in ("env.json", "scores.json"))
    return folder / "model", Run(config, env, scores, manifests[data], data)


def _mean_gates(encoder: "Encoder", run: Run) -> dict:
    """Mean gates over the first pairs of every dataset that the run was trained on."""
    from tsembed.data.manifest import training_tasks
    from tsembed.export.gates import mean_gates_of_pairs
    from tsembed.settings import Variant

    variant = Variant.model_validate(run.config["variant"])
    part = "validation" if training_tasks(run.manifest, "validation", variant) else "train"
    tasks = training_tasks(run.manifest, part, variant)
    return mean_gates_of_pairs(encoder, run.data, part, tasks, max_tokens=run.config["evaluation"]["max_tokens"])


def scores_of(encoder: "Encoder", run: Run) -> list[dict[str, Any]]:
    """The encoder's scores on the run's evaluation sets, in the form of its scores.json."""
    from ..presets import RunSettings
    from .measure import score

    settings = RunSettings.model_validate({k: v for k, v in run.config.items() if k != "data_sha256"})
    with tempfile.TemporaryDirectory() as folder:
        return score(settings, encoder, run.data, run.manifest, Path(folder))


def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def main(arguments: list[str] | None = None) -> None:
    """`python -m study export`: write the model and print where it is.

    Raises:
        SystemExit: With the reason, if it cannot be exported.
    """
    parser = argparse.ArgumentParser(prog="python -m study export", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run, or a folder that Encoder.save wrote")
    parser.add_argument("out", type=Path, help="the folder to write; it must not exist, or be empty")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--route", help=f"one route's dense model: {', '.join(ROUTES)}")
    which.add_argument("--average", action="store_true", help="the dense model of the averaged experts")
    options = parser.parse_args(arguments)
    _no_bars()
    try:
        export(options.run, options.out, route=options.route, average=options.average)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: its README.md says how to load it")
