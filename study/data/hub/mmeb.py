"""MMEB on the hub (Jiang et al. 2024, https://arxiv.org/abs/2410.05160): 20 training and 36 evaluation sets.

The instructions stand in the queries, as the authors' code (VLM2Vec) uses them; its mark of the picture becomes ours. A
training set is its split `original`, that of the paper. A picture is named by its path within the repository, and lies
there in zip files.

`data.path` may name a folder with copies of both repositories, `MMEB-train` and `MMEB-eval`, pictures unpacked or not;
then no network is needed. The files of all sets are looked for before anything is downloaded (`mmeb_files`), and all
pictures that the chosen rows name before anything is written.
"""

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tsembed.data.archives import check_no_pointer
from tsembed.data.image_files import ImageFiles
from tsembed.data.pairs import reservoir
from tsembed.data.ranking import RankingExample, pair, tables
from tsembed.data.schema import DatasetSpec
from tsembed.inputs import MARK, Input, check_text
from tsembed.texts import is_blank

from ...presets import Data
from .mmeb_files import EVAL_REVISION, REPOSITORIES, check, copy_of, files_of, revision_of

LICENCE = "Apache-2.0 as stated there; pictures and texts that of each original source"
THEIR_MARK = "<|image_1|>"
VERSION = 1  # of the sets that are made of the same files

_CLASSIFICATION, _ANSWERS = "image_classification", "visual_question_answering"
_RETRIEVAL, _GROUNDING = "image_retrieval", "visual_grounding"
# VLM2Vec, Table 1. The names of training and evaluation sets are the repositories' own.
TRAIN: dict[str, str] = {
    **dict.fromkeys(("ImageNet_1K", "N24News", "HatefulMemes", "VOC2007", "SUN397"), _CLASSIFICATION),
    **dict.fromkeys(("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "Visual7W"), _ANSWERS),
    **dict.fromkeys(("VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t"), _RETRIEVAL),
    **dict.fromkeys(("MSCOCO_t2i", "MSCOCO_i2t", "NIGHTS", "WebQA"), _RETRIEVAL),
    "MSCOCO": _GROUNDING,
}
UNSEEN: dict[str, str] = {
    **dict.fromkeys(("Place365", "ImageNet-A", "ImageNet-R", "ObjectNet", "Country211"), _CLASSIFICATION),
    **dict.fromkeys(("ScienceQA", "VizWiz", "GQA", "TextVQA"), _ANSWERS),
    **dict.fromkeys(("FashionIQ", "Wiki-SS-NQ", "OVEN", "EDIS"), _RETRIEVAL),
    **dict.fromkeys(("RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing"), _GROUNDING),
}
EVAL: dict[str, str] = {name.replace("ImageNet_1K", "ImageNet-1K"): task for name, task in TRAIN.items()} | UNSEEN

COLUMNS = {
    "train": {"qry": str, "qry_image_path": str, "pos_text": str, "pos_image_path": str},
    "eval": {"qry_text": str, "qry_img_path": str, "tgt_text": list, "tgt_img_path": list},
}


class SampledSet(NamedTuple):
    """The rows of one set that are used, without their pictures, and what was left out of them."""

    name: str
    part: str
    folder: Path
    rows: list[dict]
    notes: dict[str, str]

    def paths(self) -> Iterator[str]:
        """The pictures that the rows name."""
        for row in self.rows:
            for column in COLUMNS[self.part]:
                if "path" in column or "img" in column:
                    yield from filter(None, row[column] if isinstance(row[column], list) else [row[column]])


def specs(data: Data) -> Iterator[DatasetSpec]:
    """The training sets, then the evaluation sets.

    Raises:
        ValueError: With the missing files of every set, with the number of its missing pictures, or with its texts that
            spell a token of pictures; or if a file has other columns.
    """
    check([files_of(part, name) for part, names in (("train", TRAIN), ("eval", EVAL)) for name in names], data)
    sampled_sets = [_choose(name, "train", data) for name in TRAIN] + [_choose(name, "eval", data) for name in EVAL]
    if faults := [line for sampled in sampled_sets for line in _text_faults(sampled)]:
        raise ValueError("texts of MMEB cannot be used, so nothing was prepared:\n" + "\n".join(faults))
    if data.path is None:
        for sampled in sampled_sets:
            _fetch_images(sampled, data)
    stores = {folder: ImageFiles(folder) for folder in dict.fromkeys(sampled.folder for sampled in sampled_sets)}
    if missing := [line for sampled in sampled_sets for line in _missing(sampled, stores[sampled.folder])]:
        raise ValueError("pictures of MMEB are missing, so nothing was prepared:\n" + "\n".join(missing))
    for sampled in sampled_sets:
        yield _spec(sampled, stores[sampled.folder], data)


def fingerprint(data: Data) -> list[str]:
    """The pinned revisions, and name, size and time of a mirror's files."""
    pinned = [f"version {VERSION}", f"{REPOSITORIES['eval']} {EVAL_REVISION}"]
    if data.path is None:
        return pinned
    files = sorted(p for p in data.path.rglob("*") if p.suffix in (".parquet", ".zip"))
    return pinned + [f"{p.relative_to(data.path).as_posix()} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]


def trained(row: dict, read: Callable[[str], bytes | None]) -> RankingExample:
    """The example of a training row. Its negatives are not used: the pool of negatives is the batch."""
    query = _item(row["qry"], read(row["qry_image_path"]))
    answer = _item(row["pos_text"], read(row["pos_image_path"]))
    return RankingExample(query, answer, (row["pos_image_path"], row["pos_text"]))


def evaluated(row: dict, read: Callable[[str], bytes | None]) -> RankingExample:
    """The example of an evaluation row: candidate 0 is right; what equals it or another candidate is left out."""
    candidates = zip(row["tgt_text"], row["tgt_img_path"], strict=True)
    answer, *others = [_item(text, read(path)) for text, path in candidates]
    wrong = [item for item in dict.fromkeys(others) if item != answer]
    return RankingExample(_item(row["qry_text"], read(row["qry_img_path"])), answer, negatives=wrong)


def _item(text: str, picture: bytes | None) -> Input:
    return Input(text.replace(THEIR_MARK, MARK if picture is not None else ""), picture)


def _choose(name: str, part: str, data: Data) -> SampledSet:
    """The rows that the settings allow, drawn by seed; those with an empty side are left out, as in VLM2Vec."""
    pattern = files_of(part, name).rows
    folder = copy_of(part, [pattern], data)
    files = sorted(folder.glob(pattern))
    rows = [row for path in files for row in _rows(path, COLUMNS[part])]
    whole = [row for row in rows if _has_two_sides(row)]
    notes = {"empty": f"{len(rows) - len(whole)} rows left out: an empty side"} if len(whole) < len(rows) else {}
    size = data.eval_rows if part == "eval" else data.train_rows and data.train_rows + data.validation_rows
    if size is not None:
        whole = reservoir(whole, size, random.Random(f"{data.seed}/{name}/{part}"))
    return SampledSet(name, part, folder, whole, notes)


def _rows(path: Path, columns: dict[str, type]) -> Iterator[dict]:
    import pyarrow
    import pyarrow.parquet as pq

    try:
        check_no_pointer(path)
        file = pq.ParquetFile(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())})") from None
    if absent := [name for name in columns if name not in file.schema_arrow.names]:
        raise ValueError(f"{path}: column {absent[0]!r} is missing (it has: {', '.join(file.schema_arrow.names)})")
    number = 0
    for batch in file.iter_batches(batch_size=1000, columns=list(columns)):
        for row in batch.to_pylist():
            number += 1
            filled = {name: kind() if row[name] is None else row[name] for name, kind in columns.items()}
            for name, kind in columns.items():
                if not isinstance(filled[name], kind):
                    raise ValueError(
                        f"{path}, row {number}: {name!r} must be a {kind.__name__}, not {filled[name]!r:.60}"
                    )
            if "tgt_text" in filled and len(filled["tgt_text"]) != len(filled["tgt_img_path"]):
                counts = f"{len(filled['tgt_text'])} texts and {len(filled['tgt_img_path'])} pictures"
                raise ValueError(f"{path}, row {number}: {counts} for one list of candidates")
            yield filled | {"place": f"{path}, row {number}"}


def _has_two_sides(row: dict) -> bool:
    if "qry" in row:
        paths = {"qry": "qry_image_path", "pos_text": "pos_image_path"}
        return all(not is_blank(row[text]) or row[path] for text, path in paths.items())
    sides = zip(row["tgt_text"], row["tgt_img_path"], strict=True)
    asked = not is_blank(row["qry_text"]) or bool(row["qry_img_path"])
    return asked and len(row["tgt_text"]) > 1 and all(map(any, sides))


def _fetch_images(sampled: SampledSet, data: Data) -> None:
    """Downloads the zip files of a set: one of the set's own name, and of each folder that its paths name."""
    folders = {path.removeprefix("images/").partition("/")[0] for path in sampled.paths()}
    names = sorted(folders | {sampled.name} if sampled.part == "train" else {sampled.name})
    copy_of(sampled.part, [files_of(sampled.part, name).archive for name in names], data)


def _text_faults(sampled: SampledSet) -> Iterator[str]:
    """The first text of a set that spells a token of pictures, with its file and row, and how many rows have one."""
    found = []
    for row in sampled.rows:
        try:
            for column in COLUMNS[sampled.part]:
                for text in row[column] if isinstance(row[column], list) else [row[column]]:
                    check_text(text)
        except ValueError as error:
            found.append(f"{row['place']}: {column!r}: {error}")
    if found:
        yield f"  {sampled.part} {sampled.name}: {len(found):,} of {len(sampled.rows):,} rows; the first is {found[0]}"


def _missing(sampled: SampledSet, pictures: ImageFiles) -> Iterator[str]:
    paths = dict.fromkeys(sampled.paths())
    absent = [path for path in paths if pictures.find(path) is None]
    if absent:
        counts = f"{len(absent):,} of {len(paths):,}"
        yield f"  {sampled.part} {sampled.name}: {counts}; the first is {absent[0]!r} in {sampled.folder}"


def _spec(sampled: SampledSet, pictures: ImageFiles, data: Data) -> DatasetSpec:
    repository = f"{REPOSITORIES[sampled.part]}@{revision_of(sampled.part, data)}"
    origin = f"{repository}/{sampled.name}" + (" (mirror)" if data.path else "")
    if sampled.part == "train":
        parts = {"rows": _pairs(sampled, pictures)}
        return DatasetSpec(
            sampled.name, "train", "image_pairs", parts, origin, LICENCE, "seen", TRAIN[sampled.name], sampled.notes
        )
    read = cache(pictures.read)
    rng = random.Random(f"{data.seed}/{sampled.name}/candidates")
    files = {hash(read(path)): f"{sampled.folder}: {path}" for path in sampled.paths()}
    candidates = tables((evaluated(row, read) for row in sampled.rows), rng, files)
    group = "unseen" if sampled.name in UNSEEN else "seen"
    return DatasetSpec(
        sampled.name, "eval", "ranking", candidates, origin, LICENCE, group, EVAL[sampled.name], sampled.notes
    )


def _pairs(sampled: SampledSet, pictures: ImageFiles) -> Iterator[dict]:
    for row in sampled.rows:
        example = trained(row, pictures.read)
        named = ((example.query, "qry_image_path"), (example.positive, "pos_image_path"))
        places = {hash(item.image): f"{sampled.folder}: {row[column]}" for item, column in named if item.image}
        yield pair(example, places)
