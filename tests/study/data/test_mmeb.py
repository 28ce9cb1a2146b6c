"""Invariants of MMEB's source, on small files of the same form:

- 20 training sets and 36 evaluation sets in the paper's meta-tasks and distributions, with pinned revisions;
- the instruction stays, their mark becomes ours, and goes where there is no picture;
- candidate 0 is right, wherever it ends up; what equals another candidate is left out;
- what a set lacks of its repository is said of all sets before anything is downloaded, by the hub or of a mirror;
- pictures are found in folders and zip files, with and without `images/`; what is missing is counted per set first;
- so is a text that spells a token of pictures;
- malformed files name file, row and rule; without a network the mirror is named.
"""

import re
import zipfile
from collections import Counter

import numpy as np
import pytest

from study.data import prepare
from study.data.hub import mmeb, mmeb_files
from study.presets import Data, Preset, load_preset
from tsembed.data.manifest import load_table
from tsembed.inputs import Input, encode_png

INSTRUCTION = "<|image_1|>\nRepresent the given image for classification\n"


def picture(number):
    return encode_png(np.full((2, 3), number % 256, np.uint8))


def train_rows(name, count):
    """Rows in the form of the training sets: pictures -> texts, texts -> pictures, or pictures -> pictures."""
    for i in range(count):
        path = f"images/{name}/Train/{i}.png"
        both = {"qry": INSTRUCTION, "qry_image_path": path, "pos_text": f"thing {i % 4}", "pos_image_path": ""}
        if name.endswith("_t2i") or name in ("VisDial", "WebQA"):
            shown = {"pos_text": "<|image_1|>\nRepresent the given image.\n", "pos_image_path": path}
            both |= {"qry": f"Find me a picture of thing {i}.\n", "qry_image_path": ""} | shown
        if name in ("MSCOCO", "NIGHTS", "CIRR"):
            both |= {
                "pos_text": "<|image_1|>\nRepresent the given image.\n",
                "pos_image_path": f"images/{name}/Train/c{i}.png",
            }
        yield both | {"neg_text": "unused", "neg_image_path": ""}


def eval_rows(name, count):
    for i in range(count):
        texts, paths = [f"thing {(i + j) % 7}" for j in range(5)], [""] * 5
        if mmeb.EVAL[name] == "visual_grounding":
            texts = ["<|image_1|>\nRepresent the given cropped image of the object\n"] * 5
            paths = [f"{name}/crop{(i + j) % 7}.png" for j in range(5)]
        query = {"qry_text": "<|image_1|> Identify the object", "qry_img_path": f"{name}/{i}.jpg"}
        yield query | {"tgt_text": texts, "tgt_img_path": paths}


def write(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def named(rows):
    for row in rows:
        for column in ("qry_image_path", "pos_image_path", "qry_img_path", "tgt_img_path"):
            value = row.get(column, "")
            yield from filter(None, value if isinstance(value, list) else [value])


def make(folder, absent=()):
    """A mirror: training pictures unpacked, but those of one set in a zip file; evaluation pictures in one zip file."""
    train, evaluation = folder / "MMEB-train", folder / "MMEB-eval"
    for name in mmeb.TRAIN:
        rows = list(train_rows(name, 12))
        write(train / name / "original-00000-of-00001.parquet", rows)
        names = sorted(set(named(rows)) - set(absent))
        if name == "ChartQA":
            (train / "images_zip").mkdir()
            with zipfile.ZipFile(train / "images_zip/ChartQA.zip", "w") as archive:
                for path in names:
                    archive.writestr(path.removeprefix("images/"), picture(int(re.findall(r"\d+", path)[-1])))
            continue
        for path in names:
            (train / path).parent.mkdir(parents=True, exist_ok=True)
            (train / path).write_bytes(picture(int(re.findall(r"\d+", path)[-1])))
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name in mmeb.EVAL:
            rows = list(eval_rows(name, 6))
            write(evaluation / name / "test-00000-of-00001.parquet", rows)
            for path in sorted(set(named(rows)) - set(absent)):
                archive.writestr(path, picture(int(re.findall(r"\d+", path)[-1])))
    (folder / "images.zip").rename(evaluation / "images.zip")
    return folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return make(tmp_path_factory.mktemp("mirror"))


def settings(folder, **data):
    return Data(source="mmeb", path=folder, **data)


def found(folder, **data):
    return {(s.part, s.name): s for s in mmeb.specs(settings(folder, **data))}


def test_the_sets_are_the_papers():
    assert Counter(mmeb.TRAIN.values()) == {
        "image_classification": 5,
        "visual_question_answering": 6,
        "image_retrieval": 8,
        "visual_grounding": 1,
    }
    assert Counter(mmeb.EVAL.values()) == {
        "image_classification": 10,
        "visual_question_answering": 10,
        "image_retrieval": 12,
        "visual_grounding": 4,
    }
    assert len(mmeb.TRAIN) == 20
    assert len(mmeb.EVAL) == 36
    assert len(mmeb.UNSEEN) == 16
    assert re.fullmatch("[0-9a-f]{40}", mmeb_files.EVAL_REVISION)
    assert set(mmeb.EVAL) - set(mmeb.UNSEEN) == {n.replace("ImageNet_1K", "ImageNet-1K") for n in mmeb.TRAIN}


def test_every_set_becomes_a_source_with_its_distribution(mirror):
    all_ = found(mirror)
    assert {name for part, name in all_ if part == "train"} == set(mmeb.TRAIN)
    groups = {name: s.group for (part, name), s in all_.items() if part == "eval"}
    assert Counter(groups.values()) == {"seen": 20, "unseen": 16}
    assert groups["GQA"] == "unseen"
    assert all_["eval", "RefCOCO"].task == "visual_grounding"
    assert all_["eval", "GQA"].origin == f"TIGER-Lab/MMEB-eval@{mmeb_files.EVAL_REVISION}/GQA (mirror)"


def test_instructions_stay_and_the_mark_becomes_ours(mirror):
    all_ = found(mirror)
    row = next(iter(all_["train", "ImageNet_1K"].tables["rows"]))
    assert row["query"] == "<image>\nRepresent the given image for classification\n"
    assert row["query_image"] == picture(0)
    assert (row["document"], row["document_image"]) == ("thing 0", None)
    row = next(iter(all_["train", "VisDial"].tables["rows"]))
    assert (row["query"], row["query_image"]) == ("Find me a picture of thing 0.\n", None)
    assert row["document"] == "<image>\nRepresent the given image.\n"
    assert row["document_image"] == picture(0)
    assert mmeb._item("<|image_1|>\nWhat?", None) == Input("\nWhat?")


def test_groups_are_of_equal_texts_and_of_equal_pictures(mirror):
    rows = list(found(mirror)["train", "ImageNet_1K"].tables["rows"])
    assert len({row["group"] for row in rows}) == 4  # four labels
    rows = list(found(mirror)["train", "MSCOCO"].tables["rows"])
    assert len({row["group"] for row in rows}) == 12


def test_candidate_0_is_right_and_repeated_candidates_are_one(mirror, tmp_path):
    tables = found(mirror)["eval", "GQA"].tables
    for i, row in enumerate(tables["queries"]):
        texts = [tables["candidates"][k]["text"] for k in row["candidates"]]
        assert tables["candidates"][row["positives"][0]]["text"] == f"thing {i % 7}"
        assert sorted(texts) == sorted(f"thing {(i + j) % 7}" for j in range(5))
    first = [
        row["candidates"].index(row["positives"][0])
        for s in found(mirror).values()
        if s.part == "eval"
        for row in s.tables["queries"]
    ]
    assert len(set(first)) == 5
    row = {"qry_text": "?", "qry_img_path": "", "tgt_text": ["a", "b", "a", "b", "c"], "tgt_img_path": [""] * 5}
    example = mmeb.evaluated(row, lambda path: None)
    assert example.positive == Input("a")
    assert list(example.negatives) == [Input("b"), Input("c")]


def prepared(folder, tmp_path, **data):
    preset = Preset(name="t", about="", data=settings(folder, **data), variants={"em": 1})
    return prepare.prepare(preset, tmp_path / "data"), tmp_path / "data"


def test_a_mirror_prepares_a_seeded_sample(mirror, tmp_path):
    made, folder = prepared(mirror, tmp_path, train_rows=5, validation_rows=1, eval_rows=4)
    rows = {(e["part"], e["name"]): e["rows"] for e in made["datasets"]}
    assert rows["train", "ChartQA"] == {"rows": 5}
    assert rows["eval", "RefCOCO"]["queries"] == 4
    assert sum(part == "eval" for part, _ in rows) == 36
    table = load_table(folder, "train", "ChartQA")
    assert all(image == picture(image_number(image)) for image in table["query_image"])
    again, _ = prepared(mirror, tmp_path / "again", train_rows=5, validation_rows=1, eval_rows=4)
    assert again["sha256"] == made["sha256"]


def image_number(image):
    from tsembed.inputs import open_image

    return open_image(Input("", image)).getpixel((0, 0))[0]


def test_missing_pictures_are_counted_per_set_before_anything_is_written(tmp_path):
    absent = ["images/CIRR/Train/3.png", "images/CIRR/Train/c7.png", "GQA/2.jpg", "images/ChartQA/Train/1.png"]
    folder = make(tmp_path / "mirror", absent)
    with pytest.raises(ValueError, match="nothing was prepared") as error:
        prepared(folder, tmp_path)
    lines = [line.partition(" in /")[0] for line in str(error.value).splitlines()]
    assert lines == [
        "pictures of MMEB are missing, so nothing was prepared:",
        "  train ChartQA: 1 of 12; the first is 'images/ChartQA/Train/1.png'",
        "  train CIRR: 2 of 24; the first is 'images/CIRR/Train/3.png'",
        "  eval GQA: 1 of 6; the first is 'GQA/2.jpg'",
    ]
    assert not list((tmp_path / "data").glob("[!.]*"))


def test_texts_that_spell_a_token_of_pictures_are_counted_per_set_before_anything_is_written(tmp_path):
    folder = make(tmp_path / "mirror")
    rows = list(train_rows("CIRR", 12))
    for number in (3, 8):
        rows[number]["qry"] += "<|vision_end|>"
    write(folder / "MMEB-train/CIRR/original-00000-of-00001.parquet", rows)
    asked = list(eval_rows("GQA", 6))
    asked[1]["tgt_text"][2] = "a <|video_pad|>"
    write(folder / "MMEB-eval/GQA/test-00000-of-00001.parquet", asked)
    with pytest.raises(ValueError, match="nothing was prepared") as error:
        prepared(folder, tmp_path)
    lines = str(error.value).splitlines()[1:]
    assert re.match(
        r"  train CIRR: 2 of 12 rows; the first is /.*/CIRR/original-0+-of-0+1\.parquet, row 4: 'qry': <\|vision_end",
        lines[0],
    )
    assert re.match(
        r"  eval GQA: 1 of 6 rows; the first is .*\.parquet, row 2: 'tgt_text': <\|video_pad\|> is a", lines[1]
    )
    assert len(lines) == 2


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    folder = make(tmp_path / "mirror")
    (folder / "MMEB-train/images/CIRR/Train/c3.png").write_bytes(b"torn")
    with pytest.raises(
        ValueError, match=r"'CIRR', rows row 4: 'document_image', .*images/CIRR/Train/c3\.png: not a reada"
    ):
        prepared(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "MMEB-train/CIRR/original-0.parquet",
            [{"qry": "a"}],
            r"original-0\.parquet: column 'qry_image_path' is missing",
        ),
        (
            "MMEB-eval/GQA/test-0.parquet",
            [{"qry_text": "a", "qry_img_path": "", "tgt_text": ["x", "y"], "tgt_img_path": [""]}],
            r"test-0\.parquet, row 1: 2 texts and 1 pictures for one list of candidates",
        ),
        (
            "MMEB-eval/GQA/test-0.parquet",
            [{"qry_text": "a", "qry_img_path": "", "tgt_text": "x", "tgt_img_path": ""}],
            r"test-0\.parquet, row 1: 'tgt_text' must be a list, not 'x'",
        ),
    ],
)
def test_a_malformed_file_names_its_place(mirror, tmp_path, name, change, message):
    import shutil

    copied = tmp_path / "mirror"
    shutil.copytree(mirror, copied, ignore=shutil.ignore_patterns("images*"))
    write(copied / name, change)
    with pytest.raises(ValueError, match=message):
        found(copied)


def test_empty_rows_are_counted(mirror, tmp_path):
    rows = list(train_rows("VisDial", 3))
    kept = [row for row in [*rows, rows[0] | {"qry": " "}, rows[1] | {"pos_text": "", "pos_image_path": ""}]]
    write(tmp_path / "MMEB-train/VisDial/original-0.parquet", kept)
    chosen = mmeb._choose("VisDial", "train", settings(tmp_path))
    assert len(chosen.rows) == 3
    assert chosen.notes["empty"].startswith("2 rows left out")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The two repositories as the hub shows them, each set's pictures in a zip file; what is downloaded is noted."""
    import huggingface_hub

    for part, names in (("train", mmeb.TRAIN), ("eval", mmeb.EVAL)):
        folder = tmp_path / mmeb_files.REPOSITORIES[part].partition("/")[2]
        for name in names:
            rows = list(train_rows(name, 3) if part == "train" else eval_rows(name, 3))
            write(folder / name / f"{mmeb_files.SPLITS[part]}-00000-of-00001.parquet", rows)
            write(folder / name / "train-00000-of-00001.parquet", rows)
            archive = folder / mmeb_files.files_of(part, name).archive
            archive.parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(archive, "a") as pictures:
                for path in sorted(set(named(rows))):
                    pictures.writestr(path, picture(1))
    asked = []

    def list_files(repository, *, repo_type, revision):
        folder = tmp_path / repository.partition("/")[2]
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def download(repository, *, repo_type, revision, allow_patterns, ignore_patterns=(), local_files_only=False):
        asked.append((repository, revision, tuple(allow_patterns)))
        return str(tmp_path / repository.partition("/")[2])

    monkeypatch.setattr(huggingface_hub, "list_repo_files", list_files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return tmp_path, asked


REVISION = "f" * 40


def test_the_hub_is_asked_for_the_files_of_each_set(hub):
    _, asked = hub
    list(mmeb.specs(settings(None, revision=REVISION)))
    assert ("TIGER-Lab/MMEB-train", REVISION, ("CIRR/original-*.parquet",)) in asked
    assert ("TIGER-Lab/MMEB-train", REVISION, ("images_zip/CIRR.zip",)) in asked
    assert ("TIGER-Lab/MMEB-eval", mmeb_files.EVAL_REVISION, ("images.zip",)) in asked


def test_what_sets_lack_is_said_of_each_before_anything_is_downloaded(hub):
    folder, asked = hub
    (folder / "MMEB-train/CIRR/original-00000-of-00001.parquet").unlink()
    (folder / "MMEB-train/images_zip/DocVQA.zip").unlink()
    for path in (folder / "MMEB-train").glob("*/WebQA*"):
        path.unlink()
    (folder / "MMEB-train/WebQA/original-00000-of-00001.parquet").unlink()
    (folder / "MMEB-eval/GQA/test-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="nothing was downloaded") as error:
        list(mmeb.specs(settings(None, revision=REVISION)))
    train, evaluation = f"TIGER-Lab/MMEB-train@{REVISION}", f"TIGER-Lab/MMEB-eval@{mmeb_files.EVAL_REVISION}"
    assert str(error.value).splitlines() == [
        "files of MMEB are missing, so nothing was downloaded:",
        f"  train DocVQA: no images_zip/DocVQA.zip in {train}",
        f"  train CIRR: no CIRR/original-*.parquet in {train}",
        f"  train WebQA: no WebQA/original-*.parquet, no images_zip/WebQA.zip in {train}",
        f"  eval GQA: no GQA/test-*.parquet in {evaluation}",
    ]
    assert not asked
    (folder / "MMEB-eval/images.zip").unlink()
    with pytest.raises(ValueError, match="nothing was downloaded") as error:
        list(mmeb.specs(settings(None, revision=REVISION)))
    assert sum("no images.zip" in line or "no GQA" in line for line in str(error.value).splitlines()) == 36


def test_the_presets_pin_one_state_of_the_training_sets():
    """`eed7c6d`, which was pinned before, is an upload of NIGHTS on the way there."""
    data = [each.data for name in ("gpu", "paper") for each in load_preset(name).experiments.values()]
    assert {each.revision for each in data} == {"76dd0a440b6d4c02776830a804443fffbb2d0bfa"}
    assert len(data) == 4


def test_a_mirror_lacks_rows_not_archives(hub):
    folder, _ = hub
    (folder / "MMEB-train/images_zip/DocVQA.zip").rename(folder / "MMEB-train/other.zip")
    assert len(found(folder)) == 56
    (folder / "MMEB-train/CIRR/original-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"downloaded:\n  train CIRR: no CIRR/original-\*\.parquet in /.*/MMEB-train$"):
        found(folder)
    with pytest.raises(ValueError, match="MMEB-train is no folder; a mirror of MMEB has MMEB-train and MMEB-eval"):
        found(folder / "MMEB-train")


def test_without_a_network_the_copy_in_the_cache_is_taken_or_the_mirror_named(hub, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode\n\nis enabled")

    def broken(*_, **__):  # what the hub's client raises where a connection fails
        raise huggingface_hub.errors.HTTPError("connection refused")

    def uncached(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no such snapshot")

    unreachable = r"http.* cannot be reached \(connection refused\); check the network"
    for fails, reason in ((offline, "it is not in the cache .* HF_HUB_OFFLINE is set"), (broken, unreachable)):
        monkeypatch.setattr(huggingface_hub, "list_repo_files", fails)
        assert len(list(mmeb.specs(settings(None, revision=REVISION)))) == 56
        with monkeypatch.context() as without_cache:
            without_cache.setattr(huggingface_hub, "snapshot_download", uncached)
            with pytest.raises(ValueError, match=rf"MMEB-train@f{{40}}: {reason}.* --data FOLDER"):
                list(mmeb.specs(settings(None, revision=REVISION)))
