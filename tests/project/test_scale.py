"""docs/scale.md: every figure that follows from others is computed anew.

What was measured stands in the page's own tables and is read from there (`python -m benchmarks.shards` measures it, in
some minutes); all else comes from the presets, the list of sources, and `study estimate`.
"""

import re

import pytest

from benchmarks import shards
from study import paths
from study.data.hub.embedding_training_data import HUB_SOURCES
from study.presets import load_preset
from study.runs import estimate
from tsembed.tasks import TEXT_TASKS

PAGE = " ".join((paths.ROOT / "docs" / "scale.md").read_text().split())
PAIRS = sum(source.filtered_pairs for source in HUB_SOURCES.values())
TIMES = 10  # the data of the last part, in those of the paper
CARDS = 16 * 8  # MoTE took 16 nodes of 8


def number(before, after=""):
    """The number between two pieces of the page, which stand together once."""
    (found,) = re.findall(re.escape(before) + r"([\d,.]*\d)" + re.escape(after), PAGE)
    return float(found.replace(",", ""))


def says(before, after, expected, unit):
    """Whether the number that stands there is the expected one, in whole units."""
    assert number(before, after) == pytest.approx(unit * round(expected / unit)), f"{before}…{after}: {expected}"


@pytest.fixture(scope="module")
def measured():
    """Rows per CPU second, and bytes a pair."""
    return {
        "rows": number("one process per core | ", " rows per CPU second"),
        "parquet": number("downloaded once | ", " bytes a pair"),
        "arrow": number("Arrow, kept | ", " bytes a pair"),
    }


@pytest.fixture(scope="module")
def work():
    """Pair tokens, or None for the preset's limits -> rows of `study estimate paper`."""
    preset = load_preset("paper")
    return {tokens: estimate.work(preset, tokens) for tokens in (number("--pair-tokens ", "` counts"), None)}


def test_the_paper_has_these_pairs():
    assert round(PAIRS, -5) == shards.PAPER_PAIRS
    says("measured | ", " M pairs of that length", PAIRS / 1e6, 0.1)
    clustering = sum(source.filtered_pairs for source in HUB_SOURCES.values() if source.task == "clustering")
    says("for the ", " million pairs of clustering", clustering / 1e6, 1)
    says("rank and worker: ", " GB for the", 8 * clustering / 1e9, 1)
    says("With ", " billion pairs", TIMES * PAIRS / 1e9, 0.1)


def test_data(measured):
    says("of which 8 % is the sha256 | ", " CPU hours", PAIRS / measured["rows"] / 3600, 0.1)
    says("275 bytes a pair | ", " GB", measured["parquet"] * PAIRS / 1e9, 1)
    says("743 bytes a pair | ", " GB", measured["arrow"] * PAIRS / 1e9, 1)
    assert "65 GB are nine minutes at 1 Gbit/s" in PAGE
    assert round(measured["parquet"] * PAIRS * 8 / 1e9 / 60) == 9
    batch = load_preset("paper").training.batch_size
    assert batch == shards.BATCH
    says("batch of ", " pairs on one rank", batch, 1)
    says(f"each of the paper's {CARDS} ranks has ", " a batch", batch / CARDS, 1)


def test_the_length_of_a_pair(work):
    characters = number("core (Xeon with AVX-512), with ", " characters a pair")
    says("--pair-tokens ", "` counts", characters / estimate.CHARACTERS, 10)
    assert f"({characters:.0f} characters at {estimate.CHARACTERS} a token)" in PAGE
    limits = load_preset("paper").training
    says("every text has the ", " tokens that the preset allows", limits.max_document_tokens, 1)


def test_hours(work):
    (of_pairs, rows), (_, longest) = work.items()
    assert of_pairs == 180
    assert estimate.SHARE == pytest.approx(1 / 5), "a fifth of a card's peak"
    assert f"{estimate.PEAK['H100'] / 1e12:.0f} (H100) and {estimate.PEAK['A100'] / 1e12:.0f} (A100) TFLOP/s" in PAGE
    text, *images = rows
    assert text.experiment == "text"
    says("| text, ", " trainings and the evaluation", text.trained, 1)
    for name, part in (("56 sets", [text]), ("images", images), ("all", rows)):
        found = re.search(rf"{name} \| (\d+) \| ([\d,]+) \| ([\d,]+) \|", PAGE)
        runs, *hours = (int(figure.replace(",", "")) for figure in found.groups())
        assert runs == sum(row.runs for row in part)
        for card, shown in zip(("H100", "A100"), hours, strict=True):
            expected = sum(estimate.hours(row.training + row.evaluation, card) for row in part)
            assert shown == round(expected), (name, card)
    says("text takes ", " H100 hours", estimate.hours(longest[0].training + longest[0].evaluation, "H100"), 1)
    assert "counts a third" in PAGE
    assert len(TEXT_TASKS) == 3


def test_the_benchmark_has_so_many_sets():
    import mteb

    says("and the evaluation on ", " sets", len(mteb.get_benchmark(load_preset("paper").evaluation.benchmark).tasks), 1)


def test_ten_times_the_data(measured):
    says("making shards | ", " CPU hours, 650 GB", TIMES * PAIRS / measured["rows"] / 3600, 1)
    says("2 CPU hours, ", " GB downloaded", TIMES * measured["parquet"] * PAIRS / 1e9, 50)
    says("disk | ", " TB of Arrow", TIMES * measured["arrow"] * PAIRS / 1e12, 0.1)
    says("pages out of ", " TB", TIMES * measured["arrow"] * PAIRS / 1e12, 0.1)
    says("some ", " MB; the manifest", number("as in `paper` | 7.5 MB | ", " MB"), 1)
    says("reading | ", " single rows a step", shards.BATCH, 1)
