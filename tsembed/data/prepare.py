"""Prepared data: every dataset as Arrow tables, and a manifest that says what they are.

A dataset is written to `.partial/` and renamed, first into `.next/`; when all are there and none is refused, they take
their places, and the manifest comes last, by rename. So a kill loses one dataset at most, a folder with a manifest is
complete, and data that are refused leave what an earlier call has prepared as it was.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..files import write_text
from ..inputs import check_image
from ..settings import Data
from ..tasks import CAPTIONING, IMAGE_TASKS, TASKS
from . import pairs, ranking, scorable, staging, subsample
from .manifest import folder_of, read_manifest
from .pair_notes import PairNotes
from .schema import FORMATS, NAME, TRAINING_FORMATS, DatasetSpec, Noted, Row, kinds, parse, row_classes

VERSION = 1  # of what `prepare` makes of the same input; a change makes older prepared data a different setting


def prepare(
    specs: Iterable[DatasetSpec] | Callable[[str], Iterable[DatasetSpec]],
    folder: Path,
    data: Data,
    settings: dict[str, Any],
    *,
    source: str,
    fewest: int = 0,
    remedy: str,
    report: Callable[[dict], Any] = lambda entry: None,
) -> dict:
    """The manifest of prepared data in `folder`, after writing whatever is missing there.

    Args:
        specs: The datasets, or what makes them of the key of the settings; read only where something is missing.
        folder: Made if it is not there; a folder with data of other settings is refused.
        data: Bounds and seed of what is drawn.
        settings: What decides the prepared rows, see `settings_of`.
        source: What the manifest calls the origin of the data.
        fewest: Queries, texts or pairs that an evaluation set needs at least.
        remedy: What to do about a folder with data of other settings; the end of a sentence.
        report: Called with each manifest entry as soon as its dataset is complete.

    Raises:
        ValueError: If `folder` holds complete data of other settings, or if the data break a rule. All evaluation sets
            that break a rule of `scorable` are in one error, and no manifest is written.
    """
    if (folder / "manifest.json").is_file():
        complete = read_manifest(folder)
        _must_equal(complete["settings"], settings, type(data), folder, remedy)
        if all(folder_of(folder, entry).is_dir() for entry in complete["datasets"]):
            for entry in complete["datasets"]:
                report(entry)
            return complete
        (folder / "manifest.json").unlink()
    key = key_of(settings)
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    staging.keep_next(folder, key)
    datasets, unused, refused = [], [], []
    for spec in _checked(specs(key) if callable(specs) else specs):
        if spec.part == "unused":
            row = {"name": spec.name, "format": spec.format, "origin": spec.origin, "licence": spec.licence}
            unused.append(row | dict(spec.notes))
            continue
        try:
            entries = staging.complete(folder, spec, key) or _write(folder, spec, data, key, fewest)
        except scorable.NotScorable as error:
            refused.append(str(error))
            continue
        datasets += entries
        for entry in entries:
            report(entry)
    what = {
        "these evaluation sets cannot tell one model from another": refused,
        "from these training sets nothing can be learned": list(_without_negatives(datasets)),
    }
    if wrong := {why: lines for why, lines in what.items() if lines}:
        whys = [f"{why}, so no manifest was written:\n" + "\n".join(lines) for why, lines in wrong.items()]
        raise ValueError(f"{data.path or source}: " + "\n".join(whys))
    for entry in sorted(datasets, key=lambda entry: entry["part"] != "validation"):
        staging.take_place(folder, entry)
    staging.remove_others(folder, datasets)
    total = "\n".join(sorted(f"{e['part']}/{e['name']} {e['sha256']}" for e in datasets))
    manifest = {
        "source": source,
        "seed": data.seed,
        "sha256": _sha256(total),
        "path": str(data.path) if data.path else None,
        "settings": settings,
        "datasets": datasets,
        "unused": unused,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
    shutil.rmtree(partial)
    shutil.rmtree(folder / ".next")
    return manifest


def _without_negatives(datasets: list[dict]) -> Iterator[str]:
    """A line per training set whose batches have no negative, as they are of this set alone."""
    trained = [entry for entry in datasets if entry["part"] == "train"]
    of_task = Counter(entry["task"] for entry in trained)
    for entry in trained:
        task = TASKS.get(entry["task"])
        alone = of_task[entry["task"]] == 1 or task is None or task.batching == "homogeneous"
        if alone and "negatives" in entry["notes"]:
            yield f"  {entry['format']}/{entry['name']}: {entry['notes']['negatives']}"


def settings_of(data: Data, fingerprint: Iterable[str]) -> dict[str, Any]:
    """What decides the prepared rows: the data settings, this module's version and a cheap mark of the input.

    Args:
        data: The settings; its path is none of them, since a folder that was moved holds the same data.
        fingerprint: Lines that change when the input does.
    """
    content = data.model_dump(mode="json", exclude={"path"})
    return content | {"version": VERSION, "input": _sha256("\n".join(fingerprint))}


def key_of(settings: dict[str, Any]) -> str:
    """A mark of settings: whatever was made with others is made anew.

    Args:
        settings: As `settings_of` gives them.
    """
    return _sha256(json.dumps(settings, sort_keys=True))


def _checked(specs: Iterable[DatasetSpec]) -> Iterator[DatasetSpec]:
    """The datasets, each name once per part."""
    seen = set()
    for spec in specs:
        place = f"{spec.part} dataset {spec.name!r}"
        if not NAME.fullmatch(spec.name):
            raise ValueError(f"{place}: a name has letters, digits, '_', '-' and '.' only")
        if spec.part != "unused":
            if (spec.part, spec.name) in seen:
                raise ValueError(f"{place}: the name is used twice")
            seen.add((spec.part, spec.name))
            allowed = TRAINING_FORMATS if spec.part == "train" else FORMATS.keys() - {"image_pairs"}
            if spec.format not in allowed:
                raise ValueError(f"{place}: the format {spec.format!r} cannot be one of part {spec.part!r}")
            tasks = (*IMAGE_TASKS, CAPTIONING) if spec.part == "train" else IMAGE_TASKS
            if spec.format in ("image_pairs", "ranking") and spec.task not in tasks:
                raise ValueError(f"{place}: task {spec.task!r} is none of {', '.join(tasks)}")
        yield spec


def _must_equal(old: dict, new: dict, kind: type[Data], folder: Path, remedy: str) -> None:
    old = kind.model_construct().model_dump(mode="json", exclude={"path"}) | old  # defaults for newer settings
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if changed:
        names = {"input": "the input files", "version": "the code that prepares them"}
        what = "; ".join(names.get(k, f"{k}: {old.get(k)!r} there, {new.get(k)!r} asked for") for k in changed)
        raise ValueError(f"{folder} holds data of other settings ({what} changed). {remedy}")


def _write(folder: Path, spec: DatasetSpec, data: Data, key: str, fewest: int) -> list[dict]:
    partial = folder / ".partial" / "dataset"
    if spec.shards:
        return _record_shards(folder, spec, key)
    if spec.part == "train":
        entries = _write_train(spec, data, partial)
    else:
        entries = _write_eval(spec, data, partial, fewest)
    record = json.dumps({"key": key, "datasets": entries}, ensure_ascii=False)
    (partial / spec.part / staging.RECORD).write_text(record, encoding="utf-8")
    # The part with the record comes last, so that a record means that all parts are there.
    for entry in sorted(entries, key=lambda entry: entry["part"] == spec.part):
        place = folder_of(folder / ".next", entry)
        place.parent.mkdir(parents=True, exist_ok=True)
        staging.remove(folder, place)
        os.rename(partial / entry["part"], place)
    partial.rmdir()
    return entries


def _record_shards(folder: Path, spec: DatasetSpec, key: str) -> list[dict]:
    """The entry of a dataset whose shards are in its folder."""
    place = folder / spec.part / spec.name
    known = {name for shard in spec.shards for name in (shard.file, Path(shard.file).with_suffix(".json").name)}
    for path in place.iterdir():
        if path.name not in known:  # of other settings, or of a process that was killed
            path.unlink() if path.is_file() else shutil.rmtree(path)
    rows = sum(shard.rows for shard in spec.shards)
    content = "\n".join(f"{shard.sha256} {shard.rows}" for shard in spec.shards)
    entry = _entry(spec, "train", {"rows": rows}, _sha256(content), dict(spec.notes))
    entry["shards"] = [{"file": shard.file, "rows": shard.rows, "sha256": shard.sha256} for shard in spec.shards]
    write_text(place / staging.RECORD, json.dumps({"key": key, "datasets": [entry]}, ensure_ascii=False))
    return [entry]


def _entry(spec: DatasetSpec, part: str, rows: dict[str, int], sha256: str, notes: dict[str, str]) -> dict[str, Any]:
    """What the manifest says about a dataset."""
    task = pairs.task_of(spec) if spec.part == "train" else spec.task or ""
    entry = {"name": spec.name, "part": part, "format": spec.format, "task": task, "group": spec.group}
    return entry | {"rows": rows, "sha256": sha256, "origin": spec.origin, "licence": spec.licence, "notes": notes}


def _write_train(spec: DatasetSpec, data: Data, partial: Path) -> list[dict]:
    from .arrow import TableWriter

    parts: tuple[pairs.Part, ...] = ("train", "validation")
    writers = {part: TableWriter(partial / part, pairs.columns_of(spec)) for part in parts}
    most = 0  # hard negatives of a training pair
    held_out = _rows(spec, "validation") if "validation" in spec.tables else None
    rows = Noted(_rows(spec, "rows"))
    made = Noted(pairs.pairs(spec, rows, data, held_out))
    counted = PairNotes(spec.format)
    for part, row in made:
        writers[part].add(row)
        if part == "train":
            most = max(most, len(row.get("negatives", ())))
            counted.add(row)
    if not writers["train"].rows:
        raise ValueError(f"training dataset {spec.name!r} ({spec.origin}) gives no pair")
    notes = {**spec.notes, **rows.notes, **made.notes, **counted.notes()}
    if writers["validation"].rows < data.validation_rows:
        notes["validation"] = f"{writers['validation'].rows} of {data.validation_rows} rows: a tenth at most"
    entries = []
    for part, writer in writers.items():
        if writer.rows:
            count, sha256 = {"rows": writer.rows}, writer.close()
            entry = _entry(spec, part, count, sha256, notes if part == "train" else {})
            entries.append(entry | ({"negatives": most} if part == "train" and most else {}))
        else:
            writer.discard()
    return entries


def _write_eval(spec: DatasetSpec, data: Data, partial: Path, fewest: int) -> list[dict]:
    from .arrow import TableWriter

    classes = row_classes(spec.format, "eval")
    read = {table: Noted(_rows(spec, table)) for table in classes}
    whole = {table: [vars(row) for row in rows] for table, rows in read.items()}
    if spec.format == "ranking":
        if fault := next(ranking.faults(whole), None):
            raise ValueError(f"evaluation dataset {spec.name!r} ({spec.origin}): {fault}")
    scorable.check(spec, whole, fewest=fewest)
    tables, left_out = subsample.subsample(spec, whole, data)
    # The whole set comes first, so that a fault of the data is not put down to the draw.
    scorable.check(spec, tables, place=f"as scored, with eval_rows {data.eval_rows}: ")
    counts, hashes = {}, []
    for table, row_class in classes.items():
        writer = TableWriter(partial / "eval" / table, kinds(row_class))
        for row in tables[table]:
            writer.add(row)
        counts[table] = writer.rows
        hashes.append(f"{table} {writer.close()}")
    notes = dict(spec.notes)
    for rows in read.values():
        notes |= rows.notes
    entry = _entry(spec, "eval", counts, _sha256("\n".join(hashes)), notes | left_out)
    if spec.format == "ranking":
        entry["chance"] = 100 * ranking.chance(tables)  # per cent, of a choice among all candidates
    if spec.answers:
        entry["answers"] = 100 / spec.answers  # per cent, of a choice among the answers that the question can have
    return [entry]


def _rows(spec: DatasetSpec, table: str) -> Generator[Row, None, dict[str, str]]:
    """The rows of a table, each checked once, here or by its origin; returns the notes that they end with."""
    if table not in spec.tables:
        raise ValueError(f"{spec.part} dataset {spec.name!r} of format {spec.format} lacks the table {table!r}")
    row_class = FORMATS[spec.format]["rows" if table == "validation" else table]
    images = [name for name, kind in kinds(row_class).items() if kind.stored == "bytes"]
    good: set[int] = set()  # hashes of the images that are known to be so
    rows = Noted(spec.tables[table])
    row: Any
    for number, row in enumerate(rows, start=1):
        try:
            parsed = row if isinstance(row, row_class) else parse(row_class, row)
            for name in images:
                image = getattr(parsed, name)
                if image is not None and hash(image) not in good:
                    _check_image(image, name, row)
                    good.add(hash(image))
        except ValueError as error:
            raise ValueError(f"{spec.part} dataset {spec.name!r}, {table} row {number}: {error}") from None
        yield parsed
    return rows.notes


def _check_image(image: bytes, column: str, row: dict) -> None:
    try:
        check_image(image)
    except ValueError as error:
        raise ValueError(f"{column!r}, {row.get(f'{column}_path', 'without a file')}: {error}") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
