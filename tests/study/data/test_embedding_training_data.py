"""Invariants of the hub source:

- every source has a task, a pinned repository and one pattern of files; the paper's 29 sources in 9 + 12 + 8;
- every format of the files gives a pair; a row with an empty text is counted, a malformed line names its place;
- a mirror folder prepares without a network, in a stream, and a sample is the same for the same seed;
- both hub presets resolve completely: names, revisions, routes of the benchmark's tasks, every hyper-parameter.
"""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from study import paths, presets
from study.data import prepare
from study.data.hub import embedding_training_data
from study.presets import Data, Preset
from study.runs.measure import mteb_tasks
from tsembed.data import manifest
from tsembed.tasks import TASK_OF_TYPE, TEXT_TASKS, route_of

COMMIT = re.compile(r"[0-9a-f]{40}")


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def rows_of(name, count):
    """Rows in the format of the file that `name` stands for."""
    if name == "wikianswers":
        return [{"set": [f"way {i} to ask", f"way {i} of asking", f"asked {i}"]} for i in range(count)]
    if name == "reddit_title_body":
        return [{"title": f"title {i}", "body": f"body {i}", "subreddit": "made_up"} for i in range(count)]
    if name == "paq":
        return [{"query": f"query {i}", "pos": [f"passage {i} a", f"passage {i} b"]} for i in range(count)]
    return [[f"{name} text {i}", f"{name} other {i}"] for i in range(count)]


@pytest.fixture
def mirror(tmp_path):
    """All files of the 29 sources, small."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "mirror"
    for name, source in embedding_training_data.HUB_SOURCES.items():
        path = folder / source.files.replace("*", "2010" if "reddit" in name else "00000-of-00001")
        rows = rows_of(name, 200 if name == "simplewiki" else 60)
        if path.suffix == ".parquet":
            path.parent.mkdir(parents=True, exist_ok=True)
            table = {"query": [r[0] for r in rows], "document": [r[1] for r in rows], "dataset": [name] * len(rows)}
            pq.write_table(pa.table(table), path)
        else:
            write(path, rows)
    write(folder / "reddit_title_text_2011.jsonl.gz", rows_of("reddit_title_body", 3))
    return folder


def preset(folder, **data):
    settings = Data(source="hub", path=folder, **data)
    return Preset(name="test", about="test", data=settings, variants={"em": 1})


def test_the_29_sources_have_the_papers_tasks_and_pinned_files():
    counts = Counter(source.task for source in embedding_training_data.HUB_SOURCES.values())
    assert counts == {"clustering": 9, "classification": 12, "retrieval": 8}
    assert set(counts) == set(TEXT_TASKS)
    assert len({(s.repository, s.files) for s in embedding_training_data.HUB_SOURCES.values()}) == 29
    assert all(
        COMMIT.fullmatch(embedding_training_data.REVISIONS[s.repository])
        for s in embedding_training_data.HUB_SOURCES.values()
        if s.repository != embedding_training_data.REPOSITORY
    )
    total = sum(source.filtered_pairs for source in embedding_training_data.HUB_SOURCES.values())
    assert 233e6 < total < 236e6


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        (["a", "b"], {"a", "b"}),
        (["a", "b", "a negative"], {"a", "b"}),
        ({"query": "a", "pos": ["b"], "neg": ["c"]}, {"a", "b"}),
        ({"set": ["a", "b"]}, {"a", "b"}),
        ({"title": "a", "body": "b", "subreddit": "x"}, {"a", "b"}),
        ({"query": "a", "document": "b", "shard": 1}, {"a", "b"}),
    ],
)
def test_every_format_gives_a_pair(row, texts):
    made = embedding_training_data.pair(row, random.Random(0))
    assert {made.anchor, made.positive} == texts
    assert made.negatives is None  # the paper's stage has in-batch negatives alone


@pytest.mark.parametrize("row", ["text", ["one"], {"text": "a"}, [1, 2], {"set": "ab"}])
def test_an_unknown_format_is_an_error(row):
    with pytest.raises(ValueError, match="pair|format|text"):
        embedding_training_data.pair(row, random.Random(0))


def test_a_mirror_prepares_every_source_and_128_articles(mirror, tmp_path):
    made = prepare.prepare(preset(mirror, validation_rows=5), tmp_path / "data")
    train = {e["name"]: e for e in made["datasets"] if e["part"] == "train"}
    assert set(train) == set(embedding_training_data.HUB_SOURCES)
    assert all(train[name]["task"] == source.task for name, source in embedding_training_data.HUB_SOURCES.items())
    assert train["agnews"]["rows"] == {"rows": 55}
    assert train["reddit_title_body"]["rows"] == {"rows": 58}
    articles = manifest.load_table(tmp_path / "data", "eval", "simplewiki_articles")["rows"]
    assert len(set(articles["text"])) == embedding_training_data.ARTICLES
    assert articles["text"][0].startswith("simplewiki text")
    table = manifest.load_table(tmp_path / "data", "train", "wikianswers")
    assert all(
        q != d and q.split()[1] == d.split()[1] or "asked" in q + d
        for q, d in zip(table["query"], table["document"], strict=True)
    )


def test_a_sample_is_seeded_and_reads_only_the_first_rows(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_training_data, "WINDOW", 2)
    made = [prepare.prepare(preset(mirror, train_rows=10, seed=s), tmp_path / str(i)) for i, s in enumerate((0, 0, 1))]
    assert made[0]["sha256"] == made[1]["sha256"] != made[2]["sha256"]
    entry = next(e for e in made[0]["datasets"] if e["name"] == "agnews")
    assert entry["rows"] == {"rows": 10}
    assert "first 20 rows" in entry["notes"]["sample"]
    queries = manifest.load_table(tmp_path / "0", "train", "agnews")["query"]
    assert {int(q.split()[-1]) for q in queries} <= set(range(20))


def test_empty_texts_are_counted_and_a_malformed_line_names_its_place(mirror, tmp_path):
    write(mirror / "agnews.jsonl.gz", [["a", "b"], ["", "b"], ["c", "d"]])
    write(mirror / "WikiAnswers.jsonl.gz", [{"set": ["alone"]}, {"set": ["a", "b"]}])
    made = {e["name"]: e for e in prepare.prepare(preset(mirror), tmp_path / "data")["datasets"]}
    assert made["agnews"]["rows"] == {"rows": 2}
    assert made["agnews"]["notes"]["empty"].startswith("1 rows")
    assert made["wikianswers"]["notes"]["empty"].startswith("1 rows")
    with gzip.open(mirror / "agnews.jsonl.gz", "wt") as file:
        file.write('["a", "b"]\n["a", \n')
    with pytest.raises(ValueError, match=r"agnews\.jsonl\.gz:2: not JSON"):
        prepare.prepare(preset(mirror), tmp_path / "other")


def test_a_missing_file_is_named(mirror, tmp_path):
    (mirror / "npr.jsonl.gz").unlink()
    with pytest.raises(ValueError, match=r"mirror has no file npr\.jsonl\.gz"):
        prepare.prepare(preset(mirror), tmp_path / "data")


def test_without_a_network_the_mirror_is_named(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled\nmore")

    monkeypatch.setattr(huggingface_hub, "list_repo_files", offline)
    with pytest.raises(
        ValueError, match=r"reddit-title-body@60f9.*: it is not in the cache .* HF_HUB_OFFLINE is set; .* --data FOLDER"
    ):
        prepare.prepare(preset(None, revision="0" * 40), tmp_path / "data")


@pytest.mark.parametrize("name", ["paper", "gpu"])
def test_the_hub_presets_resolve_completely(name):
    made = presets.load_preset(name)
    content = yaml.safe_load((paths.CONFIGS / "presets" / f"{name}.yaml").read_text())
    for section in ("training", "evaluation"):  # nothing is left to a default that could change
        assert set(content[section]) == set(type(getattr(made, section)).model_fields), section
    assert COMMIT.fullmatch(made.backbone.revision)
    assert COMMIT.fullmatch(made.data.revision)
    assert made.backbone.key_mapping == {r"^bert\.": ""}
    types = [task.metadata.type for task in mteb_tasks(made.evaluation, Path())]
    assert set(types) == set(TASK_OF_TYPE)
    assert all(route_of(task_type, "query") for task_type in types)
    assert [presets.resolve(made, variant, seed) for variant, seed in made.runs()]
    tasks = [s.task for s in embedding_training_data.specs(made.data) if s.part == "train"]
    assert tasks == [s.task for s in embedding_training_data.HUB_SOURCES.values()]
    if name == "paper":
        assert len(types) == 56
        training = made.training
        assert (training.batch_size, training.learning_rate, training.weight_decay) == (6144, 5e-6, 0.1)
        assert training.steps is None
        assert made.data.train_rows is None


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("agnews.jsonl.gz", lambda data: data[:-11], r"mirror/agnews\.jsonl\.gz: damaged behind row .*; copy it again"),
        ("agnews.jsonl.gz", lambda data: data[:-40] + bytes(20), r"agnews\.jsonl\.gz: damaged behind row .*; copy it"),
        ("squad_pairs.jsonl.gz", lambda data: data[4:], r"squad_pairs\.jsonl\.gz: damaged behind row 0 \(Not a gz"),
        ("wikipedia", lambda data: data[:20], r"wikipedia-.*\.parquet: damaged behind row 0 "),
        ("wikipedia", lambda data: b"", r"wikipedia-.*\.parquet: damaged behind row 0 "),
        (
            "PAQ_pairs.jsonl.gz",
            lambda data: b"version https://git-lfs.github.com/spec/v1\n",
            "PAQ.*: a pointer of Git LFS",
        ),
    ],
)
def test_a_file_of_a_mirror_that_is_not_whole_is_named(mirror, tmp_path, file, change, message):
    (path,) = [path for path in mirror.rglob("*") if path.name.startswith(file)]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        prepare.prepare(preset(mirror), tmp_path / "data")
    assert "\n" not in str(error.value)
    assert path.is_file()
    assert not (tmp_path / "data" / "manifest.json").exists()
