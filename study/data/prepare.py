"""Prepared data: every dataset of a preset as Arrow tables, and a manifest that says what they are.

    python -m study data PRESET [--study NAME] [--data FOLDER]

A dataset is written to `.partial/` and renamed; the manifest comes last, by rename. So a kill loses one dataset at
most, and a folder with a manifest is complete.
"""

import argparse
import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tsembed.files import write_text
from tsembed.inputs import decode
from tsembed.tasks import CAPTIONING, IMAGE_TASKS, TEXT_TASKS

from .. import paths
from ..presets import SOURCES_WITHOUT_PATH, Data, Experiment, Preset, load_preset
from . import pairs, ranking, subsample
from .manifest import folder_of, manifest
from .schema import FORMS, MTEB_TYPE, NAME, TRAINING_FORMS, Source, clean, columns

ORIGINS = {  # `data.source` of a preset -> the module whose `sources` and `fingerprint` read it
    "embedded": "study.suites.docstrings.suite",
    "digits": "study.suites.digits.suite",
    "local": "study.data.folder.text",
    "local_images": "study.data.folder.images",
    "hub": "study.data.hub.embedding_training_data",
    "mmeb": "study.data.hub.mmeb",
}
VERSION = 1  # of what `prepare` makes of the same input; a change makes older prepared data a different setting
RECORD = "record.json"  # in a dataset's folder: its manifest entries and the settings that it was made with


def prepare(
    preset: Preset, folder: Path, *, study: str = "", report: Callable[[dict], Any] = lambda entry: None
) -> dict:
    """The manifest of the data of a preset's study in `folder`, after writing whatever is missing there.

    Args:
        preset: Of which one experiment's data are prepared.
        folder: Made if it is not there; a folder with data of other settings is refused.
        study: A key of `preset.all_experiments`.
        report: Called with each manifest entry as soon as its dataset is complete.

    Raises:
        ValueError: If `folder` holds complete data of other settings, or if the data break a rule.
    """
    wanted = preset.all_experiments[study].data
    settings = _settings(wanted)
    if (folder / "manifest.json").is_file():
        done = manifest(folder)
        _must_equal(done["settings"], settings, preset.name, folder)
        if all(folder_of(folder, entry).is_dir() for entry in done["datasets"]):
            for entry in done["datasets"]:
                report(entry)
            return done
        (folder / "manifest.json").unlink()
    key = _sha256(json.dumps(settings, sort_keys=True))
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    datasets, unused = [], []
    for source in _sources(wanted):
        if source.part == "unused":
            row = {"name": source.name, "form": source.form, "origin": source.origin, "licence": source.licence}
            unused.append(row | source.notes)
            continue
        entries = _kept(folder, source, key) or _write(folder, source, wanted, key)
        datasets += entries
        for entry in entries:
            report(entry)
    _remove_others(folder, datasets)
    total = "\n".join(sorted(f"{e['part']}/{e['name']} {e['sha256']}" for e in datasets))
    made = {
        "source": wanted.source,
        "seed": wanted.seed,
        "sha256": _sha256(total),
        "path": str(wanted.path) if wanted.path else None,
        "settings": settings,
        "datasets": datasets,
        "unused": unused,
    }
    write_text(folder / "manifest.json", json.dumps(made, indent=1, ensure_ascii=False))
    shutil.rmtree(partial)
    return made


def _sources(data: Data) -> Iterator[Source]:
    """The source module's datasets, each name once per part."""
    seen = set()
    for source in importlib.import_module(ORIGINS[data.source]).sources(data):
        place = f"{source.part} dataset {source.name!r}"
        if not NAME.fullmatch(source.name):
            raise ValueError(f"{place}: a name has letters, digits, '_', '-' and '.' only")
        if source.part != "unused":
            if (source.part, source.name) in seen:
                raise ValueError(f"{place}: the name is used twice")
            seen.add((source.part, source.name))
            allowed = TRAINING_FORMS if source.part == "train" else FORMS.keys() - {"image_pairs"}
            if source.form not in allowed:
                raise ValueError(f"{place}: the form {source.form!r} cannot be one of part {source.part!r}")
            tasks = (*IMAGE_TASKS, CAPTIONING) if source.part == "train" else IMAGE_TASKS
            if source.form in ("image_pairs", "ranking") and source.task not in tasks:
                raise ValueError(f"{place}: task {source.task!r} is none of {', '.join(tasks)}")
        yield source


def _settings(data: Data) -> dict:
    """What decides the prepared rows: the data settings, this module's version and a cheap mark of the input."""
    module = importlib.import_module(ORIGINS[data.source])
    mark = getattr(module, "fingerprint", lambda data: [])(data)
    content = data.model_dump(mode="json", exclude={"path"})
    return content | {"version": VERSION, "input": _sha256("\n".join(mark))}


def _must_equal(old: dict, new: dict, preset: str, folder: Path) -> None:
    changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
    if changed:
        said = {"input": "the input files", "version": "the code that prepares them"}
        what = "; ".join(said.get(k, f"{k}: {old.get(k)!r} there, {new.get(k)!r} asked for") for k in changed)
        raise ValueError(
            f"{folder} holds data of other settings ({what} changed). `./run_all.sh clean {preset}` removes them "
            "and the runs that were made with them; then start again"
        )


def _kept(folder: Path, source: Source, key: str) -> list[dict] | None:
    """The entries of a dataset that an interrupted call has finished, if it was made with the same settings."""
    record = folder / source.part / source.name / RECORD
    if not record.is_file():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    whole = all(folder_of(folder, entry).is_dir() for entry in content["datasets"])
    return content["datasets"] if whole and content["key"] == key else None


def _write(folder: Path, source: Source, data: Data, key: str) -> list[dict]:
    partial = folder / ".partial" / "dataset"
    written = _train if source.part == "train" else _eval
    task = pairs.task_of(source) if source.part == "train" else source.task or ""
    about = {"task": task, "group": source.group}
    entries = []
    for part, form, rows, sha256 in written(source, data, partial):
        entry = {"name": source.name, "part": part, "form": form, **about, "rows": rows, "sha256": sha256}
        notes = source.notes if part == source.part else {}
        entries.append(entry | {"origin": source.origin, "licence": source.licence, "notes": notes})
    record = json.dumps({"key": key, "datasets": entries}, ensure_ascii=False)
    (partial / source.part / RECORD).write_text(record, encoding="utf-8")
    # The part with the record comes last, so that a record means that all parts are there.
    for entry in sorted(entries, key=lambda entry: entry["part"] == source.part):
        place = folder_of(folder, entry)
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove(folder, place)
        os.rename(partial / entry["part"], place)
    partial.rmdir()
    return entries


def _train(source: Source, data: Data, partial: Path) -> Iterator[tuple[str, str, dict[str, int], str]]:
    from .arrow import TableWriter

    types = pairs.columns_of(source.form)
    writers = {part: TableWriter(partial / part, types) for part in ("train", "validation")}
    held = _cleaned(source, "validation") if "validation" in source.tables else None
    for part, row in pairs.pairs(source, _cleaned(source, "rows"), data, held):
        writers[part].add(row)
    if not writers["train"].rows:
        raise ValueError(f"training dataset {source.name!r} ({source.origin}) gives no pair")
    if writers["validation"].rows < data.validation_rows:
        source.notes["validation"] = f"{writers['validation'].rows} of {data.validation_rows} rows: a tenth at most"
    for part, writer in writers.items():
        if writer.rows:
            yield part, source.form, {"rows": writer.rows}, writer.close()
        else:
            writer.discard()


def _eval(source: Source, data: Data, partial: Path) -> Iterator[tuple[str, str, dict[str, int], str]]:
    from .arrow import TableWriter

    types = columns(source.form, "eval")
    whole = {table: list(_cleaned(source, table)) for table in types}
    if source.form == "ranking":
        if fault := next(ranking.faults(whole), None):
            raise ValueError(f"evaluation dataset {source.name!r} ({source.origin}): {fault}")
    tables = subsample.cap(source, whole, data)
    counts, hashes = {}, []
    for table, kinds in types.items():
        if not tables[table]:
            raise ValueError(f"evaluation dataset {source.name!r} ({source.origin}) has no row in {table!r}")
        writer = TableWriter(partial / "eval" / table, kinds)
        for row in tables[table]:
            writer.add(row)
        counts[table] = writer.rows
        hashes.append(f"{table} {writer.close()}")
    if source.form == "ranking":
        source.notes["chance"] = f"chance {100 * ranking.chance(tables):.1f} %"
    yield "eval", source.form, counts, _sha256("\n".join(hashes))


def _cleaned(source: Source, table: str) -> Iterator[dict]:
    if table not in source.tables:
        raise ValueError(f"{source.part} dataset {source.name!r} of form {source.form} lacks the table {table!r}")
    types = FORMS[source.form]["rows" if table == "validation" else table]
    read: set[int] = set()  # hashes of the pictures that are known to be readable
    for number, row in enumerate(source.tables[table], start=1):
        try:
            made = clean(row, types)
            for name, kind in types.items():
                if kind == "image" and made[name] is not None and hash(made[name]) not in read:
                    _readable(made[name], name, row)
                    read.add(hash(made[name]))
            yield made
        except ValueError as error:
            raise ValueError(f"{source.part} dataset {source.name!r}, {table} row {number}: {error}") from None


def _readable(picture: bytes, column: str, row: dict) -> None:
    try:
        decode(picture)
    except ValueError as error:
        raise ValueError(f"{column!r}, {row.get(f'{column}_path', 'without a file')}: {error}") from None


def _remove(folder: Path, place: Path) -> None:
    """By rename first, so that no half-removed dataset stands in its place."""
    if place.exists():
        os.rename(place, folder / ".partial" / "old")
        shutil.rmtree(folder / ".partial" / "old")


def _remove_others(folder: Path, datasets: list[dict]) -> None:
    known = {folder_of(folder, entry) for entry in datasets}
    for part in ("train", "validation", "eval"):
        for place in (folder / part).glob("*"):
            if place not in known:
                _remove(folder, place)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def line_of(entry: dict) -> str:
    """One line about a manifest entry, for a terminal."""
    rows = ", ".join(f"{count:,} {table}" for table, count in entry["rows"].items())
    notes = "".join(f" | {note}" for note in entry["notes"].values())
    return f"{entry['part']:<10} {entry['name']:<32} {entry['task'] or entry['form']:<20} {rows}{notes}"


def _lacking(listing: dict, study: Experiment) -> list[str]:
    """What the notebooks of the text study need and would miss after hours of training."""
    if not {"em", "ic", "mote"} <= set(study.variants):
        return []
    scored = MTEB_TYPE if study.evaluation.benchmark is None else ()  # a benchmark brings its own sets
    there = {(d["part"], d["form"] if d["part"] == "eval" else d["task"]) for d in listing["datasets"]}
    needed = [("train", task) for task in TEXT_TASKS] + [("eval", form) for form in (*scored, "wikipedia")]
    words = {"train": "training part of the task", "eval": "test part of the form"}
    return [f"{words[part]} {name}" for part, name in needed if (part, name) not in there]


def main(arguments: list[str] | None = None) -> None:
    """`python -m study data`: prepare the data of a preset and print a line per dataset."""
    parser = argparse.ArgumentParser(prog="python -m study data", description="Prepare a preset's data.")
    parser.add_argument("preset", help="a name in configs/presets")
    parser.add_argument("--study", default="", help="one of the preset's `experiments`; its own by default")
    parser.add_argument("--data", type=Path, help="folder of a local source, or of a mirror of the hub files")
    options = parser.parse_args(arguments)
    try:
        preset = load_preset(options.preset, options.data)
        if options.study not in preset.all_experiments:
            raise ValueError(
                f"preset {preset.name} has no study {options.study!r}; it has: {', '.join(preset.experiments)}"
            )
        if options.data and preset.all_experiments[options.study].data.source in SOURCES_WITHOUT_PATH:
            raise ValueError(f"preset {preset.name} uses embedded data and takes no --data; `local` and the hub's do")
        folder = paths.data_dir(preset.name, options.study)
        made = prepare(preset, folder, study=options.study, report=lambda entry: print(line_of(entry), flush=True))
        if lacking := _lacking(made, preset.all_experiments[options.study]):
            raise ValueError(f"the notebooks compare all task types, and the data have no {', no '.join(lacking)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(
        f"{len(made['datasets'])} datasets, {len(made['unused'])} files unused, sha256 {made['sha256'][:16]}: {folder}"
    )
