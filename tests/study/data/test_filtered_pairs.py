"""Invariants of the paper's filtered pairs, on small files of the same form.

- Every source has its split; a split without a file is named, with all others that have none, before anything is made.
- From the hub a shard is kept once: the download is gone, its sha256 is in the manifest and is the hub's.
- A killed preparation keeps what it has finished and makes the rest; parts by several jobs give the same data.
- A training reads the shards in a computed order; the paper's preset takes this source whole.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from study.data import prepare
from study.data.hub import filtered_pairs
from study.presets import Data, Preset, load_preset
from tests import hub_repositories
from tests.hub_server import HubServer, turn_client_to
from tests.study.data.test_mmeb import write as write_parquet
from tsembed.data import shards
from tsembed.data.manifest import load_table, training_tasks
from tsembed.training.sampler import TaskSampler

ROWS = 20
ROOT = Path(__file__).resolve().parents[3]


def write_sources(folder):
    """Each source in one file, one of them in three, and the articles' file."""
    for source in filtered_pairs.SOURCES:
        count = 3 if source == "paq" else 1
        for number in range(count):
            pairs = ((f"{source} asks {number} {i}", f"{source} says {number} {i}") for i in range(ROWS))
            rows = [{"query": a, "document": b, "dataset": source, "shard": number} for a, b in pairs]
            write_parquet(folder / "data" / f"{source}-{number:05d}-of-{count:05d}.parquet", rows)
    articles = ([f"article {i}", f"simple {i}"] for i in range(150))
    hub_repositories.write_lines(folder / "SimpleWiki.jsonl.gz", articles)
    return folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("mirror"))


def preset(path=None, **data):
    data = {"source": "hub_filtered", "path": path} | data
    return Preset(name="test", about="test", data=Data(**data), variants={"em": 1})


@pytest.fixture
def in_this_process(monkeypatch):
    """One shard after the other, without processes: what they do is the same."""

    class Inline:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def shutdown(self, **_): ...
        def submit(self, work, *arguments):
            from concurrent.futures import Future

            future = Future()
            future.set_result(work(*arguments))
            return future

    monkeypatch.setattr(filtered_pairs, "ProcessPoolExecutor", Inline)


def test_a_mirror_prepares_and_trains_in_a_computed_order(mirror, tmp_path, in_this_process):
    made = prepare.prepare(preset(mirror), tmp_path / "data")
    train = {entry["name"]: entry for entry in made["datasets"] if entry["part"] == "train"}
    assert set(train) == set(filtered_pairs.SOURCES)
    assert [len(entry["shards"]) for entry in (train["paq"], train["squad"])] == [3, 1]
    assert train["paq"]["rows"] == {"rows": 3 * ROWS}
    first = train["paq"]["shards"][0]
    assert first["sha256"] == shards.sha256_of(mirror / "data" / "paq-00000-of-00003.parquet")
    assert (mirror / "data" / "paq-00000-of-00003.parquet").is_file()
    articles = load_table(tmp_path / "data", "eval", "simplewiki_articles")["rows"]["text"]
    assert len(articles) == 128
    tables = {name: load_table(tmp_path / "data", "train", name) for name in train}
    assert tables["paq"][[ROWS, 0]]["query"] == ["paq asks 1 0", "paq asks 0 0"]
    assert all(table.streamed for table in tables.values())
    tasks = training_tasks(made, "train")
    sizes = {name: (tasks[name], len(table)) for name, table in tables.items()}
    order = {"batch_size": 10, "steps": None, "seed": 1}
    sampler, other = TaskSampler(sizes, **order, order="computed"), TaskSampler(sizes, **order)
    drawn = {(step.datasets[owner], row) for step in sampler for owner, row in zip(step.owners, step.rows, strict=True)}
    assert len(drawn) == 10 * len(sampler)  # each at most once in the epoch
    assert sampler.state_dict() != other.state_dict()
    assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(sampler, other, strict=True))


def test_a_second_call_makes_nothing(mirror, tmp_path, in_this_process, monkeypatch):
    made = prepare.prepare(preset(mirror), tmp_path / "data")
    monkeypatch.setattr(filtered_pairs, "write_shard", None)
    assert prepare.prepare(preset(mirror), tmp_path / "data") == made
    (tmp_path / "data" / "manifest.json").unlink()
    assert prepare.prepare(preset(mirror), tmp_path / "data") == made


def test_sources_without_a_file_are_named_before_anything_is_made(tmp_path, in_this_process):
    folder = write_sources(tmp_path / "mirror")
    for source in ("npr", "squad"):
        (folder / "data" / f"{source}-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"mirror has no file data/<source>-\*\.parquet of npr, squad$"):
        prepare.prepare(preset(folder), tmp_path / "data")
    assert not (tmp_path / "data" / "train").exists()


def test_a_part_of_it_is_refused(mirror, tmp_path):
    for data in ({"train_rows": 5}, {"validation_rows": 5}):
        with pytest.raises(ValueError, match="taken whole: train_rows must be null and validation_rows 0"):
            prepare.prepare(preset(mirror, **data), tmp_path / "data")


def test_a_damaged_shard_is_one_line_and_the_others_stay(tmp_path, in_this_process):
    folder = write_sources(tmp_path / "mirror")
    path = folder / "data" / "squad-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"squad-00000-of-00001\.parquet: cannot be read behind row 0") as error:
        prepare.prepare(preset(folder), tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / "manifest.json").exists()
    assert (tmp_path / "data" / "train" / "paq" / "00002.arrow").is_file()


def test_from_the_hub_a_shard_is_kept_once(tmp_path, in_this_process, monkeypatch):
    root = tmp_path / "hub" / "datasets"
    write_sources(root / filtered_pairs.REPOSITORY)
    articles = root / "sentence-transformers" / "embedding-training-data"
    articles.mkdir(parents=True)
    (root / filtered_pairs.REPOSITORY / "SimpleWiki.jsonl.gz").rename(articles / "SimpleWiki.jsonl.gz")
    revision = load_preset("paper").data.revision
    with HubServer(tmp_path / "hub") as hub:
        hub.commits[f"datasets/{filtered_pairs.REPOSITORY}"] = revision
        hub.commits["datasets/sentence-transformers/embedding-training-data"] = filtered_pairs.unfiltered.REVISIONS[
            "sentence-transformers/embedding-training-data"
        ]
        turn_client_to(hub.url, tmp_path / "cache", monkeypatch)
        hub.break_next("GET .*/paq-00001", "corrupt")
        made = prepare.prepare(preset(revision=revision), tmp_path / "data")
    entry = next(entry for entry in made["datasets"] if entry["name"] == "paq")
    source = root / filtered_pairs.REPOSITORY / "data" / "paq-00001-of-00003.parquet"
    assert entry["shards"][1]["sha256"] == shards.sha256_of(source)
    assert entry["rows"] == {"rows": 3 * ROWS}
    left = [path for path in (tmp_path / "cache").glob("*nomic*/blobs/*") if path.is_file()]
    assert left == []


COMMAND = """
import sys
from pathlib import Path
from study.data import prepare
from tests.study.data.test_filtered_pairs import preset
if __name__ == "__main__":
    mirror, folder, *part = sys.argv[1:]
    if part:
        prepare.prepare_part(preset(Path(mirror)), Path(folder), tuple(map(int, part)))
    else:
        prepare.prepare(preset(Path(mirror)), Path(folder))
"""


def start(mirror, folder, script, *part):
    script.write_text(COMMAND)
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(mirror), str(folder), *map(str, part)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_a_killed_preparation_goes_on_and_parts_give_the_same(mirror, tmp_path, in_this_process):
    whole = prepare.prepare(preset(mirror), tmp_path / "whole")
    folder = tmp_path / "data"
    process = start(mirror, folder, tmp_path / "script.py")
    end = time.monotonic() + 120
    while len(list(folder.glob("train/*/*.json"))) < 3:
        assert time.monotonic() < end
        assert process.poll() is None, "it was too quick to be killed"
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    key = json.loads(next(folder.glob("train/*/0*.json")).read_text())["key"]
    finished = {
        path: path.stat().st_mtime_ns for path in folder.glob("train/*/*.arrow") if shards.written_shard(path, key)
    }
    assert 3 <= len(finished) < 31
    assert not (folder / "manifest.json").exists()
    for part in (0, 1):
        assert start(mirror, folder, tmp_path / "script.py", part, 2).wait() == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert prepare.prepare(preset(mirror), folder) == whole
    assert not list(folder.glob("train/*/.*.partial"))


def test_the_papers_preset_takes_it_whole():
    data = load_preset("paper").data
    assert (data.source, data.train_rows, data.validation_rows) == ("hub_filtered", None, 0)
