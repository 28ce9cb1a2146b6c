"""Where a dataset stands while data are prepared, so that a kill or a refusal leaves none half made.

A dataset is written to `.partial/` and renamed into `.next/`; when all are there and none is refused, they take their
places in the folder. The part with the record is the last: a record means that all parts beside it are there.
"""

import json
import os
import shutil
from pathlib import Path

from ..files import write_text
from .manifest import folder_of, former_keys
from .schema import DatasetSpec

RECORD = "record.json"  # in a dataset's folder: its manifest entries and the settings that it was made with


def keep_next(folder: Path, key: str) -> None:
    """Empty `.next/` unless an interrupted call of the same settings has left its datasets there."""
    mark = folder / ".next" / "key"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        shutil.rmtree(mark.parent, ignore_errors=True)
        write_text(mark, key)


def complete(folder: Path, spec: DatasetSpec, key: str) -> list[dict] | None:
    """The entries of a dataset that an interrupted call has finished, if it was made with the same settings."""
    for place in (folder / ".next", folder):
        record = place / spec.part / spec.name / RECORD
        if not record.is_file():
            continue
        content = json.loads(record.read_text(encoding="utf-8"))
        if content["key"] != key:
            continue
        former_keys(content["datasets"])
        # A kill may have come while the parts of a dataset took their places.
        if all(any(folder_of(f, entry).is_dir() for f in (place, folder)) for entry in content["datasets"]):
            return content["datasets"]
    return None


def take_place(folder: Path, entry: dict) -> None:
    """Give a part of a dataset its place, where the call has made it anew.

    The part with the record comes last, and the older record goes first: a record means that all parts beside it are
    of its settings.
    """
    made, place = (folder_of(each, entry) for each in (folder / ".next", folder))
    if made.is_dir():
        if entry["part"] == "validation":
            (folder / "train" / entry["name"] / RECORD).unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        remove(folder, place)
        os.rename(made, place)


def remove(folder: Path, place: Path) -> None:
    """By rename first, so that no half-removed dataset stands in its place."""
    if place.exists():
        os.rename(place, folder / ".partial" / "old")
        shutil.rmtree(folder / ".partial" / "old")


def remove_others(folder: Path, datasets: list[dict]) -> None:
    """Remove what stands among the datasets and is none of these."""
    known = {folder_of(folder, entry) for entry in datasets}
    for part in ("train", "validation", "eval"):
        for place in (folder / part).glob("*"):
            if place not in known:
                remove(folder, place)
