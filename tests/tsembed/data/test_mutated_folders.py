"""Properties of a user's folder under random damage:

- whatever is done to the cells, rows, bytes and names of a sound folder, it is prepared, or refused in one error whose
  every line has a place in the folder and a rule; a refused folder has no manifest and nothing else is raised;
- what is prepared can be used: batches can be made of its training parts, and its test parts get a finite score.

500 folders are tried. To score every accepted one, and not the first `SCORED` alone, set TSEMBED_PROPERTIES=whole; a
number there is the number of folders (and scores all of them).
"""

import gzip
import json
import math
import os
import re
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.data import prepare
from study.presets import Data, Preset
from tests.tiny import tiny
from tests.tsembed.data.test_folder_tables import write
from tests.tsembed.data.test_scorable import SOUND
from tsembed.data.manifest import load_table, training_tasks
from tsembed.encoder.text import Encoder
from tsembed.evaluation.mteb_encoder import MtebEncoder, evaluate, weights_hash
from tsembed.training.batches import groups_of

ASKED = os.environ.get("TSEMBED_PROPERTIES", "")
EXAMPLES = int(ASKED) if ASKED.isdecimal() else 500
SCORED = math.inf if ASKED else 12  # accepted folders whose test parts are scored
SETS = {
    "pairs/faq": {"train": [{"anchor": f"why {i}", "positive": f"because {i}"} for i in range(12)]},
    "clustering/tools": {"train": [{"text": f"saw {i}", "label": i % 3} for i in range(12)]},
}
for name, rows in SOUND.items():
    SETS.setdefault(name.rpartition("/")[0], {})[name.rpartition("/")[2]] = rows
POINTER = b"version https://git-lfs.github.com/spec/v1\nsize 3\n"
VALUES = [
    *("", " \t", "\u200b", "\x00", "\ud83e", "<|image_pad|>", "cafe\u0301", "0", "1", "l0", "q0", "word " * 3000),
    *(None, True, 0, 1, -1, 2, 1.5, 2**40, 1e300, math.nan, math.inf, [], [""], ["p", "n"], [1, "x"], {}, [[]]),
]
LINES = [
    b"",
    b"[1]",
    b"{",
    b'{"a": 1, "a": 2}',
    b"\xff",
    b"null",
    b'"text"',
    b"[" * 9999,
    b"\xef\xbb\xbf{}",
    b'{"x": "',
]


@st.composite
def damages(draw):
    """A set of the sound folder, and what is done to it: (kind, file, place, value) once to three times."""
    where = draw(st.sampled_from(sorted(SETS)))
    stems = st.sampled_from(sorted(SETS[where]))
    row = st.integers(0, 11)
    cell = st.tuples(st.just("cell"), stems, row, st.tuples(st.integers(0, 3), st.sampled_from(VALUES) | st.text()))
    column = st.tuples(st.just("column"), stems, st.integers(0, 3), st.sampled_from(VALUES) | st.just("delete"))
    count = st.tuples(st.just("rows"), stems, st.integers(0, 11), st.none())
    line = st.tuples(st.just("line"), stems, row, st.sampled_from(LINES))
    repeat = st.tuples(st.just("repeat"), stems, row, st.none())
    form = st.tuples(st.just("form"), stems, row, st.sampled_from([".jsonl.gz", ".csv", ".tsv", ".parquet"]))
    end = st.tuples(st.just("cut"), stems, st.integers(0, 400), st.booleans())
    whole = st.tuples(st.just("file"), stems, row, st.sampled_from(["delete", "copy", "empty", "pointer", "folder"]))
    names = ["README.md", "task.json", "tset.jsonl", "dev.jsonl", "two words", "notes.txt", ".hidden"]
    beside = st.tuples(st.just("beside"), stems, row, st.tuples(st.sampled_from(names), st.sampled_from(LINES)))
    kinds = cell | column | count | line | repeat | form | end | whole | beside
    return where, draw(st.lists(kinds, min_size=1, max_size=3))


def damaged(root, where, done):
    """Write the sound set with the damage; the kinds that change rows come before those that change files."""
    rows = {stem: [dict(row) for row in content] for stem, content in SETS[where].items()}
    endings, after = dict.fromkeys(rows, ".jsonl"), []
    for kind, stem, place, value in done:
        content = rows[stem]
        if kind == "cell" and content:
            row = content[place % len(content)]
            row[list(row)[value[0] % len(row)]] = value[1]
        elif kind == "column" and content:
            column = list(content[0])[place % len(content[0])]
            rows[stem] = [{k: v if k != column else value for k, v in row.items()} for row in content]
            if value == "delete":
                rows[stem] = [{k: v for k, v in row.items() if k != column} or {"x": 1} for row in content]
        elif kind == "rows":
            del content[place:]
        elif kind == "repeat" and content:
            content.append(content[place % len(content)])
        elif kind == "form":
            endings[stem] = value
        else:
            after.append((kind, stem, place, value))
    folder = root / where
    folder.mkdir(parents=True)
    for stem, content in rows.items():
        path = folder / f"{stem}{endings[stem]}"
        try:
            write(path, content)
        except Exception:  # no table can hold such rows
            path.unlink(missing_ok=True)
            path = write(folder / f"{stem}.jsonl", content)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in content).encode()))
        for kind, _, place, value in [one for one in after if one[1] == stem]:
            change_file(path, kind, place, value)


def change_file(path, kind, place, value):
    if kind == "beside":
        (path.parent / value[0]).write_bytes(value[1])
    elif not path.is_file():
        return
    elif kind == "line":
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"\n".join([*lines[:place], value, *lines[place:]]) + b"\n")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[place:] if value else path.read_bytes()[:-place])
    elif kind == "file":
        content = path.read_bytes()
        path.unlink()
        if value == "folder":
            path.mkdir()
        elif value != "delete":
            path.write_bytes({"copy": content, "empty": b"", "pointer": POINTER}[value])
        if value == "copy":
            (path.parent / f"{path.name.partition('.')[0]}.csv").write_bytes(content)


def check_message(message, root, where):
    """That every line of a refusal names a place in the folder, which is there, and a rule."""
    first, *lines = message.splitlines()
    assert str(root) in first or where.rpartition("/")[2] in first, message
    if lines:
        assert first.endswith(":"), message
    for line in lines:
        if line.endswith("so no manifest was written:"):  # a second kind of fault
            continue
        place = re.match(r"  (.+?)(:\d+)?: \S", line)
        assert place, message
        assert (root / place[1]).exists(), message


@pytest.fixture(scope="module")
def model(tokenizer):
    encoder = Encoder(tiny("bert", layers=1), tokenizer, instructions=None).eval()
    return MtebEncoder(encoder, name="tsembed/test", revision=weights_hash(encoder, ""), max_tokens=32)


def use(folder, manifest, model, scored):
    """Batches of every training part and, as long as `scored` allows, the score of every test part."""
    from tsembed.evaluation.text_tasks import tasks

    for name in training_tasks(manifest, "train"):
        rows = load_table(folder, "train", name)[:]
        for side in ("query", "document"):
            parts, _ = model.encoder.prepare(rows[side], "clustering", max_tokens=32)
            assert model.encoder.embed(parts).isfinite().all()
        assert len(groups_of(rows["query"], rows["document"], rows["group"])[0]) == len(rows["query"])
    if scored:
        for row in evaluate(model, tasks(folder), folder / "cache"):
            assert math.isfinite(row["score"])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # correlations and classifiers of a random model's scores
def test_a_damaged_folder_is_used_or_refused_by_place_and_rule(model, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tempfile.gettempdir())
    ends: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages())
    def one(damage):
        where, done = damage
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "own"
            damaged(root, where, done)
            # Another set beside it, so that a folder is never empty.
            write(root / "wikipedia/sound/passages.jsonl", [{"id": 1, "text": "An article."}])
            preset = Preset(name="test", about="", data=Data(source="local", path=root), variants={"em": 1})
            try:
                manifest = prepare.prepare(preset, Path(place) / "data")
            except ValueError as error:
                check_message(str(error), root, where)
                assert not (Path(place) / "data/manifest.json").exists()
                ends["refused"] += 1
                return
            ends["accepted"] += 1
            use(Path(place) / "data", manifest, model, ends["accepted"] <= SCORED)

    one()
    print(dict(ends))
    assert sum(ends.values()) >= min(EXAMPLES, 500)
    assert min(ends["refused"], ends["accepted"]) > EXAMPLES / 10, ends
