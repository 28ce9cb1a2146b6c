"""The committed reports can be read by anybody, anywhere.

- No file names a path, host or package index of the machine that wrote it, or of this one.
- No link leads nowhere, and no page loads anything from another site.
"""

import re

import pytest

from study import paths
from study.report.reference import freeze

REFERENCES = sorted(p.parent for p in (paths.ROOT / "reports" / "reference").glob("*/index.html"))
LOADS = re.compile(
    r'<(?:script|img|iframe|source)[^>]*\bsrc="(?:https?:)?//|<link[^>]*\bhref="(?:https?:)?//|url\((?:https?:)?//'
)


def test_there_are_committed_reports():
    assert {folder.name for folder in REFERENCES} >= {"cpu", "local"}


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)
def test_no_committed_file_names_a_machine(folder):
    assert freeze.machine_traces(folder) == []


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)
def test_no_committed_page_has_a_dead_link_or_needs_a_network(folder):
    assert freeze.dead_links(folder) == []
    assert [page.name for page in folder.rglob("*.html") if LOADS.search(page.read_text())] == []
