"""Invariants of precision@1:

- a perfect encoder scores 100; a collapsed one and one of NaN score 0, wherever the right candidate stands;
- a random one scores chance, and so does one that collapses but for rounding;
- a tie with a wrong candidate is wrong, one with another right candidate is not; the best right candidate counts;
- some of the sets have the scores that they have among all; their items are joined in the order of all;
- rows are tidy; each distinct item is encoded once per route; the order comes from the seed and changes no score.
"""

import random

import numpy as np
import pytest

from study.data import prepare
from study.presets import Data, Preset
from study.suites.digits import suite
from tsembed.data import ranking
from tsembed.data.ranking import RankingExample
from tsembed.data.schema import DatasetSpec
from tsembed.evaluation.items import join, read
from tsembed.evaluation.precision_at_1 import evaluate, is_first
from tsembed.inputs import Input, encode_png
from tsembed.tasks import IMAGE_ROUTES, IMAGE_TASKS, OTHER_SETS, TASK_OF_IMAGE_TYPE


def picture(value):
    return encode_png(np.full((4, 4), value, np.uint8))


def examples(count, wrong=9):
    """Query i and its answer say the same number; the wrong ones say others. Some sides are pictures alone."""
    for i in range(count):
        others = [item(j) for j in range(i + 1, i + 1 + wrong)]
        yield RankingExample(Input(f"Which? <image> {i}", picture(0)), item(i), (), others)


def item(number):
    return Input("", picture(number)) if number % 2 else Input(f"answer {number}")


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    def make(count=40, names=("made_up",), tasks=("image_retrieval",)):
        found = [
            DatasetSpec(
                name, "eval", "ranking", ranking.tables(examples(count), random.Random(0)), "", "", "seen", task
            )
            for name, task in zip(names, tasks, strict=True)
        ]
        monkeypatch.setattr(suite, "specs", lambda data: iter(found))
        preset = Preset(name="t", about="", data=Data(source="digits"), variants={"em": 1})
        return tmp_path / "data", prepare.prepare(preset, tmp_path / "data")

    return make


class Fake:
    """An encoder that knows the numbers; remembers what it was asked."""

    routes = IMAGE_ROUTES

    def __init__(self, vector):
        self.vector, self.asked = vector, []

    def encode(self, items, route, **settings):
        assert items
        self.asked += [(route, one, tuple(sorted(settings))) for one in items]
        return np.stack([self.vector(one) for one in items]).astype(np.float32)


def perfect(one):
    return np.eye(256)[value_of(one)]


def value_of(one):
    """The number that an item says: its last word, or the grey value of its picture."""
    from tsembed.inputs import open_image

    return int(one.text.split()[-1]) if one.text else open_image(one).getpixel((0, 0))[0]


def score(prepared, vector, **change):
    folder, manifest = prepared
    (row,) = evaluate(Fake(vector), folder, manifest, seed=0, **change)
    return row


def test_a_perfect_encoder_scores_100_in_a_tidy_row(prepared):
    assert score(prepared(), perfect) == {
        "task_type": "ImageRetrieval",
        "dataset": "made_up",
        "metric": "precision_at_1",
        "score": 100.0,
    }


def test_a_collapsed_encoder_scores_0(prepared):
    assert score(prepared(), lambda one: np.ones(8))["score"] == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_encoder_without_finite_numbers_scores_0(prepared, bad):
    assert score(prepared(), lambda one: np.full(8, bad))["score"] == 0.0
    only_wrong = lambda one: perfect(one) if value_of(one) < 45 else np.full(256, bad)  # noqa: E731
    assert 0 < score(prepared(), only_wrong)["score"] < 100  # the queries whose candidates are all finite


def test_a_random_encoder_scores_chance(prepared):
    draw = np.random.default_rng(0)
    vectors = {}

    def random_vector(one):
        return vectors.setdefault(one, draw.normal(size=16))

    assert abs(score(prepared(200), random_vector)["score"] - 10) < 8


def test_rounding_that_follows_the_place_gives_no_advantage(prepared):
    """An encoder that collapses but for noise that grows with the place in the call: shuffled, it is at chance."""
    calls = iter(range(10**6))
    vector = lambda one: np.ones(4) * (1 - 1e-6 * next(calls))  # noqa: E731
    assert score(prepared(200), vector)["score"] < 25


def test_the_hits_of_the_queries_are_the_items_of_the_score(prepared, tmp_path):
    right = lambda one: perfect(one) if value_of(one) < 30 else np.ones(256) / 16  # noqa: E731
    found = score(prepared(60), right, items_file=tmp_path / "items.parquet")["score"]
    rows = read(tmp_path / "items.parquet")
    assert 0 < found < 100
    assert 100 * rows.value.mean() == pytest.approx(found)
    assert set(rows.value) == {0.0, 1.0}
    assert rows.item.tolist() == [str(row) for row in range(60)]
    assert set(rows.dataset) == {"made_up"}


def test_ties_by_hand():
    documents = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    query = np.array([1.0, 0.0])
    assert not is_first(query, documents, np.array([0, 1, 2]), [0])  # a wrong one is as near
    assert is_first(query, documents, np.array([0, 1, 2]), [0, 1])  # both are right
    assert is_first(query, documents, np.array([2, 0]), [0])
    assert not is_first(query, documents, np.array([2, 0]), [2])
    assert not is_first(query, documents * np.nan, np.array([0, 2]), [0])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_query_with_a_score_that_is_not_finite_is_wrong_wherever_it_stands(bad):
    documents, query = np.array([[1.0], [0.5]]), np.ones(1)
    assert is_first(query, documents, np.array([0, 1]), [0])
    for row in (0, 1):
        spoilt = documents.copy()
        spoilt[row] = bad
        assert not is_first(query, spoilt, np.array([0, 1]), [0])


def test_the_seed_changes_the_order_and_no_score(prepared):
    folder, manifest = prepared()
    fakes = [Fake(perfect) for _ in range(3)]
    rows = [evaluate(fake, folder, manifest, seed=seed) for fake, seed in zip(fakes, (0, 0, 1), strict=True)]
    assert rows[0] == rows[1] == rows[2]
    assert fakes[0].asked == fakes[1].asked != fakes[2].asked


def test_each_distinct_item_is_encoded_once_per_route(prepared):
    names = ("one", "two", "three")
    tasks = ("image_retrieval", "image_retrieval", "visual_grounding")
    folder, manifest = prepared(20, names, tasks)
    fake = Fake(perfect)
    rows = evaluate(fake, folder, manifest, seed=0, max_tokens=64)
    assert [row["task_type"] for row in rows] == ["ImageRetrieval", "ImageRetrieval", "VisualGrounding"]
    asked = [(route, one) for route, one, _ in fake.asked]
    assert len(asked) == len(set(asked))
    assert {route for route, _ in asked} == {"image_retrieval", "visual_grounding"}
    assert {settings for _, _, settings in fake.asked} == {("max_tokens",)}


def test_some_of_the_sets_have_the_scores_and_items_that_they_have_among_all(prepared, tmp_path):
    folder, manifest = prepared(20, ("one", "two", "three"), ("image_retrieval",) * 3)
    right = lambda one: perfect(one) if value_of(one) % 3 else np.ones(256) / 16  # noqa: E731
    files = [tmp_path / name for name in ("all", "outer", "inner", "joined")]
    everything, outer, inner = (
        evaluate(Fake(right), folder, manifest, seed=0, only=only, items_file=file)
        for only, file in zip((None, ("one", "three"), ("two",)), files, strict=False)
    )
    assert [row["dataset"] for row in outer] == ["one", "three"]
    assert everything == [outer[0], *inner, outer[1]]
    join(files[1:3], files[3], order=("one", "two", "three"))
    assert files[3].read_bytes() == files[0].read_bytes()


def test_every_meta_task_has_a_type_and_a_route(prepared):
    folder, manifest = prepared(12, IMAGE_TASKS, IMAGE_TASKS)
    fake = Fake(perfect)
    rows = evaluate(fake, folder, manifest, seed=0)
    assert {row["task_type"] for row in rows} == set(TASK_OF_IMAGE_TYPE)
    assert {route for route, _, _ in fake.asked} == set(IMAGE_TASKS)


def test_a_model_that_is_routed_by_set_gets_the_sets_own_route(prepared):
    folder, manifest = prepared(names=("known", "new"), tasks=("image_retrieval",) * 2)
    encoder = Fake(perfect)
    encoder.routes = ("known", OTHER_SETS)
    evaluate(encoder, folder, manifest, seed=0)
    assert {route for route, *_ in encoder.asked} == {"known", OTHER_SETS}
