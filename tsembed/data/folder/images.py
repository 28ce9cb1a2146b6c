"""A folder of picture sets in the layout of docs/data_layout.md -> `DatasetSpec`s in the format of MMEB.

What is asked about a set is decided by its columns (`questions.questions`), not by its name. The whole folder is
checked first, so that faults and missing pictures are reported together, before anything is written. A training row
with a picture that the test part has too is left out and counted.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import model_validator

from ...inputs import check_text
from ...settings import Data
from ...tasks import CAPTIONING
from ..columns import OptionalLabel, OptionalText, OptionalTexts, Text, text_of
from ..image_files import ImageZip
from ..ranking import RankingExample, pair, tables
from ..schema import NAME, DatasetSpec
from ..schema import Row as CheckedRow
from .files import Faults, files_by_stem, provenance, read
from .questions import Draw, Question, Row, judged, questions

SPLITS = ("train", "test")
CAPTIONED = ("picture_of", "name_of")  # the questions that are captions too, to train a backbone on before the tasks
FEWEST = 20  # rows of a part that a question can use; with fewer it is listed as unused
QUARTERS = 4  # pictures of a canvas, all different
VIEW = "image_"  # columns of this name have the same thing in another view
VERSION = 2  # of the sets that are made of the same files


class ImageRow(CheckedRow):
    """A row of a set as the file has it; every column but `image` may be missing or empty."""

    image: Text
    text: OptionalText = None
    label: OptionalLabel = None
    keywords: OptionalTexts = None
    views: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _views(cls, row: dict[str, Any]) -> dict[str, Any]:
        """Gather the columns `image_<view>` that have a name."""
        views = {name: value for name, value in row.items() if name.startswith(VIEW) and value not in (None, "", [])}
        for name, value in views.items():
            text_of(value, name)
        return row | {"views": views}


class Set(NamedTuple):
    """One picture set: its rows by split, and its pictures."""

    folder: Path
    rows: dict[str, list[Row]]
    pictures: ImageZip

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name


def specs(data: Data) -> Iterator[DatasetSpec]:
    """All sets of the folder `data.path`/images, each with every question that its columns allow.

    Raises:
        ValueError: If there is no such folder, with the faults found in it, or with the missing pictures of every set.
    """
    root = _root(data)
    faults = Faults(root)
    sets = [image_set for folder in _folders(root) if (image_set := _read(folder, faults))]
    faults.stop()
    if missing := [line for image_set in sets for line in _missing(image_set)]:
        raise ValueError(f"{root}: pictures are missing, so nothing was prepared:\n" + "\n".join(missing))
    for image_set in sets:
        yield from _specs(image_set, data)


def fingerprint(data: Data) -> list[str]:
    """Name, size and time of every file that `specs` reads, and the version of this code."""
    root = _root(data)
    files = sorted(p for folder in _folders(root) for p in folder.iterdir() if p.is_file())
    stats = [(p.relative_to(root).as_posix(), p.stat()) for p in files]
    return [f"version {VERSION}", *(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)]


def _root(data: Data) -> Path:
    if data.path is None:
        raise ValueError("local pictures need a folder: `data.path` in the preset, or --data FOLDER")
    if not _folders(data.path):
        raise ValueError(f"{data.path} has no images/<set>/ (docs/data_layout.md)")
    return data.path


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in (root / "images").glob("*") if p.is_dir() and not p.name.startswith("."))


def _read(folder: Path, faults: Faults) -> Set | None:
    """The set of a folder, or None without its pictures; what is wrong goes to `faults`."""
    if not NAME.fullmatch(folder.name):
        faults.add(folder, None, "a set's name has letters, digits, '_', '-' and '.' only")
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    files = files_by_stem(folder, SPLITS, "images", faults)
    for split in SPLITS:
        if split not in files:
            faults.add(folder, None, f"{split}.jsonl[.gz] is missing")
            continue
        rows[split] = list(_rows(files[split], faults))
        if not rows[split] and not faults.names(files[split]):
            faults.add(files[split], None, "no row")
    try:
        return Set(folder, rows, ImageZip(folder / "images.zip"))
    except ValueError as error:
        faults.add(folder / "images.zip", None, str(error))
        return None


def _rows(path: Path, faults: Faults) -> Iterator[Row]:
    """The rows that break no rule: no text spells a token of pictures; the labels are all texts, or all 0 and 1."""
    truth: bool | None = None
    for number, row in read(path, ImageRow, faults):
        text, label = row.text or "", row.label or ""
        for said in (text, label, *(row.keywords or ())):
            try:
                check_text(said)
            except ValueError as error:
                faults.add(path, number, str(error))
        if label:
            truth = label in ("0", "1") if truth is None else truth
            if (label in ("0", "1")) != truth:
                faults.add(path, number, f"label {label!r}: the labels of a file are all texts, or all 0 and 1")
            if truth and not text:
                rule = f"label {label} says whether 'text' is true of the picture; there is no 'text'"
                faults.add(path, number, rule)
        yield Row(f"{path.name}:{number}", row.image, text, label, tuple(row.keywords or ()), row.views)


def _missing(image_set: Set) -> Iterator[str]:
    places = {name: row.place for rows in image_set.rows.values() for row in rows for name in row.names}
    absent = [name for name in places if name not in image_set.pictures]
    if absent:
        first = f"the first is {absent[0]!r} of {places[absent[0]]}"
        if other := image_set.pictures.inside_a_folder(absent[0]):
            first += f", which stands there as {other!r}"
        yield f"  images/{image_set.name}: {len(absent):,} of {len(places):,} are not in images.zip; {first}"


def _specs(image_set: Set, data: Data) -> Iterator[DatasetSpec]:
    origin, licence = provenance(image_set.folder)
    train, leaked = _uncontaminated(image_set)
    test = image_set.rows["test"]
    for question in questions([*train, *test]):
        name = f"{image_set.name}_{question.name}"
        about = (origin, licence, question.group, question.task)
        parts = {"train": question.usable(train), "eval": question.usable(test)}
        short = [part for part, rows in parts.items() if len(rows) < FEWEST]
        if short:
            reason = f"fewer than {FEWEST} rows to ask about in {' and '.join(short)}"
            yield DatasetSpec(name, "unused", "ranking", {}, *about, notes={"reason": reason})
            continue
        if question.group == "seen":
            notes = leaked | _left_out(train, parts["train"])
            yield DatasetSpec(
                name, "train", "image_pairs", _pairs(image_set, question, parts["train"], data), *about, notes=notes
            )
            if question.name in CAPTIONED:
                again = (origin, licence, question.group, CAPTIONING)
                pairs = _pairs(image_set, question, parts["train"], data)
                yield DatasetSpec(f"{name}_caption", "train", "image_pairs", pairs, *again, notes=dict(notes))
        rng = random.Random(f"{data.seed}/{name}/eval")
        drawn = _some(parts["eval"], data.eval_rows, rng)
        draw = Draw(parts["eval"], image_set.pictures, rng, True)
        examples: Sequence[RankingExample] = [question.example(row, draw) for row in drawn]
        notes = _left_out(test, parts["eval"])
        yield DatasetSpec(name, "eval", "ranking", tables(examples, rng, image_set.pictures.files), *about, notes=notes)
    if judged(test):
        reason = "a picture is judged for its own sentence only: a wrong candidate might be right"
        name = f"{image_set.name}_picture_of"
        yield DatasetSpec(name, "unused", "ranking", {}, origin, licence, notes={"reason": reason})


def _pairs(image_set: Set, question: Question, rows: list[Row], data: Data) -> dict[str, Iterator[dict]]:
    """The training table, and the held-out one; no picture of a held-out row is in a training row."""
    rng = random.Random(f"{data.seed}/{image_set.name}_{question.name}/train")
    drawn = sorted(rng.sample(range(len(rows)), min(data.validation_rows, len(rows) // 10)))
    held = [rows[i] for i in drawn]
    if question.task == "visual_grounding" and len({image_set.pictures.content(row.image) for row in held}) < QUARTERS:
        held = []  # too few to fill a canvas
    kept = _without_images_of(held, rows, image_set)
    parts = {"rows": kept} | ({"validation": held} if held else {})
    return {table: _drawn(question, Draw(part, image_set.pictures, rng, False)) for table, part in parts.items()}


def _drawn(question: Question, draw: Draw) -> Iterator[dict]:
    for row in draw.rows:
        yield pair(question.example(row, draw), draw.pictures.files)


def _some(rows: list[Row], size: int | None, rng: random.Random) -> list[Row]:
    return rows if size is None or size >= len(rows) else [rows[i] for i in sorted(rng.sample(range(len(rows)), size))]


def _left_out(rows: Sequence[Row], usable: Sequence[Row]) -> dict[str, str]:
    left = len(rows) - len(usable)
    return {"left out": f"{left} rows without what is asked, or not the only one that has it"} if left else {}


def _without_images_of(others: Sequence[Row], rows: Sequence[Row], image_set: Set) -> list[Row]:
    """The rows none of whose pictures, under whatever name, is one of the others'."""
    content: Callable[[str], tuple[int, int]] = image_set.pictures.content
    known = {content(name) for row in others for name in row.names}
    return [row for row in rows if not any(content(name) in known for name in row.names)]


def _uncontaminated(image_set: Set) -> tuple[list[Row], dict[str, str]]:
    kept = _without_images_of(image_set.rows["test"], image_set.rows["train"], image_set)
    left = len(image_set.rows["train"]) - len(kept)
    return kept, {"contamination": f"{left} train rows left out: the test part has a picture of theirs"} if left else {}
