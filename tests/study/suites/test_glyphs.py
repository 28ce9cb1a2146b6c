"""Invariants of the glyphs suite:

- the pinned glyphs are those of matplotlib's fonts, and others are an error; an outline is drawn as FreeType draws it;
- no two characters share a picture, no character is in two of training, validation and evaluation;
- every query has one right candidate and no wrong one that looks like it; 400 queries for every set;
- tasks conflict: the candidates of «same letter», «same font» and «same colour» hold what the other two ask for;
- four meta-tasks, each with a form that is never trained; examples are seeded.
"""

import random
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from study.presets import Data
from study.suites.drawn import counts
from study.suites.glyphs import fonts, suite
from study.suites.glyphs.classification import LABELS
from study.suites.glyphs.fonts import FACES, looks
from study.suites.glyphs.outlines import pictures
from study.suites.glyphs.pool import PROPERTIES, Pool, picture, pools
from study.suites.inks import INKS, SIZE
from tsembed.inputs import open_image
from tsembed.tasks import IMAGE_TASKS

PAGE = Path(__file__).parents[3] / "docs" / "glyphs_benchmark.md"
BY_NAME = {chosen.name: chosen for chosen in suite.SETS}


@cache
def bank():
    return pools()["eval"].bank(random.Random(0))


def drawn(name, count=40, seed=0):
    """Examples of a set as it is evaluated."""
    rng = random.Random(seed)
    return [BY_NAME[name].draw(rng, pools()["eval"], bank(), True) for _ in range(count)]


@cache
def by_picture():
    """Picture -> the glyph that it shows."""
    return {picture(glyph): glyph for glyph in pools()["eval"].glyphs}


def shown(item):
    return by_picture()[item.image]


def test_the_glyphs_are_the_pinned_ones_and_no_two_characters_share_a_picture(monkeypatch):
    found = looks()
    grey = [look.tobytes() for of_character in found.values() for look in of_character.values()]
    assert len(grey) == len(set(grey)) == 17021
    assert len(found) == 2775
    assert max(look.max() for of_character in found.values() for look in of_character.values()) == 16
    monkeypatch.setattr(fonts, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="the glyphs of matplotlib .* have the sha256 570fa01.*; install matplotlib 3"):
        looks.__wrapped__()


@pytest.mark.parametrize("file", ["DejaVuSans", "STIXGeneral", "DejaVuSerif-BoldItalic"])
def test_an_outline_is_drawn_as_freetype_draws_it(file):
    from PIL import Image, ImageDraw, ImageFont

    path, scale = fonts._folder() / f"{file}.ttf", 16
    font = ImageFont.truetype(str(path), 15 * scale, layout_engine=ImageFont.Layout.BASIC)
    for code, ours in pictures(path, map(ord, "AgB&Ωж√")).items():
        canvas = Image.new("L", (60 * scale, 60 * scale))
        ImageDraw.Draw(canvas).text((15 * scale, 15 * scale), chr(code), fill=255, font=font)
        ink = canvas.crop(canvas.getbbox())
        longer = max(ink.size)
        square = Image.new("L", (longer, longer))
        square.paste(ink, ((longer - ink.width) // 2, (longer - ink.height) // 2))
        size = SIZE * scale
        large = Image.new("L", (size, size))
        large.paste(square.resize((size - scale, size - scale)), (scale // 2, scale // 2))
        theirs = np.asarray(large, float).reshape(SIZE, scale, SIZE, scale).mean((1, 3)) / 255 * 16
        assert np.corrcoef(theirs.ravel(), ours.ravel().astype(float))[0, 1] > 0.96, chr(code)
        assert np.abs(theirs - ours).mean() < 1


def test_no_character_is_in_two_parts():
    codes = {part: {glyph.character.code for glyph in pool.glyphs} for part, pool in pools().items()}
    assert {part: len(found) for part, found in codes.items()} == {"train": 1665, "validation": 277, "eval": 833}
    assert not codes["train"] & codes["eval"]
    assert not codes["train"] & codes["validation"]
    assert not codes["validation"] & codes["eval"]
    kinds = {part: {glyph.character.kind for glyph in pool.glyphs} for part, pool in pools().items()}
    assert kinds["train"] == kinds["eval"], "each part has every kind"
    assert Counter(glyph.character for glyph in bank().glyphs).most_common(1)[0][1] <= 3


@pytest.mark.parametrize("name", BY_NAME)
def test_a_query_has_one_right_candidate_and_none_that_looks_like_it(name):
    for one in drawn(name, 8):
        assert one.positive not in one.negatives
        assert len(set(one.negatives)) == len(one.negatives) >= 15
        assert one.query.image is None or one.query.image != one.positive.image
        assert {item.image is None for item in one.negatives} == {one.positive.image is None}


@pytest.mark.parametrize(
    ("name", "asked_for"),
    [("glyphs_same_character", "character"), ("glyphs_same_font", "face"), ("glyphs_same_ink", "ink")],
)
def test_candidates_hold_what_the_other_sets_ask_for(name, asked_for):
    tempted = Counter()
    for one in drawn(name):
        query, right = shown(one.query), shown(one.positive)
        assert PROPERTIES[asked_for](right) == PROPERTIES[asked_for](query)
        for item in one.negatives:
            wrong = shown(item)
            assert PROPERTIES[asked_for](wrong) != PROPERTIES[asked_for](query)
            tempted.update(
                other for other in ("character", "face", "ink") if PROPERTIES[other](wrong) == PROPERTIES[other](query)
            )
    assert set(tempted) == {"character", "face", "ink"} - {asked_for}
    assert min(tempted.values()) >= 40, "at least one per query"


def test_the_labels_are_true_and_the_trained_questions_share_them():
    truth = {"kind": "kind", "case": "case", "weight": "weight", "family": "family", "mark": "mark", "slope": "slope"}
    for name, of in truth.items():
        for one in drawn(f"glyphs_{name}", 20):
            assert one.positive.text == PROPERTIES[of](shown(one.query))
            assert {item.text for item in one.negatives} == set(LABELS) - {one.positive.text}
    assert {one.positive.text for one in drawn("glyphs_ink_and_kind", 60)} <= {
        f"{ink} {kind}" for ink in INKS for kind in {glyph.character.kind for glyph in bank().glyphs}
    }


def test_a_name_is_sought_among_all_characters():
    one, other = drawn("glyphs_name_of", 1)[0], drawn("glyphs_picture_of_name", 1)[0]
    assert one.positive.text == shown(one.query).character.name
    assert len(one.negatives) == 832
    assert len(other.negatives) > 2000
    name = other.query.text.partition(": ")[2]
    assert shown(other.positive).character.name == name
    assert name not in {shown(item).character.name for item in other.negatives}


def test_every_set_has_400_queries_and_every_task_a_form_that_is_never_trained():
    specs = list(suite.specs(Data(source="glyphs", train_rows=8, eval_rows=400)))
    assert "\n".join(counts(specs)) in PAGE.read_text(), "python -m study.suites.glyphs.suite --counts"
    found = {spec.name: spec for spec in specs if spec.part == "eval"}
    assert {name: len(spec.tables["queries"]) for name, spec in found.items()} == dict.fromkeys(BY_NAME, 400)
    for task in IMAGE_TASKS:
        groups = [chosen.group for chosen in suite.SETS if chosen.task == task]
        assert set(groups) == {"seen", "unseen"}
        assert groups.count("seen") >= 3
    sides = {"queries": ("query", "query_image"), "candidates": ("text", "image")}
    rows = [(sides[side], row) for spec in found.values() for side in sides for row in spec.tables[side]]
    distinct = {tuple(row[column] for column in columns) for columns, row in rows}
    assert 10_000 < len(distinct) < 16_000, "what a whole evaluation embeds"


def test_examples_are_seeded_and_pictures_are_small():
    assert drawn("glyphs_kind_at", 5) == drawn("glyphs_kind_at", 5)
    assert drawn("glyphs_kind_at", 5, seed=1) != drawn("glyphs_kind_at", 5)
    assert open_image(drawn("glyphs_kind", 1)[0].query).size == (SIZE, SIZE)


def test_what_no_glyph_has_is_named():
    with pytest.raises(ValueError, match="no glyph of the pool has {'kind': 'rune'}"):
        Pool(bank().glyphs[:4]).draw(random.Random(0), kind="rune")
    assert len(FACES) == 12
