"""What can be asked about a set of pictures, by the columns that it has: forms of MMEB's four meta-tasks."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from tsembed.inputs import Item, encode_png

from ..image_files import PictureZip
from ..ranking import Example


class Row(NamedTuple):
    """One picture and what is said about it. What a row does not have is empty.

    Args:
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


class Asking(NamedTuple):
    """What an example is drawn from: the rows that a form can ask about, and whether wrong candidates are wanted."""

    rows: Sequence[Row]
    pictures: PictureZip
    rng: random.Random
    others: bool


class Form(NamedTuple):
    """One way to ask: its meta-task, "seen" if it is trained too, the rows that it can use, and how one is asked."""

    name: str
    task: str
    group: str
    usable: Callable[[Sequence[Row]], list[Row]]
    draw: Callable[[Row, Asking], Example]


def judged(rows: Iterable[Row]) -> bool:
    """Whether the labels say if a text is true of its picture."""
    return any(row.label in TRUTH for row in rows)


def forms(rows: Sequence[Row]) -> Iterator[Form]:
    """The forms that the columns of the rows allow; of another view, only the way to it is trained."""
    if judged(rows):
        yield Form("statement", "visual_question_answering", "seen", labelled, statement)
        return
    kinds, names = len({row.label for row in rows} - {""}) > 1, any(row.text for row in rows)
    if kinds:
        yield Form("label", "image_classification", "seen", labelled, label_of)
    if names:
        yield Form("picture_of", "image_retrieval", "seen", named, picture_of)
        yield Form("name_of", "image_retrieval", "seen", named, name_of)
        yield Form("part", "visual_grounding", "seen", named, part_of)
    if any(row.keywords for row in rows):
        yield Form("keywords", "image_retrieval", "seen", telling, picture_of_keywords)
    for view in sorted({view for row in rows for view in row.views}):
        short, usable = view.removeprefix("image_"), partial(viewed, view)
        yield Form(f"to_{short}", "image_retrieval", "seen", usable, partial(to_view, view))
        yield Form(f"from_{short}", "image_retrieval", "unseen", usable, partial(from_view, view))
        if kinds:
            yield Form(f"label_{short}", "image_classification", "unseen", partial(in_view, view, labelled), label_of)
        if names:
            yield Form(f"part_{short}", "visual_grounding", "unseen", partial(in_view, view, named), part_of)


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
    return [row for row in rows if row.keywords and len(set.intersection(*(having[w] for w in _asked(row)))) == 1]


def viewed(view: str, rows: Sequence[Row]) -> list[Row]:
    """The rows that have the view."""
    return [row for row in rows if view in row.views]


def in_view(view: str, usable: Callable[[Sequence[Row]], list[Row]], rows: Sequence[Row]) -> list[Row]:
    """The usable rows that have the view, with it in place of their picture."""
    return [row._replace(image=row.views[view]) for row in usable(rows) if view in row.views]


def label_of(row: Row, asking: Asking) -> Example:
    """Picture -> its kind, among all kinds."""
    wrong = [Item(label) for label in sorted({r.label for r in asking.rows}) if label != row.label]
    query = Item("Which kind of picture is it? <image>", asking.pictures.read(row.image))
    return Example(query, Item(row.label), others=wrong if asking.others else ())


def statement(row: Row, asking: Asking) -> Example:
    """Picture and sentence -> true or false."""
    query = Item(f"Is this true of the picture? <image> {row.text}", asking.pictures.read(row.image))
    wrong = [Item(said) for label, said in TRUTH.items() if label != row.label]
    return Example(query, Item(TRUTH[row.label]), others=wrong if asking.others else ())


def picture_of(row: Row, asking: Asking) -> Example:
    """Name -> picture."""
    return _pictures(Item(f"Find a picture of this: {row.text}"), row, asking)


def name_of(row: Row, asking: Asking) -> Example:
    """Picture -> name."""
    query = Item("Find the name of what the picture shows. <image>", asking.pictures.read(row.image))
    return Example(query, Item(row.text), others=[Item(other.text) for other in _others(row, asking)])


def picture_of_keywords(row: Row, asking: Asking) -> Example:
    """Keywords -> the picture that has them all."""
    return _pictures(Item(f"Find a picture with these keywords: {', '.join(_asked(row))}"), row, asking)


def to_view(view: str, row: Row, asking: Asking) -> Example:
    """Picture -> the same thing in the other view."""
    query = Item("Find the same thing in another style. <image>", asking.pictures.read(row.image))
    return _pictures(query, row, asking, lambda r: r.views[view])


def from_view(view: str, row: Row, asking: Asking) -> Example:
    """The other view -> the picture: the same in the other direction, which is never trained."""
    query = Item("Find the same thing in another style. <image>", asking.pictures.read(row.views[view]))
    return _pictures(query, row, asking)


def part_of(row: Row, asking: Asking) -> Example:
    """A canvas of four pictures, as large as one of them, and a name -> its quarter, cut out."""
    height, width = asking.pictures.pixels(row.image).shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    others = _others(row, asking, CANDIDATES - 1 if asking.others else 3)
    tiles = [asking.pictures.pixels(r.image, size) for r in (row, *others)]
    place = asking.rng.sample(range(4), 4)
    upper, lower = (np.concatenate([tiles[i] for i in half], axis=1) for half in (place[:2], place[2:]))
    query = Item(f"Find this part of the picture. <image> {row.text}", encode_png(np.concatenate([upper, lower])))
    answer, *wrong = dict.fromkeys(Item("", encode_png(tile)) for tile in tiles)
    return Example(query, answer, _content(answer), wrong if asking.others else ())


def _pictures(query: Item, row: Row, asking: Asking, name: Callable[[Row], str] = lambda row: row.image) -> Example:
    """The example whose candidates are pictures: the row's, and those of others that look different."""
    answer = Item("", asking.pictures.read(name(row)))
    wrong = dict.fromkeys(Item("", asking.pictures.read(name(other))) for other in _others(row, asking))
    return Example(query, answer, _content(answer), [item for item in wrong if item != answer])


def _others(row: Row, asking: Asking, size: int | None = None) -> list[Row]:
    """Other rows for wrong candidates: `ALIKE` of the query's label, then any. Equal pictures count as one.

    Args:
        row: Whose label and picture the others are compared with.
        asking: Rows and pictures to draw from, and the generator that draws.
        size: How many; by default `CANDIDATES` with the right one in evaluation, none in training.
    """
    size = (CANDIDATES - 1) * asking.others if size is None else size
    if not size:
        return []
    drawn = asking.rng.sample(range(len(asking.rows)), len(asking.rows))
    alike = [i for i in drawn if asking.rows[i].label == row.label][: ALIKE + 1]
    seen, chosen = {asking.pictures.content(row.image)}, []
    for number in dict.fromkeys([*alike, *drawn]):
        other = asking.rows[number]
        if (content := asking.pictures.content(other.image)) not in seen:
            seen.add(content)
            chosen.append(other)
            if len(chosen) == size:
                break
    return chosen


def _asked(row: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.keywords))[:KEYWORDS]


def _content(item: Item) -> tuple[str]:
    """Equal pictures are one answer, in whatever set."""
    return (hashlib.blake2b(item.image, digest_size=16).hexdigest(),)
