"""Glyphs suite, outlines: the characters of a TrueType font as small grey pictures, the same on every machine.

fontTools reads the outlines as whole numbers, and all that follows is arithmetic of 64-bit integers: no FreeType, whose
version and build decide what `matplotlib.ft2font` and Pillow draw, no hinting and no rounding of floats. A pixel's grey
value is the number of its 4 x 4 sample points that are inside the outline (non-zero winding number).
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from ..inks import SIZE

SAMPLES = 4  # per pixel and direction
SIDE = SIZE * SAMPLES  # samples of a picture's side
SPAN = SIDE - SAMPLES  # samples of a character's longer side: half a pixel stays free on either side
PIECES = 4  # straight pieces that a curve is made of
GLYPHS_AT_ONCE = 128  # that are drawn in one go: their samples stay in the processor's cache

Numbers = Int[np.ndarray, " n"]
Points = Int[np.ndarray, "n 2"]
Outline = tuple[Points, Bool[np.ndarray, " n"], Numbers]


def pictures(font: Path, codes: Iterable[int]) -> dict[int, UInt8[np.ndarray, "16 16"]]:
    """Code point -> grey values 0..16 of the characters that the font has, each in the middle and as large as fits.

    One without an outline (a space), or with that of the missing character (`.notdef`), counts as not there.

    Args:
        font: A TrueType file with quadratic outlines.
        codes: Unicode code points.
    """
    from fontTools.ttLib import TTFont

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of dates in the header of old fonts
    with TTFont(font, lazy=True) as file:
        outlines, glyph_names = file["glyf"], file.getBestCmap()
        missing = _outline(outlines, ".notdef") if ".notdef" in outlines.keys() else None
        found = {}
        for code in codes:
            outline = _outline(outlines, glyph_names[code]) if code in glyph_names else None
            if outline is not None and not _same(outline, missing):
                found[code] = outline
    chosen, drawn = list(found), []
    for start in range(0, len(chosen), GLYPHS_AT_ONCE):
        drawn.append(_drawn([found[code] for code in chosen[start : start + GLYPHS_AT_ONCE]]))
    return dict(zip(chosen, np.concatenate(drawn), strict=True)) if drawn else {}


def _outline(outlines, name: str) -> Outline | None:
    """Points in font units, whether each is on the curve, and the last point of every contour."""
    coordinates, ends, flags = outlines[name].getCoordinates(outlines)[:3]
    if not len(ends):
        return None
    points = np.rint(np.array(coordinates, dtype=float)).astype(np.int64)  # scaled parts can have fractions
    return points, (np.array(list(flags)) & 1).astype(bool), np.array(list(ends))


def _same(one: Outline, other: Outline | None) -> bool:
    return other is not None and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _drawn(outlines: list[Outline]) -> UInt8[np.ndarray, "glyphs 16 16"]:
    """Grey values of outlines, by the crossings of every line of samples with their edges."""
    start, end, glyph = _edges(outlines)
    extents = np.array([max(1, np.ptp(points, axis=0).max()) for points, _, _ in outlines])
    # A glyph's whole unit, so that nothing is rounded: its first sample is at `half`, its samples are 2 * half apart.
    half = 4 * PIECES**2 * extents[glyph]
    (x0, y0), (x1, y1) = (
        (SIDE * half + 2 * SPAN * points[:, 0], SIDE * half - 2 * SPAN * points[:, 1]) for points in (start, end)
    )
    turn = np.where(y1 > y0, 1, -1)
    first, after = _samples_below(np.minimum(y0, y1), half), _samples_below(np.maximum(y0, y1), half)
    crossings = after - first  # lines of samples that cross the edge
    edge = np.repeat(np.arange(len(crossings)), crossings)
    line = np.arange(crossings.sum()) - np.repeat(np.cumsum(crossings) - crossings, crossings) + first[edge]
    x = x0[edge] + ((2 * line + 1) * half[edge] - y0[edge]) * (x1 - x0)[edge] // (y1 - y0)[edge]
    place = (glyph[edge] * SIDE + line) * (SIDE + 1) + _samples_below(x, half[edge])
    turns = np.bincount(place, weights=turn[edge], minlength=len(outlines) * SIDE * (SIDE + 1)).astype(np.int8)
    winding = np.cumsum(turns.reshape(-1, SIDE, SIDE + 1)[:, :, :SIDE], axis=2, dtype=np.int8)
    inside = (winding != 0).reshape(-1, SIZE, SAMPLES, SIZE, SAMPLES)  # (glyphs, rows, samples, columns, samples)
    return inside.sum((2, 4), dtype=np.uint8)


def _samples_below(value: Numbers, half: Numbers) -> Numbers:
    """How many samples of a line are at a value or below it."""
    return (value + half) // (2 * half)


def _edges(outlines: list[Outline]) -> tuple[Points, Points, Numbers]:
    """Start, end and glyph of all edges, in 4 * PIECES**2 parts of a font unit, the middle of each glyph at (0, 0)."""
    sizes = np.array([len(points) for points, _, _ in outlines])
    offsets = np.cumsum(sizes) - sizes
    points = np.concatenate([2 * p - p.min(0) - p.max(0) for p, _, _ in outlines])
    on_curve = np.concatenate([on for _, on, _ in outlines])
    ends = np.concatenate([last + offset for (_, _, last), offset in zip(outlines, offsets, strict=True)])
    glyph = np.repeat(np.arange(len(outlines)), sizes)
    following = np.arange(1, len(points) + 1)
    following[ends] = np.concatenate([[0], ends[:-1] + 1])
    preceding = np.empty_like(following)
    preceding[following] = np.arange(len(points))
    straight, bent = on_curve & on_curve[following], ~on_curve
    # Between two points off the curve, the curve passes through their middle; all doubled, to stay whole.
    begin, finish = (
        np.where(on_curve[near, None], 2 * points[near], points[near] + points)[bent] for near in (preceding, following)
    )
    middle = 2 * points[bent]
    steps = range(PIECES + 1)
    knots = [(PIECES - t) ** 2 * begin + 2 * t * (PIECES - t) * middle + t * t * finish for t in steps]
    whole = 2 * PIECES**2
    start = np.concatenate([whole * points[straight], *knots[:-1]])
    end = np.concatenate([whole * points[following][straight], *knots[1:]])
    return start, end, np.concatenate([glyph[straight], *[glyph[bent]] * PIECES])
