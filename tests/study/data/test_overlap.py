"""Invariants of what training shares with MTEB's test sets.

- The list names sources that there are, and sets of the paper's benchmark alone.
- A set's texts are its queries, or all that is scored; no document of a corpus, and no training text.
- Pairs with one of them are left out where the source says so, counted, and the others stay.
"""

import mteb
import pytest

from study.data import prepare
from study.data.hub import overlap
from study.data.hub.embedding_training_data import HUB_SOURCES
from tests.study.data.test_filtered_pairs import in_this_process, mirror, preset  # noqa: F401  # fixtures
from tests.tsembed.evaluation.test_mteb_encoder import prepared
from tsembed.evaluation.text_tasks import tasks
from tsembed.texts import same_key


def test_the_list_names_what_there_is():
    assert set(overlap.SHARED) <= set(HUB_SOURCES)
    names = {task.metadata.name for task in mteb.get_benchmark(overlap.BENCHMARK).tasks}
    assert {name for shared in overlap.SHARED.values() for name in shared} <= names


def test_the_texts_of_a_set_are_its_queries_or_what_is_scored(tmp_path):
    folder = prepared(tmp_path)
    texts = set(overlap.texts_of(tasks(folder)))
    assert {"river 0", "stone 1"} <= texts
    assert not any(text.startswith("about ") for text in texts)


def test_pairs_with_a_test_text_are_left_out(mirror, tmp_path, in_this_process, monkeypatch):  # noqa: F811
    asked = ["PAQ asks 0  3", "squad says 0 7", "squad asks 0 8", "squad says 0 8", "nobody asks"]
    monkeypatch.setattr(overlap, "texts_of", lambda tasks: iter(asked))
    made = prepare.prepare(preset(mirror, source="hub_filtered_disjoint"), tmp_path / "data")
    train = {entry["name"]: entry for entry in made["datasets"] if entry["part"] == "train"}
    whole = prepare.prepare(preset(mirror), tmp_path / "whole")
    rows = {entry["name"]: entry["rows"]["rows"] for entry in whole["datasets"] if entry["part"] == "train"}
    fewer = {name: rows[name] - entry["rows"]["rows"] for name, entry in train.items()}
    assert {name: count for name, count in fewer.items() if count} == {"paq": 1, "squad": 2}
    assert train["squad"]["notes"] == {"overlap": "2 rows left out: a text of a test set of MTEB(eng, v1)"}
    assert made["sha256"] != whole["sha256"]
    assert overlap.read_keys(tmp_path / "data" / overlap.FILE) == {same_key(text) for text in asked}


@pytest.mark.parametrize("kind", ["train", "test"])
def test_training_texts_of_a_set_do_not_count(kind):
    from datasets import Dataset, DatasetDict

    class Task:
        metadata = mteb.get_task("BIOSSES").metadata
        dataset = DatasetDict({kind: Dataset.from_dict({"text": ["one"], "label": [0]})})

        def load_data(self): ...
        def unload_data(self): ...

    assert list(overlap.texts_of([Task()])) == (["one"] if kind == "test" else [])
