"""What can be asked about a set of pictures, by the columns that it has: questions of MMEB's four meta-tasks."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ...inputs import Input, encode_png
from ..image_files import ImageZip
from ..ranking import RankingExample


class Row(NamedTuple):
    """One picture and what is said about it. What a row does not have is empty.

    Attributes:
        place: File and line, for messages.
        image: Its name in the zip file.
        label: The kind of picture; or "0" or "1", whether the text is true of it.
        views: Column `image_<view>` -> name of the same thing in another view.
    """

    place: str
    image: str
    text: str
    label: str
    keywords: tuple[str, ...]
    views: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All pictures of the row."""
        return (self.image, *self.views.values())


CANDIDATES = 20  # pictures or texts that a query ranks
ALIKE = 9  # of the wrong ones, those with the query's label
KEYWORDS = 6  # of a picture in one query
TRUTH = {"0": "false", "1": "true"}


class Draw(NamedTuple):
    """What an example is drawn from: the rows that a question can be about, and whether wrong candidates are wanted."""

    rows: Sequence[Row]
    pictures: ImageZip
    rng: random.Random
    negatives: bool


class Question(NamedTuple):
    """One way to ask: its meta-task, "seen" if it is trained too, the rows that it can use, and how one is asked."""

    name: str
    task: str
    group: str
    usable: Callable[[Sequence[Row]], list[Row]]
    example: Callable[[Row, Draw], RankingExample]


def judged(rows: Iterable[Row]) -> bool:
    """Whether the labels say if a text is true of its picture."""
    return any(row.label in TRUTH for row in rows)


def questions(rows: Sequence[Row]) -> Iterator[Question]:
    """The questions that the columns of the rows allow; of another view, only the way to it is trained."""
    if judged(rows):
        yield Question("statement", "visual_question_answering", "seen", labelled, statement)
        return
    kinds, names = len({row.label for row in rows} - {""}) > 1, any(row.text for row in rows)
    if kinds:
        yield Question("label", "image_classification", "seen", labelled, label_of)
    if names:
        yield Question("picture_of", "image_retrieval", "seen", named, picture_of)
        yield Question("name_of", "image_retrieval", "seen", named, name_of)
        yield Question("part", "visual_grounding", "seen", named, part_of)
    if any(row.keywords for row in rows):
        yield Question("keywords", "image_retrieval", "seen", telling, picture_of_keywords)
    for view in sorted({view for row in rows for view in row.views}):
        short, usable = view.removeprefix("image_"), partial(viewed, view)
        yield Question(f"to_{short}", "image_retrieval", "seen", usable, partial(to_view, view))
        yield Question(f"from_{short}", "image_retrieval", "unseen", usable, partial(from_view, view))
        if kinds:
            yield Question(
                f"label_{short}", "image_classification", "unseen", partial(in_view, view, labelled), label_of
            )
        if names:
            yield Question(f"part_{short}", "visual_grounding", "unseen", partial(in_view, view, named), part_of)


def labelled(rows: Sequence[Row]) -> list[Row]:
    """The rows with a label."""
    return [row for row in rows if row.label]


def named(rows: Sequence[Row]) -> list[Row]:
    """The rows with a text that no other row has."""
    count = Counter(row.text for row in rows)
    return [row for row in rows if row.text and count[row.text] == 1]


def telling(rows: Sequence[Row]) -> list[Row]:
    """The rows whose (first) keywords no other row has together."""
    having: dict[str, set[int]] = defaultdict(set)
    for number, row in enumerate(rows):
        for word in row.keywords:
            having[word].add(number)
    return [
        row for row in rows if row.keywords and len(set.intersection(*(having[w] for w in _first_keywords(row)))) == 1
    ]


def viewed(view: str, rows: Sequence[Row]) -> list[Row]:
    """The rows that have the view."""
    return [row for row in rows if view in row.views]


def in_view(view: str, usable: Callable[[Sequence[Row]], list[Row]], rows: Sequence[Row]) -> list[Row]:
    """The usable rows that have the view, with it in place of their picture."""
    return [row._replace(image=row.views[view]) for row in usable(rows) if view in row.views]


def label_of(row: Row, draw: Draw) -> RankingExample:
    """Picture -> its kind, among all kinds."""
    wrong = [Input(label) for label in sorted({r.label for r in draw.rows}) if label != row.label]
    query = Input("Which kind of picture is it? <image>", draw.pictures.read(row.image))
    return RankingExample(query, Input(row.label), negatives=wrong if draw.negatives else ())


def statement(row: Row, draw: Draw) -> RankingExample:
    """Picture and sentence -> true or false."""
    query = Input(f"Is this true of the picture? <image> {row.text}", draw.pictures.read(row.image))
    wrong = [Input(answer) for label, answer in TRUTH.items() if label != row.label]
    return RankingExample(query, Input(TRUTH[row.label]), negatives=wrong if draw.negatives else ())


def picture_of(row: Row, draw: Draw) -> RankingExample:
    """Name -> picture."""
    return _pictures(Input(f"Find a picture of this: {row.text}"), row, draw)


def name_of(row: Row, draw: Draw) -> RankingExample:
    """Picture -> name."""
    query = Input("Find the name of what the picture shows. <image>", draw.pictures.read(row.image))
    return RankingExample(query, Input(row.text), negatives=[Input(other.text) for other in _other_rows(row, draw)])


def picture_of_keywords(row: Row, draw: Draw) -> RankingExample:
    """Keywords -> the picture that has them all."""
    return _pictures(Input(f"Find a picture with these keywords: {', '.join(_first_keywords(row))}"), row, draw)


def to_view(view: str, row: Row, draw: Draw) -> RankingExample:
    """Picture -> the same thing in the other view."""
    query = Input("Find the same thing in another style. <image>", draw.pictures.read(row.image))
    return _pictures(query, row, draw, lambda r: r.views[view])


def from_view(view: str, row: Row, draw: Draw) -> RankingExample:
    """The other view -> the picture: the same in the other direction, which is never trained."""
    query = Input("Find the same thing in another style. <image>", draw.pictures.read(row.views[view]))
    return _pictures(query, row, draw)


def part_of(row: Row, draw: Draw) -> RankingExample:
    """A canvas of four pictures, as large as one of them, and a name -> its quarter, cut out."""
    height, width = draw.pictures.pixels(row.image).shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    others = _other_rows(row, draw, CANDIDATES - 1 if draw.negatives else 3)
    tiles = [draw.pictures.pixels(r.image, size) for r in (row, *others)]
    place = draw.rng.sample(range(4), 4)
    upper, lower = (np.concatenate([tiles[i] for i in half], axis=1) for half in (place[:2], place[2:]))
    query = Input(f"Find this part of the picture. <image> {row.text}", encode_png(np.concatenate([upper, lower])))
    answer, *wrong = dict.fromkeys(Input("", encode_png(tile)) for tile in tiles)
    return RankingExample(query, answer, _content(answer), wrong if draw.negatives else ())


def _pictures(query: Input, row: Row, draw: Draw, name: Callable[[Row], str] = lambda row: row.image) -> RankingExample:
    """The example whose candidates are pictures: the row's, and those of others that look different."""
    answer = Input("", draw.pictures.read(name(row)))
    wrong = dict.fromkeys(Input("", draw.pictures.read(name(other))) for other in _other_rows(row, draw))
    return RankingExample(query, answer, _content(answer), [item for item in wrong if item != answer])


def _other_rows(row: Row, draw: Draw, size: int | None = None) -> list[Row]:
    """Other rows for wrong candidates: `ALIKE` of the query's label, then any. Equal pictures count as one.

    Args:
        row: Whose label and picture the others are compared with.
        draw: Rows and pictures to draw from, and the generator that draws.
        size: How many; by default `CANDIDATES` with the right one in evaluation, none in training.
    """
    size = (CANDIDATES - 1) * draw.negatives if size is None else size
    if not size:
        return []
    order = draw.rng.sample(range(len(draw.rows)), len(draw.rows))
    alike = [i for i in order if draw.rows[i].label == row.label][: ALIKE + 1]
    seen, rows = {draw.pictures.content(row.image)}, []
    for number in dict.fromkeys([*alike, *order]):
        other = draw.rows[number]
        if (content := draw.pictures.content(other.image)) not in seen:
            seen.add(content)
            rows.append(other)
            if len(rows) == size:
                break
    return rows


def _first_keywords(row: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.keywords))[:KEYWORDS]


def _content(item: Input) -> tuple[str]:
    """Equal pictures are one answer, in whatever set."""
    assert item.image is not None
    return (hashlib.blake2b(item.image, digest_size=16).hexdigest(),)
