"""Data that are refused after a finished study: what was finished stays. The study is its own: its folder is broken."""

import pytest

from tests import checkout

from .test_workflow import finished, mended, study, table  # noqa: F401  (two are fixtures)

pytestmark = pytest.mark.slow


def test_refused_data_leave_what_was_finished_and_are_refused_until_they_are_mended(finished):  # noqa: F811
    names = ("data/manifest.json", "data/train/words/record.json", "em/seed0/done.json")
    kept = [finished / "runs/tiny" / name for name in names]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept]
    words, numbers = finished / "own/pairs/words/train.jsonl", finished / "own/classification/numbers/test.jsonl"
    sound = words.read_text(), numbers.read_text()
    words.write_text(sound[0] + sound[0].replace("question", "another question"))  # good, and read before the other
    numbers.write_text('{"text": "one", "label": "1"}\n' * 12)
    for _ in range(2):
        answer = checkout.call(finished, "tiny")  # the folder is known from the manifest
        assert answer.returncode == 1, answer.stdout
        assert "failed: data" in answer.stderr
        assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept] == before
    assert table(finished, "status")["data"] == "failed"
    words.write_text(sound[0])
    numbers.write_text(sound[1])
    assert study(finished).stdout.startswith("Nothing to do")
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept] == before
    assert table(finished, "status")["data"] == "done"
