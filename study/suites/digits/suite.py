"""The digits source: scikit-learn's handwritten digits as a suite in the form of MMEB, with its four meta-tasks.

What every set asks, and what the suite does not measure: docs/digits_benchmark.md.

    python -m study.suites.digits.suite --counts [EVAL_ROWS]
"""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tsembed.inputs import Input
from tsembed.tasks import CAPTIONING

from ...data.ranking import RankingExample, chance, pair, tables
from ...data.schema import DatasetSpec
from ...presets import Data
from . import captions, classification, glyphs, grounding, questions, retrieval
from .glyphs import Pool, pools

TRAIN_ROWS, EVAL_ROWS = 2000, 1000  # of a set, where the settings say nothing
MISSES = 300  # draws in a row that give nothing new, after which a set of few distinct examples ends
VERSION = 2  # of the sets that are made of the same digits
LICENCE = "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)"


class DigitSet(NamedTuple):
    """One set: its meta-task, "seen" if it is trained too, else "unseen", and how an example is drawn.

    Args:
        draw: (rng, queries, documents, negatives) -> example; `others` asks for the wrong candidates too.
        answers: How many texts its question can be answered with; 0 where pictures answer.
    """

    name: str
    task: str
    group: str
    draw: Callable[[random.Random, Pool, Pool, bool], RankingExample]
    answers: int = 0


SETS = (
    DigitSet("digits_digit", "image_classification", "seen", classification.which_digit, 10),
    DigitSet("digits_parity", "image_classification", "seen", classification.which_parity, 2),
    DigitSet("digits_half", "image_classification", "seen", classification.which_half, 2),
    DigitSet("digits_ink", "image_classification", "seen", classification.which_ink, 4),
    DigitSet("digits_ink_digit", "image_classification", "unseen", classification.ink_and_digit, 40),
    DigitSet("digits_ink_parity_half", "image_classification", "unseen", classification.ink_parity_half, 16),
    DigitSet("digits_picture_of", "image_retrieval", "seen", retrieval.picture_of),
    DigitSet("digits_caption_of", "image_retrieval", "seen", retrieval.caption_of, 40),
    DigitSet("digits_same_digit", "image_retrieval", "seen", retrieval.same_digit),
    DigitSet("digits_same_ink", "image_retrieval", "seen", retrieval.same_ink),
    DigitSet("digits_same_parity", "image_retrieval", "unseen", retrieval.same_parity),
    DigitSet("digits_parity_in_ink", "image_retrieval", "unseen", retrieval.parity_in_ink),
    DigitSet("digits_sum", "visual_question_answering", "seen", questions.total, 19),
    DigitSet("digits_larger", "visual_question_answering", "seen", questions.larger, 9),
    DigitSet("digits_left_of", "visual_question_answering", "seen", questions.left_of, 10),
    DigitSet("digits_how_many_in_ink", "visual_question_answering", "seen", questions.how_many_in_ink, 4),
    DigitSet("digits_ink_of", "visual_question_answering", "seen", questions.ink_of, 4),
    DigitSet("digits_is_there", "visual_question_answering", "seen", questions.is_there, 2),
    DigitSet("digits_which_in_ink", "visual_question_answering", "unseen", questions.which_in_ink, 10),
    DigitSet("digits_how_many_even", "visual_question_answering", "unseen", questions.how_many_even, 4),
    DigitSet("digits_digit_in_row", "visual_grounding", "seen", grounding.digit_in_row),
    DigitSet("digits_cell_at", "visual_grounding", "seen", grounding.cell_at),
    DigitSet("digits_digit_in_ink", "visual_grounding", "seen", grounding.digit_in_ink),
    DigitSet("digits_ink_in_row", "visual_grounding", "unseen", grounding.ink_in_row),
    DigitSet("digits_left_neighbour", "visual_grounding", "unseen", grounding.left_neighbour),
)
CAPTIONS = (
    DigitSet("digits_caption_of_digit", CAPTIONING, "seen", captions.caption_of_digit),
    DigitSet("digits_digit_of_caption", CAPTIONING, "seen", captions.digit_of_caption),
    DigitSet("digits_caption_of_canvas", CAPTIONING, "seen", captions.caption_of_canvas),
    DigitSet("digits_canvas_of_caption", CAPTIONING, "seen", captions.canvas_of_caption),
)


def specs(data: Data) -> Iterator[DatasetSpec]:
    """The captions, the trained sets, then all evaluation sets.

    Raises:
        ValueError: If scikit-learn has other digits than the pinned ones.
    """
    from importlib.metadata import version

    origin = f"load_digits of scikit-learn {version('scikit-learn')}"
    division = pools()
    for digit_set in (*CAPTIONS, *SETS):
        if digit_set.group == "seen":
            rows = _pairs(digit_set, division["train"], data.train_rows or TRAIN_ROWS, data.seed, "train")
            parts = {"rows": rows}
            if data.validation_rows:
                held = _pairs(digit_set, division["validation"], data.validation_rows, data.seed, "validation")
                parts["validation"] = held
            yield DatasetSpec(digit_set.name, "train", "image_pairs", parts, origin, LICENCE, "seen", digit_set.task)
    bank = division["eval"].bank(random.Random(f"{data.seed}/bank"))
    for digit_set in SETS:
        rng = random.Random(f"{data.seed}/{digit_set.name}/eval")
        examples = _distinct(digit_set, division["eval"], bank, data.eval_rows or EVAL_ROWS, rng, True)
        about = (origin, LICENCE, digit_set.group, digit_set.task)
        yield DatasetSpec(digit_set.name, "eval", "ranking", tables(examples, rng), *about, answers=digit_set.answers)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings: the pinned digits and the version of this code."""
    return [f"version {VERSION}", glyphs.SHA256]


def _pairs(digit_set: DigitSet, pool: Pool, size: int, seed: int, part: str) -> Iterator[dict]:
    rng = random.Random(f"{seed}/{digit_set.name}/{part}")
    return map(pair, _distinct(digit_set, pool, pool, size, rng, False))


def _distinct(
    digit_set: DigitSet, queries: Pool, documents: Pool, size: int, rng: random.Random, negatives: bool
) -> Iterator[RankingExample]:
    """Up to `size` examples, no pair of query and answer twice."""
    seen: set[tuple[Input, Input]] = set()
    misses = 0
    while len(seen) < size and misses < MISSES:
        drawn = digit_set.draw(rng, queries, documents, negatives)
        if (drawn.query, drawn.positive) in seen:
            misses += 1
            continue
        misses = 0
        seen.add((drawn.query, drawn.positive))
        yield drawn


def counts(specs_of_suite: Iterable[DatasetSpec]) -> Iterator[str]:
    """A Markdown table of the evaluation sets: queries, candidates per query, chance in per cent."""
    yield "| meta-task | set | group | queries | distinct candidates | per query | chance |"
    yield "|---|---|---|---|---|---|---|"
    for spec in specs_of_suite:
        if spec.part == "eval":
            queries, candidates = spec.tables["queries"], spec.tables["candidates"]
            sizes = sorted({len(row["candidates"]) for row in queries})
            size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            percent = 100 * chance(spec.tables)
            about = f"| {spec.task} | {spec.name} | {spec.group} | {len(queries):,} "
            yield f"{about}| {len(candidates):,} | {size} | {percent:.1f} |"


def main(arguments: list[str]) -> None:
    """Print the table of the suite's sets for the documentation.

    Args:
        arguments: `--counts`, and how many evaluation rows a set may have (400 by default).

    Raises:
        SystemExit: For other arguments, or with the reason why the sets cannot be made.
    """
    if not arguments or arguments[0] != "--counts" or len(arguments) > 2:
        raise SystemExit("usage: python -m study.suites.digits.suite --counts [EVAL_ROWS]")
    rows = int(arguments[1]) if len(arguments) == 2 else 400
    try:
        print("\n".join(counts(specs(Data(source="digits", eval_rows=rows)))))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
