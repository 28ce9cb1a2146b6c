"""`tsembed.mine`: hard negatives for a user's pairs, found with an encoder, as a folder that `tsembed.fit` reads.

A hard negative of a query is a positive of other queries of its set that the encoder finds similar to it. The most
similar ones are often answers that nobody has marked, so candidates that score nearly as high as the positive are
skipped (a share of its score: NV-Retriever, https://arxiv.org/abs/2407.15831). sentence-transformers does the search.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..data.folder.files import ENDINGS
from ..data.pairs import task_of
from ..data.schema import DatasetSpec, Noted, Pair, parse
from ..encoder.build import best_device, load
from ..encoder.text import Encoder
from ..export.folder import must_be_free
from ..files import write_folder, write_text
from ..settings import Data
from ..tasks import TASKS, Task, route_of_set
from ..texts import same_key
from . import sources
from .names import MAX_RELATIVE_SCORE, MAX_TOKENS, PER_QUERY

SCORES = 2**26  # in memory at once


class Mined(NamedTuple):
    """A finished search."""

    out: Path
    pairs: dict[str, int]  # set -> pairs
    negatives: dict[str, int]  # set -> negatives of all its pairs


class _Set(NamedTuple):
    """A set of pairs."""

    spec: DatasetSpec
    rows: list[Pair]
    texts: list[tuple[str, str]]  # anchor and positive of each row, one form of each text standing for all


def mine(
    data: str | Path,
    out: str | Path,
    *,
    backbone: str,
    revision: str | None = None,
    per_query: int = PER_QUERY,
    margin: float | None = None,
    max_relative_score: float | None = MAX_RELATIVE_SCORE,
    max_tokens: int = MAX_TOKENS,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    report: Callable[[str], Any] = print,
) -> Mined:
    """Write a copy of a user's data whose pairs have hard negatives.

    Candidates are the positives of the same set. Never mined are a text that is a positive of the same query anywhere
    in the data, one that the query itself is a positive of, and the query; texts that differ in case and white space
    alone are one text. Of a query with several positives the least similar one decides what is skipped.

    Args:
        data: As `fit` takes it, with pairs. Sets of other formats are copied as they are.
        out: The folder to write, in the layout of docs/data_layout.md. Negatives that rows had before are replaced.
        backbone: The encoder: a name on the hub, a folder of sentence-transformers, one that `fit` wrote, or one that
            `Encoder.save` wrote.
        revision: Commit of a backbone on the hub.
        per_query: Negatives of a pair at most, most similar first; a pair may get fewer, or none.
        margin: Candidates are skipped that score above the positive's score minus this, in units of similarity.
        max_relative_score: Candidates are skipped that score above this share of the positive's score; None: none is.
        max_tokens: Where a text is cut.
        format: As of `fit`.
        columns: As of `fit`.
        report: Called with a line per set.

    Raises:
        ValueError: If a setting or the data break a rule, there are no pairs, `out` is not empty or is in `data`, or no
            candidate is below the limits.
    """
    data, out = Path(data), Path(out)
    _check(per_query, margin, max_relative_score, max_tokens)
    must_be_free(out)
    if out.resolve().is_relative_to(data.resolve()):
        raise ValueError(f"{out} is inside {data}, which would then hold both: name another folder")
    found = sources.source(Data(path=data), format=format, columns=columns)
    sets = list(_sets(found.specs, report))
    if not sets:
        raise ValueError(f"{data} has no set of pairs, and negatives are mined for pairs alone")
    model = _model(backbone, revision, max_tokens)
    limits = {
        "absolute_margin": margin,
        "relative_margin": None if max_relative_score is None else 1 - max_relative_score,
    }
    mined = {
        one.spec.name: _negatives(one, sets, _of_task(model, one.spec, max_tokens), per_query, limits) for one in sets
    }
    totals = {name: sum(map(len, negatives)) for name, negatives in mined.items()}
    for name, negatives in mined.items():
        without = sum(not found for found in negatives)
        report(f"{name}: {len(negatives):,} pairs, {totals[name]:,} negatives, {without:,} pairs without one")
    if not any(totals.values()):
        said = f"max_relative_score {max_relative_score}, margin {margin}"
        raise ValueError(f"no candidate is below the limits ({said}), so nothing was written: loosen them")
    how = {"backbone": backbone, "revision": revision, "per_query": per_query, "margin": margin}
    how |= {"max_relative_score": max_relative_score, "max_tokens": max_tokens}
    with write_folder(out) as partial:
        _copy_other_sets(data, partial, {one.spec.name for one in sets})
        for one in sets:
            _write(one, mined[one.spec.name], how, partial / "pairs" / one.spec.name, data)
    report(f"{out}: data for tsembed fit")
    return Mined(out, {one.spec.name: len(one.rows) for one in sets}, totals)


def _check(per_query: int, margin: float | None, max_relative_score: float | None, max_tokens: int) -> None:
    for name, number in (("per_query", per_query), ("max_tokens", max_tokens)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    if margin is not None and not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be finite and >= 0, got {margin}")
    if max_relative_score is not None and not 0 < max_relative_score <= 1:
        raise ValueError(f"max_relative_score must be in (0, 1], got {max_relative_score}")


def _sets(specs: Iterator[DatasetSpec], report: Callable[[str], Any]) -> Iterator[_Set]:
    """The training sets of pairs, checked; what was left out of them is reported."""
    form: dict[str, str] = {}  # what variants of a text have in common -> the one that stands for them
    for spec in specs:
        if (spec.part, spec.format) != ("train", "pairs"):
            continue
        rows = []
        read = Noted(spec.tables["rows"])
        for number, row in enumerate(read, start=1):
            try:
                rows.append(row if isinstance(row, Pair) else parse(Pair, row))  # type: ignore[arg-type]  # no other Row
            except ValueError as error:
                raise ValueError(f"{spec.name}, row {number}: {error}") from None
        for note in read.notes.values():
            report(f"{spec.name}: {note}")
        texts = [
            (form.setdefault(same_key(row.anchor), row.anchor), form.setdefault(same_key(row.positive), row.positive))
            for row in rows
        ]
        yield _Set(spec, rows, texts)


def _negatives(
    one: _Set, sets: Sequence[_Set], model: tuple[Any, dict[str, Any]], per_query: int, limits: Mapping[str, Any]
) -> list[list[str]]:
    """The negatives of each row of a set."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    queries, corpus = ({pair[side] for pair in one.texts} for side in (0, 1))
    known = dict.fromkeys(one.texts)
    for other in sets:  # positives that stand elsewhere, or the other way round
        for a, b in other.texts:
            known |= dict.fromkeys((q, d) for q, d in ((a, b), (b, a)) if q in queries and d in corpus)
    anchors, positives = zip(*known, strict=True)
    encoder, prompts = model
    triplets = mine_hard_negatives(
        Dataset.from_dict({"anchor": anchors, "positive": positives}),
        encoder,
        num_negatives=per_query + 1,  # the query itself may be among them
        faiss_batch_size=max(1, SCORES // len(corpus)),
        verbose=False,
        **limits,
        **prompts,
    )
    of_query: dict[str, dict[str, None]] = {}
    for query, negative in zip(triplets["anchor"], triplets["negative"], strict=True):  # most similar first
        if negative != query:
            of_query.setdefault(query, {})[negative] = None
    return [list(of_query.get(query, ()))[:per_query] for query, _ in one.texts]


def _model(name: str, revision: str | None, max_tokens: int) -> Any:
    """The encoder that a name stands for: one of ours, or one of sentence-transformers."""
    folder = Path(name)
    if (folder / "tsembed.json").is_file():
        return load(folder).eval()
    from sentence_transformers import SentenceTransformer

    from ..encoder.backbones import embedded_folder

    device = str(best_device())
    if (folder / "task_routed.json").is_file():  # what `fit` writes of MoTE, read with the code that is installed
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        from ..mote.sentence_transformer import TaskRoutedTransformer

        parts = [TaskRoutedTransformer.load(name), Pooling.load(name, subfolder="1_Pooling"), Normalize()]
        model = SentenceTransformer(modules=parts, prompts=dict(parts[0].prompts), device=device)
    else:
        model = SentenceTransformer(embedded_folder(name), revision=revision, device=device)
    model.max_seq_length = min(model.max_seq_length or max_tokens, max_tokens)
    return model


def _of_task(model: Any, spec: DatasetSpec, max_tokens: int) -> tuple[Any, dict[str, Any]]:
    """The encoder as the miner calls it for a set, and the prompts that it is to be asked for."""
    task = TASKS[task_of(spec)]
    if isinstance(model, Encoder):
        return _Routed(model, spec.name, task, max_tokens), {}
    if task.name in model.prompts:
        return model, {"query_prompt_name": task.name, "corpus_prompt_name": task.name}
    return model, {}  # its prompts for queries and documents, if it has some


class _Routed:
    """An encoder of ours with the methods of a SentenceTransformer that the miner uses."""

    def __init__(self, encoder: Encoder, name: str, task: Task, max_tokens: int):
        from sentence_transformers.util import cos_sim, pairwise_cos_sim

        self.encoder, self.max_tokens = encoder, min(max_tokens, encoder.max_tokens)
        sides = (task.query_route, task.document_route)
        self.query_route, self.document_route = (route_of_set(encoder.routes, name, route) for route in sides)
        self.similarity, self.similarity_pairwise = cos_sim, pairwise_cos_sim

    @property
    def device(self) -> torch.device:
        """Where scores are kept."""
        return self.encoder.device

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        """Embeddings on the query route of the set's task."""
        return self.encoder.encode(texts, self.query_route, max_tokens=self.max_tokens, show_progress_bar=True)

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        """Embeddings on the document route of the set's task."""
        return self.encoder.encode(texts, self.document_route, max_tokens=self.max_tokens, show_progress_bar=True)


def _copy_other_sets(data: Path, out: Path, names: set[str]) -> None:
    """All of a folder of sets but the training files of these pairs; of a table there is nothing else."""
    if not (data / "pairs").is_dir():
        return

    def mined(folder: str, files: list[str]) -> list[str]:
        path = Path(folder)
        if path.parent.name != "pairs" or path.parent.parent != data or path.name not in names:
            return []
        return [file for file in files if file in {f"train{ending}" for ending in ENDINGS}]

    shutil.copytree(data, out, dirs_exist_ok=True, ignore=mined)


def _write(one: _Set, negatives: list[list[str]], how: dict[str, Any], folder: Path, data: Path) -> None:
    """The rows with their negatives, and how these were found; of a table also where it comes from."""
    lines = []
    for row, found in zip(one.rows, negatives, strict=True):
        pair: dict[str, Any] = {"anchor": row.anchor, "positive": row.positive}
        lines.append(json.dumps(pair | ({"negatives": found} if found else {}), ensure_ascii=False))
    write_text(folder / "train.jsonl", "\n".join(lines) + "\n")
    write_text(folder / "mined.json", json.dumps(how, indent=1) + "\n")
    if not (data / "pairs").is_dir():
        write_text(folder / "README.md", f"Origin: {one.spec.origin}.\nLicence: {one.spec.licence}.\n")
