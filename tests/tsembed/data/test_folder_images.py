"""Invariants of local picture sets:

- the columns of a set decide what is asked, not its name; a judged set is asked about its sentences only;
- every query has one right candidate among distinct ones; what several rows have is not asked for;
- a canvas holds the named picture, and the answer is the quarter with it;
- no picture of the test part is trained on, none of a held-out row either;
- faults name file, line and rule; missing pictures are counted per set, all at once, before anything is written.
"""

import gzip
import io
import json
import zipfile
from functools import cache

import numpy as np
import pytest
from PIL import Image

from study.data import prepare
from study.presets import Data, Preset
from tsembed.data import image_files
from tsembed.data.folder import images
from tsembed.inputs import Input, encode_png, open_image

SHAPES = 30  # rows of a part


@cache
def pixels(number, view=""):
    """A picture of its own for every number: a pattern of 8 x 8 with a colour of its own."""
    rng = np.random.default_rng(1000 * (view == "bw") + number)
    shown = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    return shown if view != "bw" else shown.mean(2, keepdims=True).astype(np.uint8).repeat(3, 2)


def row(number, **change):
    made = {
        "image": f"colour/{number}.png",
        "text": f"shape number {number}",
        "label": f"kind {number % 3}",
        "keywords": ["shape", f"word {number}"],
        "image_bw": f"bw/{number}.png",
    }
    return made | change


def write(folder, train, test, pictures=None, readme="Origin: made here. Licence: none.\n"):
    """A picture set; by default with all pictures that its rows name."""
    folder.mkdir(parents=True)
    for name, rows in (("train.jsonl.gz", train), ("test.jsonl", test)):
        text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    (folder / "README.md").write_text(readme)
    if pictures is None:
        named = [v for r in [*train, *test] if isinstance(r, dict) for k, v in r.items() if k.startswith("image")]
        pictures = {name: encode_png(pixels(int(name.split("/")[-1][:-4]), name.split("/")[0])) for name in named}
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "own"
    write(root / "images/shapes", [row(i) for i in range(SHAPES)], [row(i) for i in range(100, 100 + SHAPES)])
    judged = [{"image": f"p/{i}.png", "text": f"There are {i // 2} dots.", "label": i % 2} for i in range(80)]
    write(root / "images/dots", judged[:40], judged[40:])
    return root


def found(root, **data):
    return {(s.part, s.name): s for s in images.specs(Data(source="local_images", path=root, **data))}


def trained(root, name, **data):
    return list(found(root, **data)["train", name].tables["rows"])


def ranked(root, name, **data):
    """(query item, right candidate, wrong candidates) of an evaluation set."""
    tables = found(root, **data)["eval", name].tables
    items = [Input(c["text"], c["image"]) for c in tables["candidates"]]
    for asked in tables["queries"]:
        (right,) = asked["positives"]
        wrong = [items[k] for k in asked["candidates"] if k != right]
        yield Input(asked["query"], asked["query_image"]), items[right], wrong


def number_of(item, view="colour"):
    """Which made-up picture it is."""
    return known(view)[item.image]


@cache
def known(view):
    return {encode_png(pixels(i, view)): i for i in [*range(80), *range(100, 140)]}


def test_columns_decide_what_is_asked(folder):
    used = [s for s in found(folder).values() if s.part != "unused" and s.task != "captioning"]
    tasks = {(s.part, s.name): (s.task, s.group) for s in used}
    retrieval, seen = "image_retrieval", "seen"
    forms = {
        "dots_statement": ("visual_question_answering", seen),
        "shapes_label": ("image_classification", seen),
        "shapes_picture_of": (retrieval, seen),
        "shapes_name_of": (retrieval, seen),
        "shapes_keywords": (retrieval, seen),
        "shapes_to_bw": (retrieval, seen),
        "shapes_from_bw": (retrieval, "unseen"),
        "shapes_part": ("visual_grounding", seen),
        "shapes_label_bw": ("image_classification", "unseen"),
        "shapes_part_bw": ("visual_grounding", "unseen"),
    }
    assert {name: about for (part, name), about in tasks.items() if part == "eval"} == forms
    assert {name for part, name in tasks if part == "train"} == {
        name for name, (_, group) in forms.items() if group == seen
    }
    unused = {s.name: s.notes["reason"] for s in found(folder).values() if s.part == "unused"}
    assert set(unused) == {"dots_picture_of"}
    assert "might be right" in unused["dots_picture_of"]
    assert found(folder)["eval", "shapes_label"].origin == "made here"


def test_another_set_of_the_same_columns_is_asked_the_same(folder):
    (folder / "images/shapes").rename(folder / "images/birds")
    names = {name for part, name in found(folder) if part == "eval"}
    assert "birds_label" in names
    assert "birds_to_bw" in names
    assert not any(name.startswith("shapes") for name in names)


def test_a_set_without_most_columns_is_asked_what_it_can_be(tmp_path):
    bare = [{"image": f"colour/{i}.png", "label": f"kind {i % 3}"} for i in range(60)]
    write(tmp_path / "images/bare", bare[:30], bare[30:])
    assert {name for _, name in found(tmp_path)} == {"bare_label"}


def test_labels_and_statements(folder):
    for query, right, wrong in ranked(folder, "shapes_label"):
        assert right.text == f"kind {number_of(query) % 3}"
        assert len(wrong) == 2
        assert query.text == "Which kind of picture is it? <image>"
    for query, right, _ in ranked(folder, "shapes_label_bw"):
        assert right.text == f"kind {number_of(query, 'bw') % 3}"
    for query, right, wrong in ranked(folder, "dots_statement"):
        dots, number = int(query.text.split()[-2]), number_of(query, "p")
        answer = "true" if number % 2 else "false"
        assert right.text == answer
        assert {right.text, *(w.text for w in wrong)} == {"true", "false"}
        assert dots == number // 2
    rows = trained(folder, "dots_statement")
    assert len({r["group"] for r in rows}) == 2
    assert {r["document"] for r in rows} == {"true", "false"}


def test_retrieval_has_one_right_picture_and_distinct_wrong_ones(folder):
    for name, view, said in (
        ("shapes_picture_of", "colour", "shape number {}"),
        ("shapes_keywords", "colour", "shape, word {}"),
    ):
        for query, right, wrong in ranked(folder, name):
            number = number_of(right, view)
            assert query.image is None
            assert query.text.endswith(": " + said.format(number))
            assert len(set(wrong)) == len(wrong) == 19
            assert right not in wrong
    for query, right, wrong in ranked(folder, "shapes_name_of"):
        assert right.text == f"shape number {number_of(query)}"
        assert right not in wrong
        assert len(set(wrong)) == 19
    for query, right, wrong in ranked(folder, "shapes_to_bw"):
        assert number_of(query) == number_of(right, "bw")
        assert right not in wrong
    for query, right, _ in ranked(folder, "shapes_from_bw"):
        assert number_of(query, "bw") == number_of(right)


def test_wrong_candidates_of_the_same_label_come_first(folder):
    for _, right, wrong in ranked(folder, "shapes_picture_of"):
        assert sum(number_of(w) % 3 == number_of(right) % 3 for w in wrong) >= 9


def test_what_several_rows_have_is_not_asked_for(folder, tmp_path):
    same = [row(i, text="one name", keywords=["shape"]) for i in range(100, 105)]
    write(tmp_path / "images/more", [row(i) for i in range(SHAPES)], same + [row(i) for i in range(105, 140)])
    sets = found(tmp_path)
    assert len(sets["eval", "more_picture_of"].tables["queries"]) == 35
    assert sets["eval", "more_keywords"].notes["left out"].startswith("5 rows without")
    assert len(sets["eval", "more_label"].tables["queries"]) == 40


def test_equal_pictures_are_never_two_candidates(tmp_path):
    test = [row(i) for i in range(100, 140)]
    pictures = {name: encode_png(pixels(int(name.split("/")[1][:-4]))) for r in test for name in (r["image"],)}
    pictures |= {r["image_bw"]: encode_png(pixels(7, "bw")) for r in test[:6]}  # six things look alike in line art
    pictures |= {r["image_bw"]: encode_png(pixels(int(r["image_bw"][3:-4]), "bw")) for r in test[6:]}
    train = [row(i) for i in range(SHAPES)]
    pictures |= {
        n: encode_png(pixels(int(n.split("/")[1][:-4]), n[:2])) for r in train for n in (r["image"], r["image_bw"])
    }
    write(tmp_path / "images/alike", train, test, pictures)
    for _, right, wrong in ranked(tmp_path, "alike_to_bw"):
        assert len({right, *wrong}) == 1 + len(wrong)


@pytest.mark.parametrize(("name", "view"), [("shapes_part", "colour"), ("shapes_part_bw", "bw")])
def test_the_answer_is_the_named_quarter_of_the_canvas(folder, name, view):
    for query, right, wrong in ranked(folder, name):
        number = int(query.text.split()[-1])
        canvas, tile = (np.asarray(open_image(item)) for item in (query, right))
        assert canvas.shape == (8, 8, 3)
        assert tile.shape == (4, 4, 3)  # a canvas is as large as a picture
        quarters = [canvas[y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        assert sum(np.array_equal(tile, quarter) for quarter in quarters) == 1
        assert np.array_equal(tile, pixels(number, view)[::2, ::2])  # the picture at half its size
        others = [np.asarray(open_image(item)) for item in wrong]
        assert len(others) == 19
        assert sum(any(np.array_equal(o, q) for q in quarters) for o in others) == 3


def test_a_picture_of_the_test_part_is_not_trained_on(tmp_path):
    test, train = [row(i) for i in range(100, 130)], [row(i) for i in range(40)]
    pictures = {
        n: encode_png(pixels(int(n.split("/")[1][:-4]), n[:2]))
        for r in train + test
        for n in (r["image"], r["image_bw"])
    }
    pictures["colour/3.png"] = pictures["colour/105.png"]  # the same bytes under another name
    pictures["bw/4.png"] = pictures["bw/106.png"]
    write(tmp_path / "images/leak", train, test, pictures)
    source = found(tmp_path)["train", "leak_label"]
    assert source.notes["contamination"].startswith("2 train rows left out")
    assert len(list(source.tables["rows"])) == 38


def test_no_picture_of_a_held_out_row_is_trained_on(tmp_path):
    write(tmp_path / "images/shapes", [row(i) for i in range(60)], [row(i) for i in range(100, 130)])
    source = found(tmp_path, validation_rows=5)["train", "shapes_part"]
    held, rows = list(source.tables["validation"]), list(source.tables["rows"])
    assert (len(held), len(rows)) == (5, 55)
    tiles = {row_["document_image"] for row_ in held}
    shown = {q.tobytes() for r in rows for q in quarters_of(r["query_image"])}
    assert not {np.asarray(open_image(Input("", t))).tobytes() for t in tiles} & shown


def test_rows_of_one_picture_are_all_held_out_or_all_trained_on(tmp_path):
    train = [row(i) | {"label": f"kind {i}"} for i in range(60)]
    for i in range(30):  # two rows show one picture, as sentences about it do
        train[30 + i]["image"], train[30 + i]["image_bw"] = train[i]["image"], train[i]["image_bw"]
    write(tmp_path / "images/shapes", train, [row(i) for i in range(100, 130)])
    source = found(tmp_path, validation_rows=5)["train", "shapes_label"]
    held, rows = list(source.tables["validation"]), list(source.tables["rows"])
    assert len(held) == 5, "and the other rows of the held-out pictures are in neither"
    assert len(rows) < 55, "and the other rows of the held-out pictures are in neither"
    assert not {r["query_image"] for r in held} & {r["query_image"] for r in rows}


def quarters_of(image):
    canvas = np.asarray(open_image(Input("", image)))
    return [np.ascontiguousarray(canvas[y : y + 4, x : x + 4]) for y in (0, 4) for x in (0, 4)]


def test_equal_pictures_are_one_group_in_all_sets(folder):
    groups = {}
    for name in ("shapes_picture_of", "shapes_keywords"):
        for r in trained(folder, name):
            assert groups.setdefault(r["document_image"], r["group"]) == r["group"]
    assert len(groups) == len(set(groups.values())) == SHAPES


def test_captions_and_caps_and_seeds(folder):
    captions = {n for (p, n), s in found(folder).items() if p == "train" and s.task == "captioning"}
    assert captions == {"shapes_picture_of_caption", "shapes_name_of_caption"}
    few = found(folder, eval_rows=7)["eval", "shapes_part"].tables
    assert len(few["queries"]) == 7
    assert few == found(folder, eval_rows=7)["eval", "shapes_part"].tables
    assert few != found(folder, eval_rows=7, seed=1)["eval", "shapes_part"].tables


def test_a_small_set_is_listed_as_unused(tmp_path):
    write(tmp_path / "images/few", [row(i) for i in range(30)], [row(i) for i in range(100, 105)])
    assert {s.part for s in found(tmp_path).values()} == {"unused"}
    assert "fewer than 20 rows to ask about in eval" in found(tmp_path)["unused", "few_label"].notes["reason"]


@pytest.mark.parametrize(("rows", "held"), [(22, 0), (39, 0), (40, 4)])
def test_rows_are_held_out_of_grounding_only_where_they_fill_a_canvas(tmp_path, rows, held):
    write(tmp_path / "images/small", [row(i) for i in range(rows)], [row(i) for i in range(100, 122)])
    spec = found(tmp_path, validation_rows=50)["train", "small_part"]
    tables = {name: list(made) for name, made in spec.tables.items()}
    assert len(tables["rows"]) == rows - held
    assert len(tables.get("validation", [])) == held


def prepared(root, tmp_path):
    preset = Preset(name="t", about="", data=Data(source="local_images", path=root), variants={"em": 1})
    return prepare.prepare(preset, tmp_path / "data")


def test_it_prepares(folder, tmp_path):
    made = prepared(folder, tmp_path)
    chance = {e["name"]: e["chance"] for e in made["datasets"] if e["part"] == "eval"}
    assert chance["dots_statement"] == pytest.approx(50.0)
    assert chance["shapes_part"] == pytest.approx(5.0)
    assert made["unused"][0]["name"] == "dots_picture_of"


def test_missing_pictures_are_counted_per_set_before_anything_is_written(tmp_path):
    train, test = [row(i) for i in range(SHAPES)], [row(i) for i in range(100, 130)]
    for name, absent in (("one", ["bw/7.png", "colour/101.png"]), ("two", ["colour/3.png"])):
        pictures = {n: encode_png(pixels(1)) for r in train + test for n in (r["image"], r["image_bw"])}
        write(tmp_path / f"own/images/{name}", train, test, {n: p for n, p in pictures.items() if n not in absent})
    with pytest.raises(ValueError, match="images.zip") as error:
        prepared(tmp_path / "own", tmp_path)
    assert str(error.value).splitlines()[1:] == [
        "  images/one: 2 of 120 are not in images.zip; the first is 'bw/7.png' of train.jsonl.gz:8",
        "  images/two: 1 of 120 are not in images.zip; the first is 'colour/3.png' of train.jsonl.gz:4",
    ]
    assert not list((tmp_path / "data").glob("[!.]*"))


def test_a_picture_that_cannot_be_read_names_dataset_row_and_file(tmp_path):
    train, test = [row(i, keywords=[]) for i in range(SHAPES)], [row(i, keywords=[]) for i in range(100, 130)]
    pictures = {
        n: encode_png(pixels(int(n.split("/")[1][:-4]))) for r in train + test for n in (r["image"], r["image_bw"])
    }
    write(tmp_path / "own/images/torn", train, test, pictures | {"colour/5.png": b"no picture"})
    with pytest.raises(
        ValueError, match=r"'torn_label', rows row 6: 'query_image', torn/images\.zip: colour/5\.png: not a"
    ):
        prepared(tmp_path / "own", tmp_path)


def test_a_picture_far_longer_than_wide_names_dataset_row_and_file(tmp_path):
    train, test = [row(i, keywords=[]) for i in range(SHAPES)], [row(i, keywords=[]) for i in range(100, 130)]
    pictures = {
        n: encode_png(pixels(int(n.split("/")[1][:-4]))) for r in train + test for n in (r["image"], r["image_bw"])
    }
    long = encode_png(np.zeros((1, 201), np.uint8))
    write(tmp_path / "own/images/long", train, test, pictures | {"colour/105.png": long})
    place = r"eval dataset 'long_label', queries row 6: 'query_image', long/images\.zip: colour/105\.png"
    with pytest.raises(ValueError, match=rf"{place}: a picture of 201 x 1 pixels: no side may be over 200 times"):
        prepared(tmp_path / "own", tmp_path)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_damaged_zip_file_names_the_picture(folder, tmp_path):
    path = folder / "images/shapes/images.zip"
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        damaged[archive.getinfo("colour/2.png").header_offset + 60] ^= 255
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"shapes/images\.zip: colour/2\.png: not readable \(Bad CRC"):
        prepared(folder, tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"image": ', r"test\.jsonl:2: not JSON"),
        ({"text": "no picture"}, r"test\.jsonl:2: column 'image' is missing"),
        (row(101, keywords="red"), r"test\.jsonl:2: 'keywords' must be a list"),
        (row(101, label=1), r"test\.jsonl:2: label '1': the labels of a file are all texts, or all 0 and 1"),
        (row(101, image_bw=7), r"test\.jsonl:2: 'image_bw' must be a text"),
        (row(101, text="a <|image_pad|>"), r"test\.jsonl:2: <\|image_pad\|> is a token of pictures to a backbone"),
        (row(101, keywords=["a", "<|vision_start|>"]), r"test\.jsonl:2: <\|vision_start\|> is a token of pictures"),
    ],
)
def test_a_bad_row_names_file_line_and_rule(tmp_path, bad, message):
    write(tmp_path / "images/bad", [row(i) for i in range(3)], [row(100), bad], {"x": b""})
    with pytest.raises(ValueError, match=rf"images/bad/{message}"):
        found(tmp_path)


def test_a_statement_without_a_text(tmp_path):
    rows = [{"image": "p/1.png", "label": 1}]
    write(tmp_path / "images/bad", rows, rows)
    with pytest.raises(
        ValueError, match=r"train\.jsonl\.gz:1: label 1 says whether 'text' is true of the picture; there"
    ):
        found(tmp_path)


def test_folders_and_files(tmp_path):
    with pytest.raises(ValueError, match="local pictures need a folder"):
        list(images.specs(Data(source="local_images")))
    with pytest.raises(ValueError, match="has no images/<set>/"):
        found(tmp_path)
    write(tmp_path / "images/two words", [row(1)], [row(2)])
    (tmp_path / "images/two words/test.jsonl").unlink()
    (tmp_path / "images/two words/images.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="does not follow the layout") as error:
        found(tmp_path)
    for rule in ("letters, digits", r"test.jsonl[.gz] is missing", "images.zip: not a zip file, or not a whole one"):
        assert rule in str(error.value)


def test_the_fingerprint_changes_with_a_file(folder):
    settings = Data(source="local_images", path=folder)
    before = images.fingerprint(settings)
    assert before == images.fingerprint(settings)
    (folder / "images/dots/test.jsonl").write_text(json.dumps(row(1)) + "\n")
    assert images.fingerprint(settings) != before


def test_pictures_of_other_formats_and_sizes(tmp_path):
    def encoded(number):
        file = io.BytesIO()
        kind = ("PNG", "JPEG")[number % 2]
        Image.fromarray(pixels(number).repeat(1 + number % 3, 0)).save(file, format=kind)
        return file.getvalue()

    rows = [{"image": f"{i}.img", "text": f"shape number {i}"} for i in range(60)]
    write(tmp_path / "images/mixed", rows[:30], rows[30:], {r["image"]: encoded(i) for i, r in enumerate(rows)})
    for query, right, _ in ranked(tmp_path, "mixed_part"):
        sizes = {item: open_image(item).size for item in (query, right)}
        assert tuple(2 * side for side in sizes[right]) == sizes[query]


def repacked(folder, name_of):
    """Write the zip file of a set anew with members of other names."""
    path = folder / "images.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name_of(name), content)


def test_a_zipped_folder_says_under_which_names_the_pictures_stand(folder, tmp_path):
    repacked(folder / "images/shapes", lambda name: f"my pictures\\{name}")  # as old Windows programs write it
    with pytest.raises(ValueError, match=r"120 of 120 .* which stands there as 'my pictures/colour/0\.png'"):
        prepared(folder, tmp_path)


def test_names_of_pictures_are_compared_in_one_form_of_unicode(tmp_path):
    rows = [row(i) | {"image": f"colour/caf\u00e9 {i}.png"} for i in range(60)]
    pictures = {r["image_bw"]: encode_png(pixels(i, "bw")) for i, r in enumerate(rows)}
    pictures |= {f"colour/cafe\u0301 {i}.png": encode_png(pixels(i)) for i in range(60)}  # as macOS names files
    write(tmp_path / "own/images/shapes", rows[:30], rows[30:], pictures)
    assert len(prepared(tmp_path / "own", tmp_path)["datasets"]) > 10


def test_a_zip_file_that_breaks_a_rule_is_a_fault_of_its_set(folder, tmp_path):
    with zipfile.ZipFile(folder / "images/shapes/images.zip", "a") as archive:
        archive.writestr("../../shapes.png", b"x")
    (folder / "images/dots/images.zip").write_text("version https://git-lfs.github.com/spec/v1\nsize 5\n")
    with pytest.raises(ValueError, match="does not follow the layout") as error:
        found(folder)
    assert str(error.value).splitlines()[1:] == [
        "  images/dots/images.zip: a pointer of Git LFS and not the file itself; `git lfs pull` fetches it",
        "  images/shapes/images.zip: '../../shapes.png' is a path that leaves the folder",
    ]


def test_of_a_zip_file_the_pictures_that_were_read_last_are_kept_and_no_more(tmp_path, monkeypatch):
    contents = {f"{i}.png": bytes([i]) * 1000 for i in range(20)}
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    monkeypatch.setattr(image_files, "MOST_KEPT", 3500)
    pictures, unpacked = image_files.ImageZip(tmp_path / "images.zip"), []
    original = pictures._archive.read
    monkeypatch.setattr(pictures._archive, "read", lambda name: unpacked.append(name) or original(name))
    for name in [*contents, "17.png", "18.png", "3.png", "17.png"]:
        assert pictures.read(name) == contents[name]
        assert sum(map(len, pictures._read.values())) <= 3500
    assert unpacked == [*contents, "3.png"], "what was read last is not unpacked again"
    assert pictures.files[hash(contents["3.png"])].endswith("images.zip: 3.png")
