"""The glyphs suite as one source of data: characters of matplotlib's fonts in MMEB's form with its four meta-tasks.

What every set asks, and what the suite does not measure: docs/glyphs_benchmark.md.

    python -m study.suites.glyphs.suite --counts [EVAL_ROWS]
"""

import sys
from collections.abc import Iterator

from tsembed.data.schema import DatasetSpec
from tsembed.tasks import CAPTIONING

from ...presets import Data
from .. import drawn
from ..counts import print_counts
from ..drawn import DrawnSet
from . import captions, classification, fonts, grounding, questions, retrieval
from .pool import pools

VERSION = 1  # of the sets that are made of the same glyphs
LICENCE = "Bitstream Vera (DejaVu), SIL OFL 1.1 (STIX)"

SETS = (
    DrawnSet("glyphs_kind", "image_classification", "seen", classification.which_kind, 13),
    DrawnSet("glyphs_case", "image_classification", "seen", classification.which_case, 2),
    DrawnSet("glyphs_weight", "image_classification", "seen", classification.which_weight, 2),
    DrawnSet("glyphs_family", "image_classification", "seen", classification.which_family, 3),
    DrawnSet("glyphs_mark", "image_classification", "seen", classification.which_mark, 12),
    DrawnSet("glyphs_slope", "image_classification", "unseen", classification.which_slope, 2),
    DrawnSet("glyphs_ink_and_kind", "image_classification", "unseen", classification.ink_and_kind, 52),
    DrawnSet("glyphs_picture_of", "image_retrieval", "seen", retrieval.picture_of),
    DrawnSet("glyphs_description_of", "image_retrieval", "seen", retrieval.description_of),
    DrawnSet("glyphs_same_character", "image_retrieval", "seen", retrieval.same_character),
    DrawnSet("glyphs_same_font", "image_retrieval", "seen", retrieval.same_font),
    DrawnSet("glyphs_same_ink", "image_retrieval", "seen", retrieval.same_ink),
    DrawnSet("glyphs_name_of", "image_retrieval", "seen", retrieval.name_of),
    DrawnSet("glyphs_picture_of_name", "image_retrieval", "unseen", retrieval.picture_of_name),
    DrawnSet("glyphs_same_kind", "image_retrieval", "unseen", retrieval.same_kind),
    DrawnSet("glyphs_kind_at", "visual_question_answering", "seen", questions.kind_at, 13),
    DrawnSet("glyphs_kind_in_ink", "visual_question_answering", "seen", questions.kind_in_ink, 13),
    DrawnSet("glyphs_ink_of", "visual_question_answering", "seen", questions.ink_of, 4),
    DrawnSet("glyphs_how_many_in_ink", "visual_question_answering", "seen", questions.how_many_in_ink, 5),
    DrawnSet("glyphs_is_there", "visual_question_answering", "seen", questions.is_there, 2),
    DrawnSet("glyphs_ink_at", "visual_question_answering", "unseen", questions.ink_at, 4),
    DrawnSet("glyphs_how_many_of_kind", "visual_question_answering", "unseen", questions.how_many_of_kind, 5),
    DrawnSet("glyphs_cell_at", "visual_grounding", "seen", grounding.cell_at),
    DrawnSet("glyphs_cell_in_ink", "visual_grounding", "seen", grounding.cell_in_ink),
    DrawnSet("glyphs_cell_of_kind", "visual_grounding", "seen", grounding.cell_of_kind),
    DrawnSet("glyphs_bold_cell", "visual_grounding", "unseen", grounding.bold_cell),
    DrawnSet("glyphs_beside_ink", "visual_grounding", "unseen", grounding.beside_ink),
)
CAPTIONS = (
    DrawnSet("glyphs_caption_of_glyph", CAPTIONING, "seen", captions.caption_of_glyph),
    DrawnSet("glyphs_glyph_of_caption", CAPTIONING, "seen", captions.glyph_of_caption),
    DrawnSet("glyphs_caption_of_canvas", CAPTIONING, "seen", captions.caption_of_canvas),
    DrawnSet("glyphs_canvas_of_caption", CAPTIONING, "seen", captions.canvas_of_caption),
)


def specs(data: Data) -> Iterator[DatasetSpec]:
    """The captions, the trained sets, then all evaluation sets.

    Raises:
        ValueError: If matplotlib has other fonts than the pinned ones.
    """
    from importlib.metadata import version

    origin = f"fonts of matplotlib {version('matplotlib')}"
    yield from drawn.specs(drawn.Suite(CAPTIONS, SETS, pools(), origin, LICENCE), data)


def fingerprint(data: Data) -> list[str]:
    """What decides the datasets beside the settings: the pinned glyphs and the version of this code."""
    return [f"version {VERSION}", fonts.SHA256]


if __name__ == "__main__":
    MODULE = "study.suites.glyphs.suite"
    print_counts(sys.argv[1:], MODULE, lambda rows: specs(Data(source="glyphs", eval_rows=rows)), drawn.counts)
