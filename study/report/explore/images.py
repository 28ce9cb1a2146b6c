"""Image queries, each with its right answer and four other candidates, ranked by a model.

The queries are of the evaluation sets that the model's own run was scored on; of a model without a run, of the
handwritten digits, which are prepared once.
"""

import base64
import html
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tsembed.inputs import MARK, Input
from tsembed.tasks import TASKS, route_of_set

from ... import paths
from ...presets import load_preset
from ...runs.launch import data_folder
from ...runs.short_training import FOLDER
from ..figures.words import number, words
from .models import IMAGE_EXPERIMENT, UNTRAINED, Model

if TYPE_CHECKING:
    from tsembed.encoder.text import Encoder

OTHERS = 4  # candidates beside the right answer
SMALL_PRESET = "smoke"  # whose small set of images a model without a run is asked about
HEIGHT = 72  # pixels of an image on the page


class Question(NamedTuple):
    """A query with its candidates.

    Attributes:
        dataset: Its evaluation set.
        task: The set's meta-task.
        candidates: The right answer first, then the others.
    """

    dataset: str
    task: str
    query: Input
    candidates: tuple[Input, ...]


class Answer(NamedTuple):
    """A candidate as a model ranks it.

    Attributes:
        rank: From 1.
        right: Whether it is the right answer.
    """

    rank: int
    candidate: Input
    cosine: float
    right: bool


def data_of(model: Model) -> Path:
    """Folder of the prepared data with the questions for a model; they are prepared if they are nobody's yet."""
    if model.kind != UNTRAINED and (paths.CONFIGS / "presets" / f"{model.preset}.yaml").is_file():
        folder = data_folder(model.preset, model.variant)
        if (folder / "manifest.json").is_file():
            return folder
    from ...data.prepare import prepare

    folder = paths.data_dir(SMALL_PRESET, IMAGE_EXPERIMENT)
    if not (folder / "manifest.json").is_file():
        folder = paths.RUNS / FOLDER / "data-images"
        if not (folder / "manifest.json").is_file():
            prepare(load_preset(SMALL_PRESET), folder, experiment=IMAGE_EXPERIMENT)
    return folder


def datasets(data: Path) -> dict[str, str]:
    """The evaluation sets of images in prepared data, and their meta-tasks."""
    from tsembed.data.manifest import read_manifest

    entries = read_manifest(data)["datasets"]
    return {e["name"]: e["task"] for e in entries if e["part"] == "eval" and e["format"] == "ranking"}


def question(data: Path, dataset: str, place: int) -> Question:
    """A query of a set with its right answer and `OTHERS` of its other candidates, fewer where it has fewer.

    Args:
        data: Prepared data.
        dataset: A key of `datasets(data)`.
        place: Which query; counted on from the first again where the set has no more.
    """
    from tsembed.data.manifest import load_table

    tables = load_table(data, "eval", dataset)
    row = tables["queries"][place % len(tables["queries"])]
    right = row["positives"][0]
    wrong = [candidate for candidate in row["candidates"] if candidate not in row["positives"]]
    drawn = random.Random(f"{dataset}/{place}").sample(wrong, min(OTHERS, len(wrong)))
    candidates = tables["candidates"].select([right, *drawn])
    items = tuple(Input(c["text"], c["image"]) for c in candidates)
    return Question(dataset, datasets(data)[dataset], Input(row["query"], row["query_image"]), items)


def rank(encoder: "Encoder", asked: Question) -> list[Answer]:
    """The candidates of a question by their cosine with the query; of equal ones the right answer comes last."""
    task = TASKS[asked.task]
    query_route, document_route = (
        route_of_set(encoder.routes, asked.dataset, route) for route in (task.query_route, task.document_route)
    )
    cosines = encoder.encode(list(asked.candidates), document_route) @ encoder.encode([asked.query], query_route)[0]
    order = sorted(range(len(cosines)), key=lambda i: (-cosines[i], i == 0))
    return [Answer(place, asked.candidates[i], float(cosines[i]), i == 0) for place, i in enumerate(order, start=1)]


def table(asked: Question, answers: Sequence[Answer]) -> str:
    """A query and its ranked candidates as HTML, the right answer marked by a word and a frame."""
    cells = "".join(_candidate(answer) for answer in answers)
    row = "display:flex;flex-wrap:wrap;gap:10px;align-items:stretch"
    return (
        f'<div class="images"><p><b>{html.escape(asked.dataset)}</b> ({words(asked.task)}). {sentence(answers)}</p>'
        f'<div style="{row}"><div style="{_box("#7A8794")}"><b>query</b><br>{_item(asked.query)}</div>'
        f'<div style="align-self:center">→</div>{cells}</div></div>'
    )


def sentence(answers: Sequence[Answer]) -> str:
    """Where the right answer stands."""
    place = next(answer.rank for answer in answers if answer.right)
    if place == 1:
        return f"The right answer is first of {len(answers)}."
    return f"The right answer is number {place} of {len(answers)}."


def training_texts(model: Model) -> list[str]:
    """The training texts of the model's data, for the tokenizer of a backbone with random weights."""
    from tsembed.data.manifest import load_table, read_manifest, training_tasks

    data = data_of(model)
    tables = [load_table(data, "train", name) for name in training_tasks(read_manifest(data), "train")]
    return [text for table in tables for side in ("query", "document") for text in table[side]]


def _candidate(answer: Answer) -> str:
    mark = '<br><b style="color:#14663A">✓ right answer</b>' if answer.right else ""
    head = f"{answer.rank}. <small>{number(answer.cosine, 2)}</small>{mark}"
    colour, width = ("#14663A", 3) if answer.right else ("#C9CFD6", 1)
    return f'<div class="candidate" style="{_box(colour, width)}">{head}<br>{_item(answer.candidate)}</div>'


def _box(colour: str, width: int = 1) -> str:
    return (
        f"border:{width}px solid {colour};padding:6px 8px;max-width:190px;line-height:1.35;white-space:normal;"
        "background:#fff;color:#222"
    )


def _item(item: Input) -> str:
    """A text, an image, or both; the mark of the image's place is left out."""
    text = html.escape(item.text.replace(MARK, "").strip())
    if item.image is None:
        return text
    kind = "png" if item.image.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(item.image).decode()}"
    look = f"height:{HEIGHT}px;width:auto;max-width:170px;image-rendering:pixelated;margin-top:4px"
    return f'{text}{"<br>" if text else ""}<img src="{source}" alt="image" style="{look}">'


def first_of_each_task(sets: dict[str, str]) -> list[str]:
    """The first set of every meta-task."""
    return list({task: name for name, task in reversed(sets.items())}.values())[::-1]
