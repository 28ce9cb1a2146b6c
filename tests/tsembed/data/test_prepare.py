"""Invariants of prepared data:

- the same settings give the same rows and hashes on every machine; a second call does nothing;
- a kill at any moment loses one dataset at most; what was made with other settings is never kept, and never mixed;
- data that are refused leave the tables of an earlier preparation as they were, though its manifest is gone;
- pairs: same label, never themselves, no held-out text in training; what is left out is counted;
- caps: relevant documents stay, qrels follow, the label set of `train` covers that of `rows`.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

import tsembed.data.prepare
from study import presets
from study.data import command, layout, prepare
from study.presets import Data, Preset
from tsembed.data import manifest, pairs, schema, subsample
from tsembed.data.folder import text
from tsembed.data.schema import DatasetSpec
from tsembed.settings import Variant


def preset(**data):
    return Preset(name="test", about="test", data=Data(source="local", **data), variants={"em": 1})


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "own"
    lines(root / "classification/c/train.jsonl", [{"text": f"paint {i}", "label": i % 3} for i in range(60)])
    lines(root / "classification/c/test.jsonl", [{"text": f"ink {i}", "label": i % 3} for i in range(30)])
    lines(root / "pairs/p/train.jsonl", [{"anchor": f"why {i}", "positive": f"because é {i}"} for i in range(100)])
    lines(root / "sts/s/test.jsonl", [{"a": f"x {i}", "b": f"y {i}", "score": i / 2} for i in range(20)])
    return root


def labelled(rows, **data):
    spec = DatasetSpec("made-up", "train", "classification", {}, "", "")
    texts = (schema.LabelledText(**row) for row in rows)
    made = schema.Noted(pairs.pairs(spec, texts, Data(source="local", **data)))
    by_part = {"train": [], "validation": []}
    for part, row in made:
        by_part[part].append(row)
    return by_part["train"], by_part["validation"], made.notes


def test_prepared_tables_and_manifest(folder, tmp_path):
    made = prepare.prepare(preset(path=folder, validation_rows=5, eval_rows=10), tmp_path / "data")
    rows = {(e["part"], e["name"]): e["rows"] for e in made["datasets"]}
    assert rows == {
        ("train", "p"): {"rows": 95},
        ("validation", "p"): {"rows": 5},
        ("train", "c"): {"rows": 55},
        ("validation", "c"): {"rows": 5},
        ("eval", "c"): {"train": 48, "rows": 10},
        ("eval", "s"): {"rows": 10},
    }
    tasks = {e["name"]: e["task"] for e in made["datasets"] if e["part"] == "train"}
    assert tasks == {"p": "retrieval", "c": "classification"}
    table = manifest.load_table(tmp_path / "data", "train", "p")
    assert table.column_names == ["query", "document", "group"]
    assert table.features["group"].dtype == "int64"
    assert set(manifest.load_table(tmp_path / "data", "eval", "c")) == {"train", "rows"}
    assert manifest.read_manifest(tmp_path / "data") == made
    assert not (tmp_path / "data" / ".partial").exists()


def test_the_hash_is_of_the_rows_and_the_same_everywhere(folder, tmp_path):
    data = {"path": folder, "validation_rows": 5, "eval_rows": 10}
    one, two = (prepare.prepare(preset(**data), tmp_path / name) for name in "ab")
    assert one["datasets"] == two["datasets"]
    assert one["sha256"] == two["sha256"]
    other = prepare.prepare(preset(**data, seed=1), tmp_path / "c")
    assert other["sha256"] != one["sha256"]
    # Fixed numbers: a change of rows, order or hashing shows here, on any machine.
    hashes = {(e["part"], e["name"]): e["sha256"][:12] for e in one["datasets"]}
    pinned = {("train", "p"): "7a805206cacd", ("train", "c"): "0b1a6aecbb52", ("eval", "s"): "979cbc2d6cfd"}
    assert {key: hashes[key] for key in pinned} == pinned


def test_a_second_call_does_nothing(folder, tmp_path, monkeypatch):
    made = prepare.prepare(preset(path=folder), tmp_path / "data")
    monkeypatch.setattr(text, "_sets", lambda *_: pytest.fail("the data were read again"))
    start = time.perf_counter()
    assert prepare.prepare(preset(path=folder), tmp_path / "data") == made
    assert time.perf_counter() - start < 0.1


def test_other_settings_are_an_error_that_says_how_to_go_on(folder, tmp_path):
    prepare.prepare(preset(path=folder), tmp_path / "data")
    with pytest.raises(ValueError, match=r"seed: 0 there, 3 asked for.*run_all\.sh clean test"):
        prepare.prepare(preset(path=folder, seed=3), tmp_path / "data")
    lines(folder / "sts/s/test.jsonl", [{"a": "x", "b": "y", "score": 1}])
    with pytest.raises(ValueError, match=r"the input files changed.*clean test"):
        prepare.prepare(preset(path=folder), tmp_path / "data")


def test_a_lost_table_is_made_again(folder, tmp_path):
    made = prepare.prepare(preset(path=folder), tmp_path / "data")
    (tmp_path / "data/eval/s").rename(tmp_path / "gone")
    assert prepare.prepare(preset(path=folder), tmp_path / "data") == made
    assert (tmp_path / "data/eval/s").is_dir()


def test_an_interrupted_call_keeps_finished_datasets_of_the_same_settings(folder, tmp_path, monkeypatch):
    whole = prepare.prepare(preset(path=folder, validation_rows=5), tmp_path / "whole")
    written = []

    def stop_at(count):
        original = tsembed.data.prepare._write

        def write(*arguments):
            if len(written) == count:
                raise KeyboardInterrupt
            written.append(arguments[1].name)
            return original(*arguments)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(tsembed.data.prepare, "_write", stop_at(2))
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(preset(path=folder, validation_rows=5), tmp_path / "data")
    assert not (tmp_path / "data/manifest.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(tsembed.data.prepare, "_write", stop_at(-1))
        assert prepare.prepare(preset(path=folder, validation_rows=5), tmp_path / "data") == whole
    assert len(written) == 4  # four sources, each written once

    with monkeypatch.context() as patch:
        patch.setattr(tsembed.data.prepare, "_write", stop_at(-1))
        (tmp_path / "data/manifest.json").unlink()
        other = prepare.prepare(preset(path=folder, seed=7), tmp_path / "data")
    assert len(written) == 8
    assert other["sha256"] != whole["sha256"]
    assert not (tmp_path / "data/validation/p").exists()  # of the other settings, and not asked for now


def test_refused_data_leave_the_tables_that_an_earlier_call_has_made(folder, tmp_path):
    made = prepare.prepare(preset(path=folder), tmp_path / "data")
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.*") if path.is_file()}
    lines(folder / "pairs/p/train.jsonl", [{"anchor": f"who {i}", "positive": f"they {i}"} for i in range(50)])  # good
    lines(folder / "sts/s/test.jsonl", [{"a": f"x {i}", "b": f"y {i}", "score": 1} for i in range(20)])  # constant
    (tmp_path / "data/manifest.json").unlink()  # Snakemake does, before it calls
    with pytest.raises(ValueError, match="sts/s"):
        prepare.prepare(preset(path=folder), tmp_path / "data")
    tables = {path: path.read_bytes() for path in before if path.is_file()}
    assert tables == {path: content for path, content in before.items() if path.name != "manifest.json"}
    lines(folder / "sts/s/test.jsonl", [{"a": f"x {i}", "b": f"y {i}", "score": i} for i in range(20)])
    mended = prepare.prepare(preset(path=folder), tmp_path / "data")
    assert mended["sha256"] != made["sha256"]
    assert not (tmp_path / "data/.next").exists()
    assert manifest.load_table(tmp_path / "data", "train", "p")["query"][0].startswith("who")


def test_data_of_before_a_setting_existed_count_as_made_with_its_default(folder, tmp_path):
    whole = prepare.prepare(preset(path=folder), tmp_path / "data")
    older = json.loads((tmp_path / "data/manifest.json").read_text())
    del older["settings"]["suites"], older["settings"]["task_of_pairs"]
    (tmp_path / "data/manifest.json").write_text(json.dumps(older))
    assert prepare.prepare(preset(path=folder), tmp_path / "data")["sha256"] == whole["sha256"]
    with pytest.raises(
        ValueError, match=r"other settings \(task_of_pairs: \{\} there, \{'p': 'clustering'\} asked for"
    ):
        prepare.prepare(preset(path=folder, task_of_pairs={"p": "clustering"}), tmp_path / "data")


def test_kill_9_at_any_moment_then_the_same_result(folder, tmp_path):
    whole = prepare.prepare(preset(path=folder, validation_rows=5), tmp_path / "whole")
    code = (
        "import os, signal, sys, pathlib\n"
        "from study.presets import Data, Preset\n"
        "from study.data import prepare\n"
        "count, real = 0, os.rename\n"
        "def rename(a, b):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == int(sys.argv[3]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(a, b)\n"
        "os.rename = rename\n"
        "data = Data(source='local', path=sys.argv[1], validation_rows=5)\n"
        "prepare.prepare(Preset(name='test', about='', data=data, variants={'em': 1}), pathlib.Path(sys.argv[2]))\n"
    )

    def kill(data, moment):
        done = subprocess.run([sys.executable, "-c", code, folder, data, moment], env=os.environ)
        assert done.returncode == -signal.SIGKILL
        assert not (data / "manifest.json").exists()

    # Between parts of a dataset, before the last of them, and while they take their places.
    for moment in ("2", "5", "11"):
        data = tmp_path / f"killed{moment}"
        kill(data, moment)
        assert prepare.prepare(preset(path=folder, validation_rows=5), data) == whole
    settings = preset(path=folder, validation_rows=5, seed=1)
    prepare.prepare(settings, tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "before")
    (tmp_path / "data/manifest.json").unlink()
    kill(tmp_path / "data", "9")  # one part of a dataset is the new one, the other the old
    prepare.prepare(settings, tmp_path / "data")
    for part, name in (("train", "p"), ("validation", "p"), ("train", "c"), ("validation", "c")):
        one, two = (manifest.load_table(tmp_path / place, part, name)["query"] for place in ("before", "data"))
        assert list(one) == list(two), f"{part} {name} is of other settings"


def test_load_and_manifest_name_what_is_missing(folder, tmp_path):
    with pytest.raises(ValueError, match="prepare the data first"):
        manifest.read_manifest(tmp_path / "data")
    prepare.prepare(preset(path=folder), tmp_path / "data")
    with pytest.raises(ValueError, match=r"no train dataset 'x'; it has: p, c"):
        manifest.load_table(tmp_path / "data", "train", "x")
    (tmp_path / "data/manifest.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        manifest.read_manifest(tmp_path / "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two words"}, "letters, digits"),
        ({"format": "sts"}, "format 'sts' cannot be one of part 'train'"),
        ({"tables": {}}, "lacks the table 'rows'"),
        ({"tables": {"rows": [{"anchor": "a", "positive": ""}]}}, "rows row 1: 'positive' is empty"),
        ({"tables": {"rows": []}}, "gives no pair"),
    ],
)
def test_a_bad_spec_is_an_error(tmp_path, monkeypatch, change, message):
    good = DatasetSpec("g", "train", "pairs", {"rows": [{"anchor": "a", "positive": "b"}]}, "here", "mine")
    monkeypatch.setattr(text, "specs", lambda data: iter([dataclasses.replace(good, **change)]))
    monkeypatch.setattr(text, "fingerprint", lambda data: [])
    with pytest.raises(ValueError, match=message):
        prepare.prepare(preset(), tmp_path / "data")


def test_same_label_pairs():
    rows = [{"text": f"t{i}", "label": f"l{i % 4}"} for i in range(80)] + [{"text": "alone", "label": "single"}]
    rows += [{"text": "t0", "label": "l0"}]
    train, validation, notes = labelled(rows, validation_rows=6)
    label = {row["text"]: row["label"] for row in rows}
    assert all(label[p["query"]] == label[p["document"]] and p["query"] != p["document"] for p in train + validation)
    assert all(p["group"] == pairs.group_of("made-up", label[p["query"]]) for p in train + validation)
    queries = [p["query"] for p in train] + [p["query"] for p in validation]
    assert sorted(queries) == sorted({f"t{i}" for i in range(80)})
    assert len(validation) == 6
    held = {p["query"] for p in validation}
    assert not held & ({p["query"] for p in train} | {p["document"] for p in train + validation})
    assert notes == {"repeated": notes["repeated"], "single": "1 labels have one text and give no pair"}


def test_train_rows_samples_queries_by_seed():
    rows = [{"text": f"t{i}", "label": "l"} for i in range(50)]
    one, two, other = (labelled(rows, train_rows=10, seed=s)[0] for s in (0, 0, 1))
    assert len(one) == 10
    assert one == two != other


def test_pairs_are_streamed_and_split():
    spec = DatasetSpec("p", "train", "pairs", {}, "", "")
    rows = (schema.Pair(anchor=f"a{i}", positive=f"b{i // 2}") for i in range(2000))
    got = list(pairs.pairs(spec, rows, Data(source="local", validation_rows=50, train_rows=300)))
    count = Counter(part for part, _ in got)
    assert count == {"train": 300, "validation": 50}
    assert len({row["query"] for _, row in got}) == 350
    drawn = [int(row["query"][1:]) for part, row in got if part == "validation"]
    assert 700 < sum(drawn) / len(drawn) < 1300  # from all of the stream
    same = {row["document"]: row["group"] for _, row in got}
    assert len(set(same.values())) == len(same)


def test_the_table_has_negatives_where_the_data_have_some_and_is_the_same_where_not(tmp_path):
    rows = [{"anchor": f"q {i}", "positive": f"d {i}"} for i in range(20)]
    with_some = [row | ({"negatives": [f"n {i}", f"m {i}"]} if i % 2 else {}) for i, row in enumerate(rows)]
    found = {}
    for name, content, hard in (("plain", rows, False), ("hard", with_some, True), ("ignored", with_some, False)):
        spec = DatasetSpec("faq", "train", "pairs", {"rows": content}, "made", "none", hard_negatives=hard)
        made = tsembed.data.prepare.prepare(
            [spec], tmp_path / name, Data(source="local", validation_rows=2), {}, source="test", remedy=""
        )
        entry = next(e for e in made["datasets"] if e["part"] == "train")
        found[name] = entry, manifest.load_table(tmp_path / name, "train", "faq")
    assert found["plain"][0]["sha256"] == found["ignored"][0]["sha256"] != found["hard"][0]["sha256"]
    assert "negatives" not in found["plain"][0]
    assert found["plain"][1].column_names == ["query", "document", "group"]
    entry, table = found["hard"]
    assert entry["negatives"] == 2
    for query, negatives in zip(table["query"], table["negatives"], strict=True):
        number = int(query.split()[1])
        assert negatives == ([f"n {number}", f"m {number}"] if number % 2 else [])


def test_validation_takes_a_tenth_at_most():
    spec = DatasetSpec("p", "train", "pairs", {}, "", "")
    rows = [schema.Pair(anchor=f"a{i}", positive="b") for i in range(30)]
    got = Counter(part for part, _ in pairs.pairs(spec, rows, Data(source="local", validation_rows=50)))
    assert got == {"train": 27, "validation": 3}


def test_a_capped_retrieval_set_keeps_its_relevant_documents():
    tables = {
        "queries": [{"query_id": f"q{i}", "query": "?"} for i in range(40)],
        "corpus": [{"doc_id": f"d{i}", "text": "."} for i in range(300)],
        "qrels": [
            {"query_id": f"q{i}", "doc_id": f"d{(i * 7 + j) % 300}", "score": float(i != 3)}
            for i in range(40)
            for j in (0, 1)
        ],
    }
    spec = DatasetSpec("r", "eval", "retrieval", tables, "", "")
    capped, notes = subsample.subsample(spec, tables, Data(source="local", eval_rows=10))
    asked, documents = {q["query_id"] for q in capped["queries"]}, {d["doc_id"] for d in capped["corpus"]}
    assert len(asked) == 10
    assert "q3" not in asked
    assert {r["query_id"] for r in capped["qrels"]} == asked
    assert {r["doc_id"] for r in capped["qrels"]} <= documents
    assert len(documents) == len({r["doc_id"] for r in capped["qrels"]}) + 4 * 10
    assert notes["unanswerable"].startswith("1 queries")
    assert "others by seed" in notes["cap of corpus"]


def test_a_capped_classification_set_keeps_every_label():
    rows = [{"text": f"t{i}", "label": "rare" if i % 50 == 0 else f"l{i % 3}"} for i in range(1000)]
    spec = DatasetSpec("c", "eval", "classification", {}, "", "")
    capped, _ = subsample.subsample(spec, {"train": rows, "rows": rows}, Data(source="local", eval_rows=100))
    count = Counter(row["label"] for row in capped["train"])
    assert count == {"rare": 20, "l0": 25, "l1": 25, "l2": 25}
    assert len(capped["rows"]) == 100


def test_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.paths, "RUNS", tmp_path / "runs")
    lacking = (
        "no training part of the task clustering, no test part of the format clustering, .* of the format wikipedia"
    )
    with pytest.raises(SystemExit, match=f"error: the notebooks compare all task types, and the data have {lacking}"):
        command.main(["local", "--data", str(folder)])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(manifest.read_manifest(tmp_path / "runs/local/data")["datasets"])
    experiment = presets.load_preset("gpu").all_experiments[""]
    of_gpu = {"datasets": [{"part": "eval", "format": "wikipedia"}]}
    of_gpu["datasets"] += [{"part": "train", "task": task} for task in ("classification", "clustering", "retrieval")]
    assert command._lacking(of_gpu, experiment) == [], "the sets of a benchmark are its own"
    monkeypatch.setattr(command, "_lacking", lambda manifest, experiment: [])
    command.main(["local", "--data", str(folder)])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(manifest.read_manifest(tmp_path / "runs/local/data")["datasets"]) + 1
    assert printed[0].startswith("train      p")
    assert "retrieval" in printed[0]
    with pytest.raises(SystemExit, match="error: .*nowhere is no folder"):
        command.main(["local", "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="error: preset cpu uses embedded data"):
        command.main(["cpu", "--data", str(folder)])


def test_the_page_about_the_layout_has_the_columns_of_the_row_classes():
    page = layout.PAGE.read_text(encoding="utf-8")
    assert layout.current(page) == page, "python -m study.data.layout writes it anew"
    for column in ("machine_summaries", "query_id", "title", "keywords"):
        assert f"`{column}`" in page


@pytest.mark.parametrize(
    ("supervision", "sets"),
    [
        (None, ["captions", "intents", "faq", "headlines"]),
        ("both", ["captions", "intents", "faq", "headlines"]),
        ("pairs", ["captions", "faq", "headlines"]),
        ("labels", ["intents", "faq", "headlines"]),
    ],
)
def test_a_task_with_two_kinds_of_data_learns_from_those_that_are_wanted(supervision, sets):
    entries = [
        {"part": "train", "name": "captions", "format": "pairs", "task": "classification"},
        {"part": "train", "name": "intents", "format": "classification", "task": "classification"},
        {"part": "train", "name": "faq", "format": "pairs", "task": "retrieval"},
        {"part": "train", "name": "headlines", "format": "clustering", "task": "clustering"},
    ]
    variant = Variant(label="ic", supervision=supervision)
    assert list(manifest.training_tasks({"datasets": entries}, "train", variant)) == sets
