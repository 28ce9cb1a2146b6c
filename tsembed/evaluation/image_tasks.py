"""Prepared ranking sets as ordinary MTEB tasks of pictures: `mteb.evaluate(ImageMteb(encoder, …), tasks(folder))`.

The protocol is that of `evaluation/mmeb.py`, with MTEB's own code: every query ranks its candidates, and the score is
the share of queries with the right one first. MTEB breaks ties by its own order, and stops at a score that is not a
number.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, Image
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from ..data import manifest
from ..inputs import Input, decode, encode_png
from ..tasks import TASKS

if TYPE_CHECKING:
    import mteb
    from torch.utils.data import DataLoader

    from ..encoder.text import Encoder


# Meta-task -> MTEB's type with a list of candidates per query. Grounding has no type of its own: it ranks pictures.
# Classification is ranked too: MTEB's classification types give the model no question, or fit a classifier.
TYPES = {
    "visual_question_answering": "VisionCentricQA",
    "image_classification": "VisionCentricQA",
    "image_retrieval": "Any2AnyReranking",
    "visual_grounding": "Any2AnyReranking",
}
LETTERS = {("image",): "i", ("text",): "t", ("image", "text"): "it"}


def tasks(folder: Path) -> "list[mteb.AbsTask]":
    """The MTEB tasks of the ranking sets in `folder`, in the manifest's order."""
    entries = manifest.read_manifest(folder)["datasets"]
    return [task(folder, entry) for entry in entries if entry["part"] == "eval" and entry["format"] == "ranking"]


def task(folder: Path, entry: dict) -> Any:
    """The MTEB task of one manifest entry; its class is made here, since MTEB asks it for metadata."""
    tables = manifest.load_table(folder, "eval", entry["name"])
    query_modalities = _modalities(tables["queries"], "query", "query_image")
    candidate_modalities = _modalities(tables["candidates"], "text", "image")
    kind: Any = TYPES[entry["task"]]
    category: Any = f"{LETTERS[query_modalities]}2{LETTERS[candidate_modalities]}"
    modalities: Any = sorted({*query_modalities, *candidate_modalities})
    metadata = TaskMetadata(
        name=entry["name"],
        description=f"{entry['task']} set {entry['name']}; origin: {entry['origin']}",
        type=kind,
        main_score="accuracy",
        dataset={"path": entry["name"], "revision": entry["sha256"]},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        modalities=modalities,
        category=category,
    )
    return type(entry["name"], (Ranking,), {"metadata": metadata, "folder": folder})()


class Ranking(AbsTaskRetrieval):
    """A ranking set: MTEB's `top_ranked` are the candidates of each query."""

    folder: Path

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:
        """Read the prepared tables into `dataset`, once; mteb calls it before it evaluates."""
        if self.data_loaded:
            return
        tables = manifest.load_table(self.folder, "eval", self.metadata.name)
        rows = list(zip(tables["queries"]["candidates"], tables["queries"]["positives"], strict=True))
        split: Any = {
            "queries": _columns(tables["queries"], "q", "query", "query_image"),
            "corpus": _columns(tables["candidates"], "d", "text", "image"),
            "relevant_docs": {f"q{i}": {f"d{j}": 1 for j in positives} for i, (_, positives) in enumerate(rows)},
            "top_ranked": {f"q{i}": [f"d{j}" for j in candidates] for i, (candidates, _) in enumerate(rows)},
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class ImageMteb:
    """mteb's encoder protocol over an `Encoder` of items, for the tasks of this module.

    Args:
        task_of: Dataset -> meta-task, which decides the route.
        name: "organisation/name" for mteb's reports.
        revision: Identity of weights and settings (mteb's cache knows name and revision only).
        encode: As in `Encoder.encode`.
    """

    def __init__(self, encoder: "Encoder", task_of: dict[str, str], *, name: str, revision: str, **encode: Any):
        from mteb.models import ModelMeta

        self.encoder, self.task_of, self.settings = encoder, task_of, encode
        about = {"name": name, "revision": revision, "modalities": ["text", "image"]}
        self.mteb_model_meta = ModelMeta.create_empty(about)

    def encode(
        self,
        inputs: "DataLoader",
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> np.ndarray:
        """Embeddings (items, dim) of a loader's texts and pictures."""
        inputs_of_batches = [item for batch in inputs for item in _items(batch)]
        used = TASKS[self.task_of[task_metadata.name]]
        route = used.query_route if getattr(prompt_type, "value", prompt_type) == "query" else used.document_route
        return np.asarray(self.encoder.encode(inputs_of_batches, route, **self.settings))

    def similarity(self, a: np.ndarray, b: np.ndarray):
        """Cosine similarity (n, m); the embeddings have unit norm."""
        import torch

        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: np.ndarray, b: np.ndarray):
        """Cosine similarity (n,) of rows."""
        import torch

        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)


def _items(batch: dict) -> list[Input]:
    size = len(batch["image"] if "image" in batch else batch["text"])
    texts, pictures = batch.get("text", [""] * size), batch.get("image", [None] * size)
    return [
        Input(text, None if p is None else encode_png(np.array(p))) for text, p in zip(texts, pictures, strict=True)
    ]


def _modalities(table: Dataset, text: str, image: str) -> tuple[str, ...]:
    """Those that any row has; a row without one of them has an empty text there, never an empty picture."""
    pictures = table.data.column(image)
    if 0 < pictures.null_count < len(pictures):
        raise ValueError(f"column {image!r}: MTEB wants a picture in all rows of a table, or in none")
    has = {"image": pictures.null_count == 0, "text": any(table[text])}
    return tuple(name for name, there in has.items() if there)


def _columns(table: Dataset, letter: str, text: str, image: str) -> Dataset:
    modalities = _modalities(table, text, image)
    columns: dict[str, Any] = {"id": [f"{letter}{i}" for i in range(len(table))]}
    if "text" in modalities:
        columns["text"] = table[text][:]
    if "image" in modalities:
        # MTEB's reader would drop transparency and clip 16 bits: it gets the pixels that training sees.
        columns["image"] = [encode_png(np.asarray(decode(data))) for data in table[image]]
    dataset = Dataset.from_dict(columns)
    return dataset.cast_column("image", Image(mode="RGB")) if "image" in modalities else dataset
