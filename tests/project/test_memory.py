"""The bounds of memory that docs/data_layout.md states, in small: `python -m benchmarks.memory` measures them whole.

A long text takes memory for its beginning when it is encoded: without that a tenth of 10 MB passes the bound.
"""

import re
from pathlib import Path

import pytest

from benchmarks.memory import CASES, measured

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data_layout.md"


@pytest.mark.slow
def test_a_long_text_is_encoded_within_its_bound(tmp_path):
    found = measured("encoded", 0.1, tmp_path)
    assert found["peak"] - found["imports"] < CASES["encoded"].bound(0.1), found


def test_the_page_states_the_bounds_that_are_measured():
    rows = dict(re.findall(r"^\| (.+?) \| .+ \| ([\d,]+) MB \|", PAGE.read_text(), re.MULTILINE))
    assert rows == {case.about: f"{case.bound(1):,.0f}" for case in CASES.values()}
