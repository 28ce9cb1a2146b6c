"""An encoder as MTEB wants it: the route of every text from the task's type and the prompt type (MoTE §5.3)."""

import hashlib
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..encoder.text import Encoder
from ..files import move_folder
from ..hub import explained
from ..tasks import TASK_OF_TYPE, route_of

if TYPE_CHECKING:
    import mteb
    from mteb.types import Array
    from torch.utils.data import DataLoader


MOST_KEPT = 100_000  # vectors of a task: 0.3 GB at 768 dimensions

# mteb's other text types, by the seen type that they resemble; none of them is in the paper.
_SIMILAR_TYPE = {
    "BitextMining": "STS",
    "MultilabelClassification": "Classification",
    "ZeroShotClassification": "Classification",
    "Regression": "Classification",
    "InstructionRetrieval": "Retrieval",
    "InstructionReranking": "Reranking",
}

CACHED = "or bring its files in a copy of the cache, HF_HOME, of a machine that has downloaded them"


class MtebEncoder:
    """mteb's encoder protocol over an `Encoder`.

    Args:
        encoder: The model.
        name: "organisation/name" for mteb's reports.
        revision: Identity of weights and settings; mteb keys its result cache by name and revision alone, so two
            models must never share one. See `weights_hash`.
        task_of_type: MTEB type -> task in place of the paper's (§5.3).
        max_tokens: As in `Encoder.encode`.
        token_budget: As in `Encoder.encode`.
        precision: As in `Encoder.encode`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        name: str,
        revision: str,
        task_of_type: dict[str, str] | None = None,
        max_tokens: int | None = None,
        token_budget: int | None = None,
        precision: str = "fp32",
    ):
        from mteb.models import ModelMeta

        self.encoder = encoder
        self.task_of_type = TASK_OF_TYPE | (task_of_type or {})
        self.settings: dict[str, Any] = {"max_tokens": max_tokens, "token_budget": token_budget, "precision": precision}
        self.mteb_model_meta = ModelMeta.create_empty({"name": name, "revision": revision, "modalities": ["text"]})
        self._vectors: dict[tuple[str, str], np.ndarray] = {}
        self._task: str | None = None

    def encode(
        self,
        inputs: "DataLoader",
        *,
        task_metadata: "mteb.TaskMetadata",
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> np.ndarray:
        """Embeddings (texts, dim) of a loader's texts, each distinct text of a task encoded once per route.

        Up to `MOST_KEPT` vectors are kept for the next call of the task: a large corpus comes in parts, each once.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        task_type = _SIMILAR_TYPE.get(task_metadata.type, task_metadata.type)
        prompt = getattr(prompt_type, "value", prompt_type)
        if task_type in TASK_OF_TYPE:
            route = route_of(task_type, prompt, self.task_of_type)
        else:
            raise ValueError(f"{task_metadata.name}: type {task_metadata.type} has no route; see tsembed/tasks.py")
        if task_metadata.name != self._task:  # mteb evaluates task after task
            self._task, self._vectors = task_metadata.name, {}
        key = route if self.encoder.specialised else ""
        new = list(dict.fromkeys(text for text in texts if (key, text) not in self._vectors))
        made = {(key, t): v for t, v in zip(new, self.encoder.encode(new, route, **self.settings), strict=True)}
        if len(self._vectors) + len(made) <= MOST_KEPT:
            self._vectors |= made
        return np.stack([made[key, t] if (key, t) in made else self._vectors[key, t] for t in texts])

    def similarity(self, embeddings1: "Array", embeddings2: "Array") -> "Array":
        """Cosine similarity (n, m); the embeddings have unit norm."""
        import torch

        return torch.as_tensor(embeddings1) @ torch.as_tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: "Array", embeddings2: "Array") -> "Array":
        """Cosine similarity (n,) of rows."""
        import torch

        return (torch.as_tensor(embeddings1) * torch.as_tensor(embeddings2)).sum(-1)


def weights_hash(encoder: Encoder, settings: str) -> str:
    """16 hex digits that change with any weight, name of a weight, or setting."""
    import torch

    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # numpy has no bf16
    return digest.hexdigest()[:16]


def evaluate(
    model: MtebEncoder, tasks: "list[mteb.AbsTask]", cache: Path, predictions: Path | None = None
) -> list[dict[str, Any]]:
    """Tidy scores, one row per task: {task_type, dataset, metric, score}, score in 0..100.

    Finished tasks of an interrupted call on the same data are read from the cache. A correlation that is undefined
    because the model gives every pair the same similarity is no correlation: 0.

    Args:
        model: What is scored.
        tasks: One after the other.
        cache: Folder for mteb's results; finished tasks are read from there.
        predictions: Folder of this model where each task leaves what it predicted, in a folder of its name. A finished
            task that left nothing there is run again.

    Raises:
        HubError: If the hub does not give a task's data.
        RuntimeError: If a task fails; nothing is left out silently.
    """
    import datasets
    import mteb
    from mteb.cache import ResultCache

    datasets.disable_progress_bars()
    rows: list[dict[str, Any]] = []
    results_cache = ResultCache(cache)
    for task in tasks:
        begin = time.monotonic()
        dataset = task.metadata.dataset
        of_hub = "/" in dataset["path"]  # prepared sets have a name alone
        print(f"{len(rows) + 1}/{len(tasks)}  {task.metadata.name}  is being scored", flush=True)
        with (
            _predictions_of(task, predictions) as (folder, strategy),
            explained(dataset["path"], dataset["revision"], None, otherwise=CACHED) if of_hub else nullcontext(),
        ):
            results = mteb.evaluate(
                model,
                task,
                cache=results_cache,
                overwrite_strategy="always" if _of_other_data(results_cache, model, task) else strategy,
                prediction_folder=folder,
                raise_error=True,
                show_progress_bar=False,
                encode_kwargs={"batch_size": 1024},
            )
        if len(results.task_results) != 1:
            raise RuntimeError(f"{task.metadata.name}: no score")
        # mteb keeps six decimals: a score that is read from its cache would differ from the one that was just measured.
        score = 100 * round(float(results.task_results[0].get_score()), 6)
        row = {
            "task_type": task.metadata.type,
            "dataset": task.metadata.name,
            "metric": task.metadata.main_score,
            "score": 0.0 if math.isnan(score) else score,
        }
        rows.append(row)
        seconds = time.monotonic() - begin
        print(
            f"{len(rows)}/{len(tasks)}  {row['dataset']}  {row['metric']} {row['score']:.2f}  {seconds:.1f} s",
            flush=True,
        )
    return rows


def _of_other_data(cache: Any, model: MtebEncoder, task: "mteb.AbsTask") -> bool:
    """Whether the cache has the model's result on a task of this name with other data, which mteb does not ask."""
    result = cache.load_task_result(task.metadata.name, model.mteb_model_meta)
    return result is not None and result.dataset_revision != task.metadata.revision


@contextmanager
def _predictions_of(task: "mteb.AbsTask", predictions: Path | None) -> Iterator[tuple[Path | None, str]]:
    """An empty folder for a task's predictions, which takes the place of the former one if it gets any; and whether
    mteb may read the task's result from its cache."""
    if predictions is None:
        yield None, "only-missing"
        return
    target = predictions / task.metadata.name
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir(parents=True)
    try:
        yield partial, "only-missing" if target.is_dir() else "always"
        if any(partial.iterdir()):
            move_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
