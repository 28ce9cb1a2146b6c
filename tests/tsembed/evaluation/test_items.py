"""Invariants of the items of a score:

- where the metric is a mean, 100 times the mean of the values is the score, for every type; where it is not, the
  metric of the values is;
- every item is a row of the prepared table, with its own value;
- equal rows are equal bytes; an interrupted evaluation keeps the items of finished tasks, and a finished task without
  items is run again.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

pytest.importorskip("mteb")

from sklearn.metrics import average_precision_score, v_measure_score

from tests.tsembed.evaluation.test_text_tasks import Hashing, prepared  # noqa: F401
from tsembed.data.manifest import load_table
from tsembed.evaluation import items, text_tasks
from tsembed.evaluation.mteb_encoder import evaluate

pytestmark = pytest.mark.filterwarnings("ignore")  # of scikit-learn and scipy about a collapsed encoder


class Noisy(Hashing):
    """Bags of hashed words beside a vector of the text's own: neither all right nor all wrong."""

    def __init__(self, noise=6.0):
        super().__init__(collapsed=False)
        self.noise = noise
        self.encoded = []

    def encode(self, inputs, *, task_metadata, **settings):
        self.encoded.append(task_metadata.name)
        return super().encode(inputs, task_metadata=task_metadata, **settings)

    def _vector(self, text):
        own = np.random.default_rng(list(text.encode())).normal(size=512).astype(np.float32)
        vector = super()._vector(text) + self.noise * own / np.linalg.norm(own)
        return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def scored(prepared, tmp_path_factory):  # noqa: F811
    """Scores by dataset, the items, and the folder of the prepared data."""
    out = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_tasks, "CLUSTERING_SET", 25)
        tasks = text_tasks.tasks(prepared)
        rows = evaluate(Noisy(), tasks, out / "cache", out / "pieces")
    items.join([out / "pieces" / task.metadata.name / items.FILE for task in tasks], out / items.FILE)
    return {row["dataset"]: row["score"] for row in rows}, items.read(out / items.FILE), prepared


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["colours", "manual", "answers", "short"])
def test_the_mean_of_the_items_is_the_score(scored, dataset):
    scores, rows, _ = scored
    values = rows[rows.dataset == dataset]
    assert set(values.kind) == {"score"}
    assert 100 * values.value.mean() == pytest.approx(scores[dataset], abs=2e-4)
    assert values.value.std() > 0, "a set whose items are all alike says nothing here"


@pytest.mark.slow
def test_metrics_of_a_set_are_those_of_its_values(scored):
    scores, rows, folder = scored
    tables = {name: load_table(folder, "eval", name)["rows"] for name in ("same", "alike", "tools")}
    values = {name: rows[rows.dataset == name].value.to_numpy() for name in tables}
    assert 100 * spearmanr(tables["alike"]["score"], values["alike"]).statistic == pytest.approx(
        scores["alike"], abs=0.1
    )
    precision = 100 * average_precision_score(tables["same"]["label"][:], values["same"])
    assert precision <= scores["same"] + 1e-6  # MTEB's is the best of five similarity functions
    assert precision == pytest.approx(scores["same"], abs=3)
    topics = rows[rows.dataset == "tools"]
    assert set(topics.kind) == {"cluster"}
    labels = np.array(tables["tools"]["label"])[topics.item.astype(int)]
    parts = [
        100 * v_measure_score(labels[topics.split == part], topics.value[topics.split == part]) for part in range(3)
    ]
    assert np.mean(parts) == pytest.approx(scores["tools"], abs=1e-4)
    assert 0 < scores["tools"] < 100


@pytest.mark.slow
def test_every_item_is_there_once(scored):
    _, rows, folder = scored
    assert not rows.duplicated(["dataset", "item"]).any()
    queries = load_table(folder, "eval", "manual")["queries"]["query_id"]
    assert set(rows[rows.dataset == "manual"].item) == set(queries)
    counts = {"colours": 60, "tools": 60, "answers": 40, "same": 40, "alike": 30, "short": 12}
    for dataset, count in counts.items():
        assert sorted(rows[rows.dataset == dataset].item.astype(int)) == list(range(count)), dataset


@pytest.mark.slow
def test_a_killed_evaluation_keeps_the_items_of_finished_tasks(prepared, tmp_path):  # noqa: F811
    cache, pieces = tmp_path / "cache", tmp_path / "pieces"
    tasks = text_tasks.tasks(prepared, ("STS", "Retrieval", "PairClassification"))
    names = [task.metadata.name for task in tasks]
    evaluate(Noisy(), tasks[:2], cache, pieces)
    whole = (pieces / names[0] / items.FILE).read_bytes()
    (pieces / names[0] / items.FILE).unlink()
    (pieces / names[0]).rmdir()  # killed between the result and its items
    half = pieces / f"{names[2]}.partial"
    half.mkdir()
    (half / items.FILE).write_bytes(b"half")  # killed while it wrote
    again = Noisy()
    rows = evaluate(again, tasks, cache, pieces)
    assert set(again.encoded) == {names[0], names[2]}, "the second is read from the cache"
    assert (pieces / names[0] / items.FILE).read_bytes() == whole
    assert sorted(path.name for path in pieces.iterdir()) == sorted(names)
    assert evaluate(Noisy(), tasks, cache, pieces) == rows


def test_classifiers_by_hand():
    found = items.of_classifiers([[0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], [0, 1, 1])
    assert found == items.Items("score", ["0", "1", "2"], [0.75, 0.25, 1.0])


def test_queries_stand_in_the_order_of_the_table():
    scores = {"a": {"map_cut_1000": 0.5, "ndcg_cut_10": 0.6}, "b": {"map_cut_1000": 1.0, "ndcg_cut_10": 0.9}}
    found = items.of_queries(scores, ["b", "without", "a"], "map_cut_1000")
    assert found == items.Items("score", ["b", "a"], [1.0, 0.5])


def test_clusters_by_hand():
    """Rows 1 and 2 share a label, so MTEB does not cluster their set."""
    found = items.of_clusters([[7, 8, 7]], [[4, 0, 3], [1, 2]], ["a", "b", "b", "a", "b"])
    assert found == items.Items("cluster", ["4", "0", "3", "1", "2"], [7.0, 8.0, 7.0, 0.0, 0.0], [0, 0, 0, 1, 1])


def test_summaries_find_the_texts_that_were_scored():
    table = {
        "relevance": [[1, 1], [1, 5], [5, 1], [1, 5]],
        "machine_summaries": [["p", "q"]] * 2 + [["p", "p"], ["p", "q"]],
    }
    predictions = {"human_scores": [[0.0, 1.0], [0.0, 1.0]], "cosine_scores": [[0.1, 0.2], [0.2, 0.1]]}
    found = items.of_summaries(predictions, table)
    assert found.item == ["1", "3"]
    assert found.value == pytest.approx([1, -1])


def test_equal_rows_are_equal_bytes_and_six_digits_are_kept(tmp_path):
    datasets = {"b": items.Items("cosine", ["0", "1"], [1 / 3, -1e-9]), "a": items.Items("cluster", ["0"], [2], [1])}
    for name in ("one", "two"):
        items.write(tmp_path / name, datasets)
        items.write(tmp_path / f"{name}-a", {"a": datasets["a"]})
        items.write(tmp_path / f"{name}-b", {"b": datasets["b"]})
    items.join([tmp_path / "one-b", tmp_path / "two-a"], tmp_path / "joined")
    assert len({items.sha256(tmp_path / name) for name in ("one", "two", "joined")}) == 1
    expected = pd.DataFrame(
        {
            "dataset": ["b", "b", "a"],
            "kind": ["cosine", "cosine", "cluster"],
            "split": [0, 0, 1],
            "item": ["0", "1", "0"],
            "value": [0.333333, 0.0, 2.0],
        }
    )
    pd.testing.assert_frame_equal(items.read(tmp_path / "joined"), expected, check_dtype=False)
    assert not np.signbit(items.read(tmp_path / "joined").value).any()
    items.join([], tmp_path / "none")
    assert items.read(tmp_path / "none").empty
