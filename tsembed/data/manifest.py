"""Reading prepared data: the manifest, which datasets a variant learns from, and their tables."""

import json
from collections import defaultdict
from pathlib import Path

from ..settings import Variant
from ..tasks import CAPTIONING
from .shards import ShardedTable

UNBALANCED = 20  # times as many pairs as another task has


def read_manifest(folder: Path) -> dict:
    """The manifest of complete prepared data, an old one under the names of today.

    Raises:
        ValueError: If there is none, or if it cannot be read.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no manifest.json: prepare the data first (./run_all.sh PRESET)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}): ./run_all.sh clean PRESET, then prepare again") from None
    former_keys([*manifest["datasets"], *manifest.get("unused", [])])
    return manifest


def former_keys(entries: list[dict]) -> None:
    """Rename the keys of entries that an older version has written."""
    for entry in entries:
        if "form" in entry:
            entry["format"] = entry.pop("form")


def training_tasks(manifest: dict, part: str, variant: Variant | None = None) -> dict[str, str]:
    """Datasets, all or those that a variant learns from, and their tasks.

    Captions are for who trains on them alone. Where a task has pairs and sets of labels, `variant.supervision` says
    which of them, or both.
    """
    entries = [d for d in manifest["datasets"] if d["part"] == part]
    if variant is None:
        return {d["name"]: d["task"] for d in entries}
    kinds: dict[str, set[bool]] = defaultdict(set)  # task -> whether its sets are pairs
    for d in entries:
        kinds[d["task"]].add(d["format"] == "pairs")
    if variant.supervision in ("pairs", "labels"):
        wanted = variant.supervision == "pairs"
        entries = [d for d in entries if len(kinds[d["task"]]) == 1 or (d["format"] == "pairs") == wanted]
    return {d["name"]: d["task"] for d in entries if (d["task"] == CAPTIONING) == (CAPTIONING in variant.tasks)}


def unbalanced(manifest: dict) -> list[str]:
    """A line where a task has far fewer training pairs than another one: balanced sampling repeats them.

    >>> sets = [{"part": "train", "task": t, "rows": {"rows": n}} for t, n in (("retrieval", 900), ("clustering", 30))]
    >>> unbalanced({"datasets": sets})
    ['unbalanced: retrieval has 900 training pairs, clustering 30']
    """
    rows: dict[str, int] = defaultdict(int)
    for entry in manifest["datasets"]:
        if entry["part"] == "train":
            rows[entry["task"]] += entry["rows"]["rows"]
    most, fewest = max(rows, key=rows.__getitem__, default=""), min(rows, key=rows.__getitem__, default="")
    if not rows or rows[most] < UNBALANCED * rows[fewest]:
        return []
    return [f"unbalanced: {most} has {rows[most]:,} training pairs, {fewest} {rows[fewest]:,}"]


def load_table(folder: Path, part: str, name: str):
    """The table of a training or validation dataset, or {table: Dataset} of an evaluation dataset, memory-mapped.

    One in shards is a `ShardedTable`.

    Args:
        folder: Prepared data.
        part: "train" and "validation" (columns query, document, group, and those of pictures where the dataset has
            them), or "eval" (tables of the dataset's format).
        name: As the manifest has it.

    Raises:
        ValueError: If the manifest has no such dataset; with the names that it has.
    """
    entries = {e["name"]: e for e in read_manifest(folder)["datasets"] if e["part"] == part}
    if name not in entries:
        raise ValueError(f"{folder} has no {part} dataset {name!r}; it has: {', '.join(entries) or 'none'}")
    from datasets import load_from_disk

    place = folder_of(folder, entries[name])
    if shards := entries[name].get("shards"):
        return ShardedTable(place, shards)
    if part != "eval":
        return load_from_disk(str(place))
    return {table: load_from_disk(str(place / table)) for table in entries[name]["rows"]}


def folder_of(folder: Path, entry: dict) -> Path:
    """Where the tables of a manifest entry are."""
    return folder / entry["part"] / entry["name"]
