"""One run, from settings to done.json: train (or resume), save the model, evaluate, measure similarity.

    python -m tsembed.run cpu mote 0 --resume
    python -m tsembed.run cpu images 0 --resume       (a study with `together`: all its variants of this seed)
    accelerate launch -m tsembed.run gpu mote 0 --resume

A finished run is left alone; a half-finished one goes on where it was. done.json is written last.
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from . import paths
from .config import Evaluation, RunSettings, Variant, check, load_preset, resolve
from .tasks import CAPTIONING

ARTICLES = 128  # of the similarity analysis (MoTE §5.2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tsembed.run", description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("variant", help="or a study whose runs share a process")
    parser.add_argument("seed", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    options = parser.parse_args(arguments)
    preset = load_preset(options.preset)
    for variant in preset.members(options.variant, options.seed):
        folder = paths.run_dir(options.preset, variant, options.seed)
        run(resolve(preset, variant, options.seed), folder, resume=options.resume)


def data_folder(preset: str, variant: str) -> Path:
    """Folder of the prepared data that a preset's variant is trained on."""
    return paths.data_dir(preset, _study(preset, variant))


def prepare_command(preset: str, variant: str) -> list[str]:
    """Command that prepares the data that a preset's variant is trained on."""
    study = _study(preset, variant)
    return [sys.executable, "-m", "tsembed.data.sources", preset, *(["--study", study] if study else [])]


def _study(preset: str, variant: str) -> str:
    """The study whose prepared data a variant, or a study whose runs share a process, reads."""
    chosen = load_preset(preset)
    return chosen.data_of(variant if variant in chosen.also else chosen.study_of(variant))


def launch_command(preset: str, variant: str, seed: int) -> list[str]:
    """Command of one run: through Accelerate on a machine with several GPUs, else plain (the same loop, sooner up).

    Does not import torch, so a notebook can call it before its launch. The environment variable TSEMBED_PROCESSES
    overrides the number of GPUs; TSEMBED_ACCELERATE names another file of configs/accelerate.
    """
    processes = int(os.environ.get("TSEMBED_PROCESSES") or gpus() or 1)
    module = ["-m", "tsembed.run", preset, variant, str(seed), "--resume"]
    if processes == 1:
        return [sys.executable, *module]
    name = os.environ.get("TSEMBED_ACCELERATE", "ddp")
    config = paths.CONFIGS / "accelerate" / f"{name}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    return [*launch, "--num_processes", str(processes), *module]


def gpus() -> int:
    """Number of NVIDIA GPUs that processes of ours may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return listing.count("GPU ")


def run(settings: RunSettings, folder: Path, *, resume: bool = False, data: Path | None = None) -> None:
    """Do what is missing of a run.

    Args:
        folder: The run's folder: config.yaml, metrics.jsonl, scores.json, … ; done.json last.
        resume: Go on from a checkpoint of an interrupted training.
        data: Prepared data; the preset's own by default.

    Raises:
        ValueError: If the folder holds a run of other settings or other data, or another process is at work in it.
    """
    with _alone(folder):
        _run(settings, folder, resume, data)


def _run(settings: RunSettings, folder: Path, resume: bool, data: Path | None) -> None:
    from .data.sources import load, manifest

    data = data or data_folder(settings.preset, settings.variant_name)
    listing = manifest(data)
    _claim(settings, listing["sha256"], folder)
    if (folder / "done.json").is_file():
        print(f"{folder} is done")
        return
    started = time.time()
    model = _weights(settings, folder)
    trained = sets(listing, "train", settings.variant)
    if not model.is_dir():
        every = (load(data, "train", name) for name in sets(listing, "train"))
        texts = (text for table in every for side in ("query", "document") for text in table[side])
        tables = {name: load(data, "train", name) for name in trained}
        if not _train(settings, tables, trained, texts, folder, resume):
            return
    from accelerate import PartialState

    state = PartialState()
    state.destroy_process_group()  # the ranks part here: gloo aborts where one ends without it
    if not state.is_main_process:
        return
    from .encoder import Encoder
    from .provenance import environment

    encoder = Encoder.load(model)
    if state.device.type == "cuda":
        encoder = encoder.to(state.device)
    trained_seconds = time.time() - started
    _evaluate(settings, encoder, data, listing, folder)
    _write(folder / "env.json", environment())
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    seconds = {"training": round(trained_seconds, 1), "evaluation": round(time.time() - started - trained_seconds, 1)}
    done = {"seconds": seconds, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    _write(folder / "done.json", done)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock in the first rank: where a launcher was killed, its ranks may still be at work."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is at work in {folder}: wait for it, or end it") from None
        yield


def sets(listing: dict, part: str, variant: Variant | None = None) -> dict[str, str]:
    """Datasets, all or those that a variant learns from, and their tasks. Captions are for who trains on them alone."""
    found = {d["name"]: d["task"] for d in listing["datasets"] if d["part"] == part}
    if variant is None:
        return found
    return {name: task for name, task in found.items() if (task == CAPTIONING) == (CAPTIONING in variant.tasks)}


def _weights(settings: RunSettings, folder: Path) -> Path:
    """Folder of the model that is scored: the run's own, or that of the run whose weights it takes as they are.

    Raises:
        ValueError: If that run is not finished.
    """
    variant = settings.variant
    if variant.weights_of is None:
        return folder / "model"
    return folder / "model" if variant.average else _model_of(variant.weights_of, folder)


def _model_of(other: str, folder: Path) -> Path:
    """The model of another variant's run, of the same preset and seed as the run of `folder`.

    Raises:
        ValueError: If that run is not finished.
    """
    run = folder.parent.parent / other / folder.name
    if not (run / "done.json").is_file():
        raise ValueError(f"{folder.parent.name} takes the weights of {run}, which is not finished; run that first")
    return run / "model"


def _claim(settings: RunSettings, data_sha256: str, folder: Path) -> None:
    """Write config.yaml, or make sure that the one there is of the same run."""
    content = settings.model_dump(mode="json") | {"data_sha256": data_sha256}
    path = folder / "config.yaml"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(yaml.safe_dump(content, sort_keys=False))
        partial.rename(path)
        return
    old = yaml.safe_load(path.read_text())
    known = check(
        RunSettings, {k: v for k, v in old.items() if k != "data_sha256"}, str(path)
    )  # new settings: defaults
    changed = _differences(known.model_dump(mode="json") | {"data_sha256": old.get("data_sha256")}, content)
    if changed:
        raise ValueError(
            f"{path}: this run has other settings: {'; '.join(changed)}. "
            f"Undo the change, or delete {folder} to run it anew"
        )


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted(set(old) | set(new)):
            found += _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return found
    return [] if old == new else [f"{key} was {old!r}, is {new!r}"]


def _train(
    settings: RunSettings, tables: dict, tasks: dict[str, str], texts: Iterable[str], folder: Path, resume: bool
) -> bool:
    """Train and save the model by rename; whether it is whole."""
    from accelerate import PartialState

    from .encoder import Encoder, build
    from .mote.experts import average_experts
    from .train import train

    variant = settings.variant
    if variant.average:
        encoder = Encoder.load(_model_of(variant.weights_of, folder))
        encoder.backbone = average_experts(encoder.backbone)
    else:
        start = _model_of(variant.starts_from, folder) if variant.starts_from else None
        encoder = build(settings.backbone, variant, seed=settings.seed, texts=texts, start=start)
    learns = variant.trained and settings.training.steps != 0
    if learns and not train(settings, encoder, tables, tasks, folder, resume=resume):
        return False
    if PartialState().is_main_process:
        partial = folder / "model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        encoder.save(partial)
        partial.rename(folder / "model")
    PartialState().wait_for_everyone()
    return True


def _evaluate(settings: RunSettings, encoder, data: Path, listing: dict, folder: Path) -> None:
    """Similarities, probes and scores, each to its file; scores.json last."""
    if settings.variant.weights_of is None:
        _probe(settings, encoder, data, listing, folder)
    _write(folder / "scores.json", score(settings, encoder, data, listing, folder / "mteb"))


def score(settings: RunSettings, encoder, data: Path, listing: dict, cache: Path) -> list[dict[str, Any]]:
    """Tidy scores of an encoder on the evaluation sets of a run's settings.

    Args:
        data: Prepared data; `listing` is their manifest.
        cache: Folder where mteb keeps the results of finished tasks.
    """
    evaluation, encode = settings.evaluation, _encoding(settings)
    if settings.variant.of_images:
        from .evaluation import mmeb

        few = {"seed": settings.data.seed, "sets_per_type": evaluation.sets_per_type}
        return mmeb.evaluate(encoder, data, listing, **few, **encode)
    from .evaluation.mteb_model import MtebEncoder, evaluate, weights_hash

    routes = settings.variant.task_of_type
    scored = evaluation.model_dump() | {"precision": encode["precision"], "task_of_type": routes}
    revision = weights_hash(encoder, json.dumps(scored))
    name = f"tsembed/{settings.preset}-{settings.variant_name}-seed{settings.seed}"
    model = MtebEncoder(encoder, name=name, revision=revision, task_of_type=routes, **encode)
    chosen = [t for t in mteb_tasks(evaluation, data) if t.metadata.type in settings.variant.task_types]
    return evaluate(model, chosen, cache)


def _probe(settings: RunSettings, encoder, data: Path, listing: dict, folder: Path) -> None:
    """What is measured of a model beside its scores, each as a table of its own."""
    from .analysis import expert_routing
    from .analysis.drift import expert_drift
    from .analysis.gradients import task_gradients_conflict
    from .analysis.routing import expert_shares
    from .analysis.similarity import inter_task_similarity, similarity_by_layer
    from .data.sources import load
    from .encoder import build

    variant, encode = settings.variant, _encoding(settings)
    articles = [d["name"] for d in listing["datasets"] if d["form"] == "wikipedia"]
    found = {}
    if encoder.specialised and articles:
        texts = [text for name in articles for text in load(data, "eval", name)["rows"]["text"]]
        drawn = random.Random(settings.data.seed).sample(texts, min(ARTICLES, len(texts)))
        found["similarity"] = inter_task_similarity(encoder, drawn, **encode)
        if variant.probe:
            found["layers"] = similarity_by_layer(encoder, drawn, **encode)
        if variant.token_routing is not None:
            found["routing"] = expert_shares(encoder, drawn, **encode)
    if variant.probe:
        trained = sets(listing, "train", variant)
        tables = {name: load(data, "train", name) for name in trained}
        found["gradients"] = task_gradients_conflict(encoder, tables, trained, settings)
        if variant.adapter is None:
            dense = build(settings.backbone, Variant(label="dense")).backbone.to(encoder.device)
            found["drift"] = expert_drift(encoder.backbone, dense)
    if variant.probe and variant.adapter is not None and variant.adapter.kind == "moe_lora":
        held = sets(listing, "validation", variant)
        pairs = {name: load(data, "validation", name) for name in held}
        found["use"], found["proxy"] = expert_routing.measure(encoder, pairs, held, **encode)
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def _encoding(settings: RunSettings) -> dict[str, Any]:
    """How texts and pictures are encoded in evaluation, as `Encoder.encode` takes it."""
    evaluation, precision = settings.evaluation, settings.training.precision
    return {"max_tokens": evaluation.max_tokens, "token_budget": evaluation.token_budget, "precision": precision}


def mteb_tasks(evaluation: Evaluation, data: Path) -> list:
    """The MTEB tasks of a benchmark, or of the prepared evaluation sets."""
    if evaluation.benchmark is None:
        from .evaluation.local_tasks import tasks

        found = tasks(data)
    else:
        import mteb

        found = list(mteb.get_benchmark(evaluation.benchmark).tasks)
    if unknown := set(evaluation.without) - {task.metadata.name for task in found}:
        raise ValueError(f"evaluation.without: {sorted(unknown)} are no tasks of {evaluation.benchmark or data}")
    by_type: dict[str, list] = {}
    for task in found:
        if task.metadata.name not in evaluation.without:
            by_type.setdefault(task.metadata.type, []).append(task)
    return [task for tasks in by_type.values() for task in tasks[: evaluation.sets_per_type]]


def _write(path: Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.rename(path)


if __name__ == "__main__":
    main()
