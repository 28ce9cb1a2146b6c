"""One run, from settings to done.json: train (or resume), save the model, evaluate, measure similarity.

    python -m study run cpu mote 0 --resume
    python -m study run cpu images 0 --resume       (a study with `share_process`: all its variants of this seed)
    accelerate launch -m study run gpu mote 0 --resume

A finished run is left alone; a half-finished one goes on where it was. done.json is written last. The probes come after
the scores: where one fails the run is not done, and the next call repeats them alone.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tsembed.files import write_text
from tsembed.hub import HubError
from tsembed.strict import check

from .. import paths
from ..presets import NAMES_ALONE, RunSettings, load_preset, resolve
from ..process import of_rank
from .dealing import Share
from .launch import data_folder
from .weights import make, weights_to_score

if TYPE_CHECKING:
    from accelerate import PartialState

    from tsembed.encoder.text import Encoder

TRAINED = "trained.json"  # in a run's folder where its training was a job of its own: its processes, and where it ran
SHARES = "shares"  # in a run's folder while several processes score: a file for each that has scored its sets
SCORED = "scored.json"  # in a run's folder from its scores to its end: which model has them, and the seconds they took


def main(arguments: list[str] | None = None) -> None:
    """`python -m study run`: do what is missing of the runs of a variant, or of a study whose runs share a process."""
    parser = argparse.ArgumentParser(prog="python -m study run", description=__doc__.splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("variant", help="or a study whose runs share a process")
    parser.add_argument("seed", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--only-training", action="store_true", help="stop at the trained model, without scores")
    options = parser.parse_args(arguments)
    try:
        _run_all(options)
    except Exception:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        print(of_rank(int(os.environ["RANK"]), traceback.format_exc()), end="", file=sys.stderr, flush=True)
        sys.exit(1)


def _run_all(options: argparse.Namespace) -> None:
    preset = load_preset(options.preset)
    try:
        for variant in preset.variants_of_node(options.variant, options.seed):
            folder = paths.run_dir(options.preset, variant, options.seed)
            settings = resolve(preset, variant, options.seed)
            run(settings, folder, resume=options.resume, only_training=options.only_training)
    except HubError as error:  # no fault of the code: a traceback would hide what to do
        sys.exit(f"error: {error}")


def run(
    settings: RunSettings, folder: Path, *, resume: bool = False, only_training: bool = False, data: Path | None = None
) -> None:
    """Do what is missing of a run.

    Args:
        settings: Resolved: of one variant and one seed.
        folder: The run's folder: config.yaml, metrics.jsonl, scores.json, items.parquet, … ; done.json last.
        resume: Go on from a checkpoint of an interrupted training.
        only_training: Stop at the model, with trained.json in place of scores; a later call goes on from there.
        data: Prepared data; the preset's own by default.

    Raises:
        ValueError: If the folder holds a run of other settings or other data, or another process is at work in it.
    """
    with _exclusive_lock(folder):
        _run(settings, folder, resume, only_training, data)


def _run(settings: RunSettings, folder: Path, resume: bool, only_training: bool, data: Path | None) -> None:
    from tsembed.data.manifest import read_manifest

    data = data or data_folder(settings.preset, settings.variant_name)
    manifest = read_manifest(data)
    _write_or_check_settings(settings, manifest["sha256"], folder)
    if (folder / "done.json").is_file():
        print(f"{folder} is done")
        return
    from tsembed.training.processes import join

    state = join()  # before the training, which may have none: every row counts its processes alike
    model = weights_to_score(settings, folder)
    if not make(model, settings, manifest, data, folder, resume, state):
        return
    _part(state, folder)
    if only_training:
        _write_trained(folder, state)
    if only_training:
        return
    from tsembed.encoder.text import Encoder

    from ..analysis.cost import model_size, training_seconds
    from .measure import probe

    encoder = Encoder.load(model, state.device if state.device.type == "cuda" else "cpu")  # where it was trained
    if settings.variant.instructions is not None:
        encoder.instructions = dict(settings.variant.instructions)  # of weights that were trained with others, too
    share = Share(folder / SHARES, state.process_index, state.num_processes)
    seconds = _score(settings, encoder, model, data, manifest, folder, share)
    if not state.is_main_process:
        return
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / SHARES, ignore_errors=True)
    began = time.time()
    if settings.variant.weights_of is None or settings.variant.instructions is not None:
        for name, table in probe(settings, encoder, data, manifest).items():
            table.to_csv(folder / f"{name}.csv", index=False)
    evaluation = round(seconds + time.time() - began, 1)
    done = {
        "seconds": {
            "training": training_seconds(folder, settings.training.batch_size) or 0.0,
            "evaluation": evaluation,
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if (folder / "model").is_dir():
        parameters, size = model_size(folder / "model")
        done |= {"parameters": parameters, "bytes": size}
    _write(folder / "done.json", done)
    (folder / SCORED).unlink()


def _part(state: "PartialState", folder: Path) -> None:
    """The last thing that the ranks do together: from here on each may take its time."""
    if state.is_main_process:
        shutil.rmtree(folder / SHARES, ignore_errors=True)  # of an earlier launch
    state.wait_for_everyone()
    state.destroy_process_group()  # gloo aborts where one ends without it


def _write_trained(folder: Path, state: "PartialState") -> None:
    """In the first rank: say that the training is over, how many processes it had, and where the first ran."""
    from .provenance import environment

    if not state.is_main_process:
        return
    of_nodes = {"nodes": int(os.environ.get("GROUP_WORLD_SIZE", "1"))}  # as torch's launcher calls them
    _write(folder / TRAINED, {"processes": state.num_processes, **of_nodes, "environment": environment()})


def _score(
    settings: RunSettings, encoder: "Encoder", model: Path, data: Path, manifest: dict, folder: Path, share: Share
) -> float:
    """Write the scores and where they come from, unless they are there; how many seconds it took.

    They are kept when the probes behind them fail, which need more memory: the next call repeats the probes alone.
    """
    from tsembed.evaluation import items

    from .measure import score
    from .provenance import environment

    mark = folder / SCORED
    of_model = model.stat().st_mtime_ns  # a new training gives it another
    if mark.is_file() and (scored := json.loads(mark.read_text()))["model"] == of_model:
        return scored["seconds"]
    began = time.time()
    scores = score(settings, encoder, data, manifest, folder / "mteb", folder / items.FILE, share)
    if share.process > 0:
        return 0.0
    _write(folder / "scores.json", scores)
    _write(folder / "env.json", environment())
    _write(mark, {"model": of_model, "seconds": time.time() - began})
    return time.time() - began


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
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


def _write_or_check_settings(settings: RunSettings, data_sha256: str, folder: Path) -> None:
    """Write config.yaml, or make sure that the one there is of the same run."""
    content = settings.model_dump(mode="json") | {"data_sha256": data_sha256}
    path = folder / "config.yaml"
    if not path.is_file():
        write_text(path, yaml.safe_dump(content, sort_keys=False))  # every rank writes the same
        return
    old = yaml.safe_load(path.read_text())
    old_settings = check(
        RunSettings, {k: v for k, v in old.items() if k != "data_sha256"}, str(path)
    )  # new settings: defaults
    changed = _differences(old_settings.model_dump(mode="json") | {"data_sha256": old.get("data_sha256")}, content)
    if changed:
        raise ValueError(
            f"{path}: this run has other settings: {'; '.join(changed)}. "
            f"Undo the change, or delete {folder} to run it anew"
        )


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        differences = []
        for name in sorted(set(old) | set(new)):
            differences += _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
        return differences
    return [] if old == new or key in NAMES_ALONE else [f"{key} was {old!r}, is {new!r}"]


def _write(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
