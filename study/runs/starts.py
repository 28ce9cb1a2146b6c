"""Trained models that others start from, kept by what decides them: another preset does not train the same again.

    .cache/starts/<key>/model/         the model's files, hard links where the file system has them
    .cache/starts/<key>/metrics.jsonl  its training
    .cache/starts/<key>/of.json        the run that trained it

The key is a hash of the run's settings, seed and training data, of its processes and precision, of the library's code
and of the locked packages, so a change of any of them trains anew. Deleting the folder frees the disk, and costs no
result.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from tsembed.files import write_folder, write_text

from .. import paths, variant_rows
from ..presets import RunSettings

HISTORY = "metrics.jsonl"  # in a run's folder: its steps, which say how long the training took
STARTED = "start.json"  # in the folder of a run that trained nothing: whose model it has
CHANGES_NO_WEIGHT: dict[str, Any] = {  # the training data have a hash of their own
    **dict.fromkeys(("preset", "variant_name", "evaluation", "data"), True),
    "variant": {"label", "probe"},
}


def is_start(variant: str) -> bool:
    """Whether other variants start from this one's trained model."""
    return any(other.starts_from == variant for other in variant_rows.load_variants().values())


def key(settings: RunSettings, manifest: dict, processes: int) -> str:
    """What decides the weights of a training, as a hash.

    Args:
        settings: Of the run.
        manifest: Of its prepared data: the rows of all training datasets decide the vocabulary, too.
        processes: That train together: each brings its pairs, and all their negatives.
    """
    import tsembed
    from tsembed.encoder.precision import mixed_precision

    content = settings.model_dump(mode="json", exclude=CHANGES_NO_WEIGHT)
    data = [[d["name"], d["sha256"]] for d in manifest["datasets"] if d["part"] == "train"]
    precision = mixed_precision(settings.training.precision)
    digest = hashlib.sha256(json.dumps([content, data, processes, precision], sort_keys=True).encode())
    lock = paths.ROOT / "requirements.lock"
    for path in [*sorted(Path(tsembed.__file__).parent.rglob("*.py")), *([lock] if lock.is_file() else [])]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def take(key: str, folder: Path) -> bool:
    """Put the model that an equal training has made into a run's folder, and say so; whether there was one."""
    found = _place(key)
    if not found.is_dir():
        return False
    shutil.copyfile(found / HISTORY, folder / HISTORY)
    write_text(folder / STARTED, (found / "of.json").read_text())
    with write_folder(folder / "model") as partial:
        _link(found / "model", partial)
    print(f"the model is that of {json.loads((found / 'of.json').read_text())['run']}, trained by the same settings")
    return True


def keep(key: str, folder: Path) -> None:
    """Keep the model that a run has trained, for others of the same settings."""
    found = _place(key)
    if found.is_dir() or not (folder / HISTORY).is_file():
        return
    with write_folder(found) as partial:
        _link(folder / "model", partial / "model")
        shutil.copyfile(folder / HISTORY, partial / HISTORY)
        run = folder.relative_to(paths.ROOT) if folder.is_relative_to(paths.ROOT) else Path(folder.name)
        write_text(partial / "of.json", json.dumps({"run": run.as_posix()}) + "\n")


def _place(key: str) -> Path:
    return paths.ROOT / ".cache" / "starts" / key


def _link(source: Path, target: Path) -> None:
    """Copy a folder by hard links: a model's files are written once and replaced, never changed."""
    shutil.copytree(source, target, copy_function=_linked, dirs_exist_ok=True)


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # of another file system, or of one without links
        shutil.copy2(source, target)
    return target
