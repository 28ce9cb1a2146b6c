"""Invariants of ranking sets as MTEB tasks:

- every set becomes a task of MTEB's type with the modalities that its items have, and its candidates per query;
- MTEB's score is ours, where no candidates tie; the route is the meta-task's; a picture reaches the encoder unchanged;
- a table with a picture in some rows only cannot be an MTEB task, and says so.
"""

import io
import random

import numpy as np
import pytest
from PIL import Image

from study.data import prepare
from study.presets import Data, Preset
from study.suites.digits import suite
from study.suites.digits.glyphs import pools
from tsembed.data import ranking
from tsembed.data.manifest import load_table
from tsembed.data.ranking import RankingExample
from tsembed.data.schema import DatasetSpec
from tsembed.inputs import Input, decode, open_image

NAMES = ("digits_parity", "digits_caption_of", "digits_picture_of", "digits_sum", "digits_cell_at")


class Fake:
    """Embeds a text and a picture by random numbers of its own: no ties, some right."""

    def __init__(self):
        self.routes, self.vectors, self.seen = set(), {}, []

    def encode(self, items, route, **settings):
        self.routes.add(route)
        self.seen += items
        return np.stack([self.vector(item) for item in items])

    def vector(self, item):
        key = (item.text, open_image(item).tobytes() if item.image is not None else None)
        if key not in self.vectors:
            made = np.random.default_rng(len(self.vectors)).normal(size=6).astype(np.float32)
            self.vectors[key] = made / np.linalg.norm(made)
        return self.vectors[key]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Five sets of the digits suite, 40 queries each."""
    folder = tmp_path_factory.mktemp("data")
    chosen = [s for s in suite.SETS if s.name in NAMES]
    pool, original = pools()["eval"], suite.specs

    def few(data):
        bank = pool.bank(random.Random(0))
        for one in chosen:
            rng = random.Random(one.name)
            found = ranking.tables((one.draw(rng, pool, bank, True) for _ in range(40)), rng)
            yield DatasetSpec(one.name, "eval", "ranking", found, "", "", one.group, one.task)

    suite.specs = few
    try:
        preset = Preset(name="t", about="", data=Data(source="digits"), variants={"em": 1})
        return folder, prepare.prepare(preset, folder)
    finally:
        suite.specs = original


def test_types_and_modalities(prepared):
    from tsembed.evaluation.image_tasks import tasks

    found = {task.metadata.name: task.metadata for task in tasks(prepared[0])}
    assert {name: (m.type, m.category) for name, m in found.items()} == {
        "digits_parity": ("VisionCentricQA", "it2t"),
        "digits_caption_of": ("Any2AnyReranking", "it2t"),
        "digits_picture_of": ("Any2AnyReranking", "t2i"),
        "digits_sum": ("VisionCentricQA", "it2t"),
        "digits_cell_at": ("Any2AnyReranking", "it2i"),
    }
    assert all(m.main_score == "accuracy" and m.eval_splits == ["test"] for m in found.values())


def test_a_task_has_the_candidates_of_each_query(prepared):
    from tsembed.evaluation.image_tasks import tasks

    task = next(t for t in tasks(prepared[0]) if t.metadata.name == "digits_cell_at")
    task.load_data()
    split = task.dataset["default"]["test"]
    tables = load_table(prepared[0], "eval", "digits_cell_at")
    assert [list(found) for found in split["top_ranked"].values()] == [
        [f"d{k}" for k in row] for row in tables["queries"]["candidates"]
    ]
    assert all(len(found) == 1 for found in split["relevant_docs"].values())
    assert split["corpus"].column_names == ["id", "image"]
    assert split["queries"].column_names == ["id", "text", "image"]
    shown = np.array(split["corpus"][3]["image"].convert("RGB"))
    assert np.array_equal(shown, np.array(open_image(Input("", tables["candidates"]["image"][3]))))


@pytest.mark.filterwarnings("ignore")  # mteb's own warnings, of few classes and of deprecated calls
def test_mtebs_score_is_ours(prepared, tmp_path):
    import mteb
    from mteb.cache import ResultCache

    from tsembed.evaluation.image_tasks import ImageMteb, tasks
    from tsembed.evaluation.precision_at_1 import evaluate

    folder, manifest = prepared
    encoder, task_of = Fake(), {e["name"]: e["task"] for e in manifest["datasets"]}
    ours = {row["dataset"]: row["score"] for row in evaluate(encoder, folder, manifest, seed=0)}
    shown = {open_image(item).tobytes() for item in encoder.seen if item.image}
    encoder.seen, encoder.routes = [], set()
    model = ImageMteb(encoder, task_of, name="tsembed/test", revision="r")
    for task in tasks(folder):
        results = mteb.evaluate(
            model, task, cache=ResultCache(tmp_path), raise_error=True, show_progress_bar=False, co2_tracker=False
        )
        assert 100 * results.task_results[0].get_score() == pytest.approx(ours[task.metadata.name], abs=1e-3)
    assert encoder.routes == set(task_of.values())
    assert len(set(ours.values())) > 1
    assert {open_image(item).tobytes() for item in encoder.seen if item.image} == shown


def test_a_mixed_table_is_refused(monkeypatch, tmp_path):
    from tsembed.evaluation.image_tasks import tasks

    mixed = [RankingExample(Input("which"), Input("red"), (), [Input("", open_file()), Input("blue")])]
    found = DatasetSpec(
        "mixed", "eval", "ranking", ranking.tables(mixed, random.Random(0)), "", "", "", "image_retrieval"
    )
    monkeypatch.setattr(suite, "specs", lambda data: iter([found]))
    prepare.prepare(Preset(name="t", about="", data=Data(source="digits"), variants={"em": 1}), tmp_path)
    with pytest.raises(ValueError, match="column 'image': MTEB wants a picture in all rows of a table, or in none"):
        tasks(tmp_path)


def open_file():
    from tsembed.inputs import encode_png

    return encode_png(np.zeros((2, 2), np.uint8))


def test_mteb_gets_the_pixels_that_training_sees():
    from datasets import Dataset

    from tsembed.evaluation.image_tasks import _columns

    clear, deep, turned = Image.new("RGBA", (3, 2), (0, 90, 9, 40)), np.full((2, 3), 40_000, np.uint16), Image.Exif()
    turned[0x0112] = 8
    files = [io.BytesIO() for _ in range(3)]
    clear.save(files[0], "PNG")
    Image.fromarray(deep).save(files[1], "PNG")
    Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(files[2], "PNG", exif=turned)
    table = Dataset.from_dict({"text": [""] * 3, "image": [file.getvalue() for file in files]})
    read = _columns(table, "d", "text", "image")["image"]
    for data, picture in zip(table["image"], read, strict=True):
        assert np.array_equal(np.asarray(picture), np.asarray(decode(data)))
    assert read[2].size == (2, 3)
