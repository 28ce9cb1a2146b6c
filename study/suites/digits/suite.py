"""The digits source: scikit-learn's handwritten digits as a suite in the form of MMEB, with its four meta-tasks.

What every set asks, and what the suite does not measure: docs/digits_benchmark.md.

    python -m study.suites.digits.suite --counts [EVAL_ROWS]
"""

import sys
from collections.abc import Iterator

from tsembed.data.schema import DatasetSpec
from tsembed.tasks import CAPTIONING

from ...presets import Data
from .. import drawn
from ..counts import print_counts
from ..drawn import DrawnSet
from . import captions, classification, glyphs, grounding, questions, retrieval
from .glyphs import pools

VERSION = 2  # of the sets that are made of the same digits
LICENCE = "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)"

SETS = (
    DrawnSet("digits_digit", "image_classification", "seen", classification.which_digit, 10),
    DrawnSet("digits_parity", "image_classification", "seen", classification.which_parity, 2),
    DrawnSet("digits_half", "image_classification", "seen", classification.which_half, 2),
    DrawnSet("digits_ink", "image_classification", "seen", classification.which_ink, 4),
    DrawnSet("digits_ink_digit", "image_classification", "unseen", classification.ink_and_digit, 40),
    DrawnSet("digits_ink_parity_half", "image_classification", "unseen", classification.ink_parity_half, 16),
    DrawnSet("digits_picture_of", "image_retrieval", "seen", retrieval.picture_of),
    DrawnSet("digits_caption_of", "image_retrieval", "seen", retrieval.caption_of, 40),
    DrawnSet("digits_same_digit", "image_retrieval", "seen", retrieval.same_digit),
    DrawnSet("digits_same_ink", "image_retrieval", "seen", retrieval.same_ink),
    DrawnSet("digits_same_parity", "image_retrieval", "unseen", retrieval.same_parity),
    DrawnSet("digits_parity_in_ink", "image_retrieval", "unseen", retrieval.parity_in_ink),
    DrawnSet("digits_sum", "visual_question_answering", "seen", questions.total, 19),
    DrawnSet("digits_larger", "visual_question_answering", "seen", questions.larger, 9),
    DrawnSet("digits_left_of", "visual_question_answering", "seen", questions.left_of, 10),
    DrawnSet("digits_how_many_in_ink", "visual_question_answering", "seen", questions.how_many_in_ink, 4),
    DrawnSet("digits_ink_of", "visual_question_answering", "seen", questions.ink_of, 4),
    DrawnSet("digits_is_there", "visual_question_answering", "seen", questions.is_there, 2),
    DrawnSet("digits_which_in_ink", "visual_question_answering", "unseen", questions.which_in_ink, 10),
    DrawnSet("digits_how_many_even", "visual_question_answering", "unseen", questions.how_many_even, 4),
    DrawnSet("digits_digit_in_row", "visual_grounding", "seen", grounding.digit_in_row),
    DrawnSet("digits_cell_at", "visual_grounding", "seen", grounding.cell_at),
    DrawnSet("digits_digit_in_ink", "visual_grounding", "seen", grounding.digit_in_ink),
    DrawnSet("digits_ink_in_row", "visual_grounding", "unseen", grounding.ink_in_row),
    DrawnSet("digits_left_neighbour", "visual_grounding", "unseen", grounding.left_neighbour),
)
CAPTIONS = (
    DrawnSet("digits_caption_of_digit", CAPTIONING, "seen", captions.caption_of_digit),
    DrawnSet("digits_digit_of_caption", CAPTIONING, "seen", captions.digit_of_caption),
    DrawnSet("digits_caption_of_canvas", CAPTIONING, "seen", captions.caption_of_canvas),
    DrawnSet("digits_canvas_of_caption", CAPTIONING, "seen", captions.canvas_of_caption),
)


def specs(data: Data) -> Iterator[DatasetSpec]:
    """The captions, the trained sets, then all evaluation sets.

    Raises:
        ValueError: If scikit-learn has other digits than the pinned ones.
    """
    from importlib.metadata import version

    origin = f"load_digits of scikit-learn {version('scikit-learn')}"
    yield from drawn.specs(drawn.Suite(CAPTIONS, SETS, pools(), origin, LICENCE), data)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings: the pinned digits and the version of this code."""
    return [f"version {VERSION}", glyphs.SHA256]


if __name__ == "__main__":
    MODULE = "study.suites.digits.suite"
    print_counts(sys.argv[1:], MODULE, lambda rows: specs(Data(source="digits", eval_rows=rows)), drawn.counts)
