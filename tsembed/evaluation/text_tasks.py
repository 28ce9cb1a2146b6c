"""Prepared evaluation sets as ordinary MTEB tasks, without the hub: `mteb.evaluate(model, tasks(folder))`.

The name of a dataset is the name of its task. One small class per form turns the prepared tables (columns of
data/schema.py) into what MTEB's base class of that task type reads. Given a `prediction_folder`, a task writes there
what each item gave to its score (items.py).
"""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
    AbsTaskSummarization,
)
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.task_metadata import TaskMetadata

from ..data import manifest
from ..data.schema import MTEB_TYPE
from . import items

Tables = dict[str, Dataset]
CLUSTERING_SET = 1000  # texts of one k-means; a larger test part is split evenly by seed


def tasks(folder: Path, task_types: tuple[str, ...] | None = None) -> list:
    """The MTEB tasks of the prepared data in `folder`, in the manifest's order.

    Args:
        folder: With a manifest.json and its tables.
        task_types: MTEB types to keep; None keeps all. Sets without an MTEB type (wikipedia) are no tasks.

    Raises:
        ValueError: If there is no prepared data, or if two evaluation sets have one name.
    """
    entries = [e for e in manifest.read_manifest(folder)["datasets"] if e["part"] == "eval" and e["format"] in CLASSES]
    names = [entry["name"] for entry in entries]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{folder}: evaluation sets {sorted(repeated)} have the same name; a task's name is unique")
    wanted_types = set(MTEB_TYPE.values()) if task_types is None else set(task_types)
    return [task(folder, entry) for entry in entries if MTEB_TYPE[entry["format"]] in wanted_types]


def task(folder: Path, entry: dict) -> Any:
    """The MTEB task of one manifest entry of part "eval"; its class is made here, since MTEB asks it for metadata."""
    form_class: Any = CLASSES[entry["format"]]
    kind: Any = MTEB_TYPE[entry["format"]]
    metadata = TaskMetadata(
        name=entry["name"],
        description=f"{entry['format']} set {entry['name']}; origin: {entry['origin']}",
        type=kind,
        main_score=form_class.main_score,
        dataset={"path": entry["name"], "revision": entry["sha256"]},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        modalities=["text"],
        category="t2t",
    )
    return type(entry["name"], (form_class,), {"metadata": metadata, "folder": folder})()


class Prepared:
    """Mixin before an MTEB base class: the data come from the prepared tables in `folder`.

    A class of a form has `convert(tables)`, the prepared tables in the columns of its MTEB base class, and
    `items(predictions)`, what each item gave to the score.
    """

    main_score: str
    folder: Path
    metadata: TaskMetadata
    dataset: Any
    data_loaded: bool
    convert: Any
    items: Any

    def load_data(self, num_proc: int | None = None, **_) -> None:
        """Read the prepared tables into `dataset`, once; mteb calls it before it evaluates."""
        if not self.data_loaded:
            self.dataset = self.convert(manifest.load_table(self.folder, "eval", self.metadata.name))
            self.data_loaded = True

    def _save_task_predictions(self, predictions, model, prediction_folder, hf_split, hf_subset) -> None:
        """Write the items' part in the score, where MTEB would write the whole ranking of every query."""
        items.write(prediction_folder / items.FILE, {self.metadata.name: self.items(predictions)})


class Classification(Prepared, AbsTaskClassification):
    """Logistic regression on 8 texts per label of `train`, 10 draws (MTEB's defaults)."""

    main_score = "accuracy"

    def convert(self, tables: Tables) -> DatasetDict:
        """Splits train and test with the columns text and label; labels are numbered in alphabetical order."""
        number = {label: i for i, label in enumerate(sorted(set(tables["train"]["label"])))}
        split = {"train": tables["train"], "test": tables["rows"]}
        return DatasetDict(
            {
                name: Dataset.from_dict({"text": rows["text"][:], "label": [number[x] for x in rows["label"]]})
                for name, rows in split.items()
            }
        )

    def items(self, predictions: list) -> items.Items:
        """Share of the classifiers that are right about a text."""
        return items.of_classifiers(predictions, self.dataset["test"]["label"][:])

    def _calculate_scores(self, y_test, y_pred):
        """MTEB's scores; its labels are a lazy column, which every metric would read again row by row."""
        return super()._calculate_scores(np.asarray(y_test), y_pred)


class Clustering(Prepared, AbsTaskClusteringLegacy):
    """k-means with the true number of labels, on even random sets of at most `CLUSTERING_SET` texts."""

    main_score = "v_measure"

    def convert(self, tables: Tables) -> DatasetDict:
        """Split test with a row per set of at most `CLUSTERING_SET` texts, drawn by name: sentences, labels."""
        texts, labels = tables["rows"]["text"][:], tables["rows"]["label"][:]
        sets = clustering_sets(self.metadata.name, len(texts))
        columns = {
            "sentences": [[texts[i] for i in members] for members in sets],
            "labels": [[labels[i] for i in members] for members in sets],
        }
        return DatasetDict({"test": Dataset.from_dict(columns)})

    def items(self, predictions: list) -> items.Items:
        """Cluster of a text."""
        labels_of_sets = self.dataset["test"]["labels"][:]
        sets = clustering_sets(self.metadata.name, sum(map(len, labels_of_sets)))
        labels = dict(zip(sum(sets, []), sum(labels_of_sets, []), strict=True))
        return items.of_clusters(predictions, sets, labels)


def clustering_sets(name: str, texts: int) -> list[list[int]]:
    """Rows of the even random sets of at most `CLUSTERING_SET` texts that a dataset is clustered in."""
    order = list(range(texts))
    random.Random(f"clustering/{name}").shuffle(order)
    count = -(-len(order) // CLUSTERING_SET)
    return [order[i::count] for i in range(count)]


class Ranked(Prepared):
    """Mixin of the tasks whose queries have scores of their own."""

    _items_folder: Path | None = None

    def _save_task_predictions(self, predictions, model, prediction_folder, hf_split, hf_subset) -> None:
        """Remember where the items go: MTEB scores the queries next, and leaves the scores to the method below."""
        self._items_folder = prediction_folder

    def task_specific_scores(self, scores, qrels, results, hf_split, hf_subset) -> dict[str, float]:
        """No further scores; writes the items, if they were asked for."""
        folder, self._items_folder = self._items_folder, None
        if folder is not None:
            super()._save_task_predictions(scores, None, folder, hf_split, hf_subset)
        return {}


class Retrieval(Ranked, AbsTaskRetrieval):
    """Every query ranks the whole corpus."""

    main_score = "ndcg_at_10"

    def convert(self, tables: Tables) -> dict:
        """Split test with corpus, queries and relevance; no list of candidates."""
        relevant: dict[str, dict[str, int]] = {}
        for row in tables["qrels"]:
            relevant.setdefault(row["query_id"], {})[row["doc_id"]] = int(row["score"])
        corpus = tables["corpus"].rename_column("doc_id", "id")
        queries = tables["queries"].rename_columns({"query_id": "id", "query": "text"})
        return _split_data(corpus, queries, relevant, None)

    def items(self, predictions: dict) -> items.Items:
        """nDCG@10 of a query, out of its scores."""
        return items.of_queries(predictions, self.dataset["default"]["test"]["queries"]["id"], "ndcg_cut_10")


class Reranking(Ranked, AbsTaskRetrieval):
    """Every query ranks its own candidates, which stand in an order that knows nothing of relevance."""

    main_score = "map_at_1000"

    def convert(self, tables: Tables) -> dict:
        """Split test as of retrieval, and the candidates of every query, sorted by the hash of their text."""
        documents: dict[str, str] = {}  # id -> text; the id is a hash of the text, so ties are broken at random
        queries: dict[str, list[str]] = {"id": [], "text": []}
        relevant, candidates = {}, {}
        for i, row in enumerate(tables["rows"]):
            query = f"q{i}"
            queries["id"].append(query)
            queries["text"].append(row["query"])
            ids = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in row["positive"] + row["negative"]]
            documents.update(zip(ids, row["positive"] + row["negative"], strict=True))
            relevant[query] = dict.fromkeys(ids[: len(row["positive"])], 1)
            candidates[query] = sorted(set(ids))
        corpus = Dataset.from_dict({"id": list(documents), "text": list(documents.values())})
        return _split_data(corpus, Dataset.from_dict(queries), relevant, candidates)

    def items(self, predictions: dict) -> items.Items:
        """Average precision of a query, out of its scores."""
        ranked = items.of_queries(predictions, self.dataset["default"]["test"]["queries"]["id"], "map_cut_1000")
        return ranked._replace(item=[query.removeprefix("q") for query in ranked.item])


class PairClassification(Prepared, AbsTaskPairClassification):
    """Average precision of the similarity, the best of MTEB's similarity functions."""

    main_score = "max_ap"

    def convert(self, tables: Tables) -> DatasetDict:
        """Split test with the columns sentence1, sentence2 and labels (0 or 1)."""
        names = {"a": "sentence1", "b": "sentence2", "label": "labels"}
        return DatasetDict({"test": tables["rows"].rename_columns(names)})

    def items(self, predictions: dict) -> items.Items:
        """Cosine similarity of a pair."""
        return items.of_pairs(predictions["cosine_scores"])


class STS(Prepared, AbsTaskSTS):
    """Rank correlation of cosine similarity and human score."""

    main_score = "cosine_spearman"

    def convert(self, tables: Tables) -> DatasetDict:
        """Split test with the columns sentence1, sentence2 and score; sets the bounds of the score."""
        rows = tables["rows"].rename_columns({"a": "sentence1", "b": "sentence2"})
        self.min_score, self.max_score = min(rows["score"]), max(rows["score"])
        return DatasetDict({"test": rows})

    def items(self, predictions: dict) -> items.Items:
        """Cosine similarity of a pair."""
        return items.of_pairs(predictions["cosine_scores"])


class Summarization(Prepared, AbsTaskSummarization):
    """Rank correlation, per text, of a summary's similarity to the human ones and its human score."""

    main_score = "cosine_spearman"

    def convert(self, tables: Tables) -> DatasetDict:
        """Split test as it was prepared; sets the bounds of the human score."""
        scores = [score for row in tables["rows"]["relevance"] for score in row]
        self.min_score, self.max_score = min(scores), max(scores)
        return DatasetDict({"test": tables["rows"]})

    def items(self, predictions: dict) -> items.Items:
        """Rank correlation of a text's summaries."""
        return items.of_summaries(predictions, self.dataset["test"][:])


CLASSES = {
    "classification": Classification,
    "clustering": Clustering,
    "retrieval": Retrieval,
    "reranking": Reranking,
    "pair_classification": PairClassification,
    "sts": STS,
    "summarization": Summarization,
}


def _split_data(corpus: Dataset, queries: Dataset, relevant: dict, candidates: dict | None) -> dict:
    split = {"corpus": corpus, "queries": queries, "relevant_docs": relevant, "top_ranked": candidates}
    return {"default": {"test": split}}
