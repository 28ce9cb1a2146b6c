"""Invariants of a local folder:

- every form becomes the part that the paper gives it: three for training, seven for evaluation, the rest listed unused;
- every rule of the layout is an error that names file, line and rule, all in one error, ten of each set by line;
- a byte order mark, blank last lines, integer ids and truth written as text are accepted;
- a training row with an evaluated text, in whatever form, is left out and counted; a corpus document that no query
  asks for is none;
- origin and licence come from the README, a corpus title goes before its text, extra columns are allowed.
"""

import codecs
import gzip
import json
import re

import pytest

from study.presets import Data
from tsembed.data.folder import files, text
from tsembed.data.schema import MTEB_TYPE, Noted, Pair


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else open(path, "w", encoding="utf-8")
    with opened as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def labelled(label_count, rows, word):
    return [{"text": f"{word} number {i}", "label": f"l{i % label_count}"} for i in range(rows)]


@pytest.fixture
def folder(tmp_path):
    """One made-up set of every form."""
    root = tmp_path / "own"
    write(root / "classification/colours/train.jsonl", labelled(2, 12, "paint"))
    write(root / "classification/colours/test.jsonl.gz", labelled(2, 6, "ink"))
    write(root / "clustering/tools/train.jsonl", labelled(3, 12, "saw"))
    write(root / "clustering/tools/test.jsonl", [{"text": f"drill {i}", "label": i % 3} for i in range(9)])
    write(root / "pairs/faq/train.jsonl", [{"anchor": f"why {i}", "positive": f"because {i}"} for i in range(12)])
    write(root / "pairs/faq/dev.jsonl", [{"anchor": "why", "positive": "because"}])
    write(root / "retrieval/manual/queries.jsonl", [{"query_id": f"q{i}", "query": f"ask {i}"} for i in range(3)])
    corpus = [{"doc_id": f"d{i}", "title": "Chapter", "text": f"page {i}", "url": "x"} for i in range(5)]
    write(root / "retrieval/manual/corpus.jsonl", corpus)
    qrels = [{"query_id": f"q{i}", "doc_id": f"d{i}", "score": 1} for i in range(3)]
    write(root / "retrieval/manual/qrels.jsonl", qrels)
    write(root / "reranking/answers/test.jsonl", [{"query": "q", "positive": ["p"], "negative": ["n", "m"]}])
    write(root / "pair_classification/same/test.jsonl", [{"a": "x", "b": "y", "label": 1}])
    write(root / "sts/alike/train.jsonl", [{"a": "x", "b": "y", "score": 1}])
    write(root / "sts/alike/test.jsonl", [{"a": "x", "b": "z", "score": 2.5}])
    summary = {"text": "t", "human_summaries": ["h"], "machine_summaries": ["m", "n"], "relevance": [1, 2.0]}
    write(root / "summarization/short/test.jsonl", [summary])
    write(root / "wikipedia/pages/passages.jsonl", [{"id": "1", "text": "An article."}])
    write(root / "images/pictures/train.jsonl", ["not read"])
    return root


def found(root):
    return list(text.specs(Data(source="local", path=root)))


def rows_of(root, part, name):
    spec = next(s for s in found(root) if (s.part, s.name) == (part, name))
    tables = {table: Noted(rows) for table, rows in spec.tables.items()}
    rows = {table: [vars(row) for row in rows] for table, rows in tables.items()}
    return rows, dict(spec.notes) | {k: v for table in tables.values() for k, v in table.notes.items()}


def fault(root, message):
    with pytest.raises(ValueError, match=message):
        found(root)


def test_every_format_takes_its_part(folder):
    parts = {(s.part, s.format, s.name) for s in found(folder)}
    train = {(form, name) for part, form, name in parts if part == "train"}
    assert train == {("classification", "colours"), ("clustering", "tools"), ("pairs", "faq")}
    assert {form for part, form, _ in parts if part == "eval"} == {*MTEB_TYPE, "wikipedia"}
    unused = {s.name: s.notes["reason"] for s in found(folder) if s.part == "unused"}
    assert set(unused) == {"faq", "alike", "pictures"}
    assert "unseen" in unused["alike"]


def test_classification_brings_its_training_rows(folder):
    tables, _ = rows_of(folder, "eval", "colours")
    assert (len(tables["train"]), len(tables["rows"])) == (12, 6)


def test_a_title_goes_before_the_text_and_extra_columns_go(folder):
    tables, _ = rows_of(folder, "eval", "manual")
    assert tables["corpus"][2] == {"doc_id": "d2", "text": "Chapter page 2"}


def test_integer_labels_are_text(folder):
    tables, _ = rows_of(folder, "eval", "tools")
    assert {row["label"] for row in tables["rows"]} == {"0", "1", "2"}


def test_an_evaluated_text_is_not_trained_on(folder):
    leaked = [{"text": "INK  number 1", "label": "l1"}]  # case and white space do not hide it
    write(folder / "classification/colours/train.jsonl", labelled(2, 12, "paint") + leaked)
    pairs = [{"anchor": "why", "positive": "Chapter page 1"}, {"anchor": "why not", "positive": "Chapter page 4"}]
    write(folder / "pairs/faq/train.jsonl", pairs)
    tables, notes = rows_of(folder, "train", "colours")
    assert len(tables["rows"]) == 12
    assert notes["contamination"].startswith("1 train rows")
    tables, notes = rows_of(folder, "train", "faq")
    assert [row["anchor"] for row in tables["rows"]] == ["why not"]  # page 4 is relevant to no query
    assert notes["contamination"].startswith("1 train rows")


def test_pairs_may_have_negatives_and_an_evaluated_one_is_left_out(folder):
    rows = [{"anchor": f"how {i}", "positive": f"so {i}"} for i in range(4)]
    rows[1]["negatives"], rows[2]["negatives"] = ["wrong 1", "Colour 0 text 0"], []
    write(folder / "pairs/faq/train.jsonl", rows)
    write(folder / "sts/alike/test.jsonl", [{"a": "colour 0 TEXT 0", "b": "other", "score": 1.0}])
    (spec,) = (s for s in found(folder) if (s.part, s.name) == ("train", "faq"))
    assert spec.hard_negatives
    tables, notes = rows_of(folder, "train", "faq")
    assert [row["negatives"] for row in tables["rows"]] == [None, ["wrong 1"], None, None]
    assert notes["negatives"] == "1 negatives left out: an evaluation part scores them"
    del rows[1]["negatives"]
    write(folder / "pairs/faq/train.jsonl", rows)
    (spec,) = (s for s in found(folder) if (s.part, s.name) == ("train", "faq"))
    assert not spec.hard_negatives


def test_a_relevant_passage_without_its_title_is_not_trained_on(folder):
    pairs = [{"anchor": f"why {i}", "positive": f"page {i}"} for i in range(5)]  # the corpus has them under a title
    write(folder / "pairs/faq/train.jsonl", pairs)
    tables, notes = rows_of(folder, "train", "faq")
    assert [row["anchor"] for row in tables["rows"]] == ["why 3", "why 4"]  # relevant to no query
    assert notes["contamination"].startswith("3 train rows")


GOOD = {"text": "a", "label": "l0"}
ROW_FAULTS = [
    ('{"text": "a", "label"', "not JSON"),
    ("", "an empty line"),
    ('{"text": "a", "label": "l0", "text": "b"}', "the key 'text' stands twice"),
    ("[" * 100_000, "nested too deep"),
    ({"text": "\u2060\ufe0f \x07", "label": "l0"}, "'text' is empty"),
    (r'{"text": "cut \udc9a off", "label": "l0"}', r"'text': half a surrogate pair, \\udc9a, stands at character 5"),
    (r'{"text": "a", "label": "\ud83e"}', r"'label': half a surrogate pair, \\ud83e, stands at character 1"),
    (r'{"text": "a", "l\ud83e": 1}', r"column 'label' is missing \(the row has: text, l\\ud83e\)"),
    ("[1]", "one JSON object"),
    ({"text": "a"}, "column 'label' is missing"),
    ({"text": 3, "label": "l0"}, "'text' must be a text, not 3"),
    ({"text": " \n", "label": "l0"}, "'text' is empty"),
    ({"text": "a", "label": 1.5}, "'label' must be a text or an integer"),
    ({"text": "a", "label": True}, "'label' must be a text or an integer"),
    ({"text": "a", "label": "new"}, "unknown label 'new'"),
]


@pytest.mark.parametrize(("row", "rule"), ROW_FAULTS)
def test_a_bad_row_names_file_line_and_rule(folder, row, rule):
    write(folder / "classification/colours/test.jsonl.gz", [GOOD, row, GOOD])
    fault(folder, rf"classification/colours/test\.jsonl\.gz:2: .*{rule}")


FORM_FAULTS = [
    ("retrieval/manual/qrels.jsonl", {"query_id": "q9", "doc_id": "d0", "score": 1}, "unknown query_id 'q9'"),
    ("retrieval/manual/qrels.jsonl", {"query_id": "q0", "doc_id": "d9", "score": 1}, "unknown doc_id 'd9'"),
    ("retrieval/manual/qrels.jsonl", {"query_id": "q0", "doc_id": "d0", "score": 0.5}, "whole number"),
    ("retrieval/manual/qrels.jsonl", {"query_id": "q0", "doc_id": "d0", "score": 1001}, "from -1000 to 1000, not 1001"),
    ("retrieval/manual/qrels.jsonl", {"query_id": "q0", "doc_id": "d0", "score": -(2**33)}, "from -1000 to 1000"),
    ("retrieval/manual/qrels.jsonl", {"query_id": "q0", "doc_id": True, "score": 1}, "must be a text or an integer"),
    ("retrieval/manual/corpus.jsonl", r'{"doc_id": "d0", "title": "\udfff", "text": "a"}', "'title': half a surrogate"),
    ("retrieval/manual/corpus.jsonl", {"doc_id": "d0", "title": None, "text": "\t"}, "'text' is empty"),
    ("reranking/answers/test.jsonl", {"query": "q", "positive": [], "negative": ["n"]}, "at least one item"),
    ("reranking/answers/test.jsonl", {"query": "q", "positive": [""], "negative": ["n"]}, r"'positive\[0\]' is empty"),
    (
        "reranking/answers/test.jsonl",
        {"query": "q", "positive": ["right", "Gru\u0308n"], "negative": ["n", "gr\u00fcn "]},
        "'Gru\u0308n' is both 'positive' and 'negative'",
    ),
    ("pairs/faq/train.jsonl", {"anchor": "a", "positive": "b", "negatives": "c"}, "'negatives' must be a list"),
    ("pairs/faq/train.jsonl", {"anchor": "a", "positive": "b", "negatives": ["c", ""]}, r"'negatives\[1\]' is empty"),
    (
        "pairs/faq/train.jsonl",
        {"anchor": "a", "positive": "Gru\u0308n", "negatives": ["c", "gr\u00fcn "]},
        "'gr\u00fcn ' is both 'positive' and one of 'negatives'",
    ),
    (
        "pairs/faq/train.jsonl",
        {"anchor": "a", "positive": "b", "negatives": ["A"]},
        "'A' is both 'anchor' and one of 'negatives'",
    ),
    ("pair_classification/same/test.jsonl", {"a": "x", "b": "y", "label": 2}, "must be 0 or 1, not 2"),
    ("sts/alike/test.jsonl", '{"a": "x", "b": "y", "score": NaN}', "finite number"),
    ("sts/alike/test.jsonl", {"a": "x", "b": "y", "score": 10**400}, r"must be a number of at most 1e\+15"),
    ("pair_classification/same/test.jsonl", {"a": "x", "b": "y", "label": "yes"}, "must be 0 or 1, not 'yes'"),
    ("sts/alike/train.jsonl", "[1]", "one JSON object"),  # unused, yet it must be rows
    (
        "summarization/short/test.jsonl",
        {"text": "t", "human_summaries": ["h"], "machine_summaries": ["m"], "relevance": [1, 2]},
        "2 'relevance' scores for 1",
    ),
]


@pytest.mark.parametrize(("path", "row", "rule"), FORM_FAULTS)
def test_the_rules_of_each_format(folder, path, row, rule):
    write(folder / path, [row])
    fault(folder, rf"{path}:1: .*{rule}")


def test_a_byte_order_mark_and_blank_last_lines_are_no_fault(folder):
    path = folder / "clustering/tools/test.jsonl"
    rows = [json.dumps(row) for row in labelled(3, 9, "file")]
    path.write_bytes(codecs.BOM_UTF8 + "\r\n".join([*rows, "", "  ", ""]).encode())
    tables, _ = rows_of(folder, "eval", "tools")
    assert [row["text"] for row in tables["rows"]] == [f"file number {i}" for i in range(9)]
    path.write_bytes("\n".join([*rows[:4], "", *rows[4:], ""]).encode())
    fault(folder, r"tools/test\.jsonl:5: an empty line")
    path.write_bytes("\n".join([rows[0], "\ufeff" + rows[1]]).encode())
    fault(folder, r"tools/test\.jsonl:2: not JSON")


def test_ids_may_be_integers_and_truth_may_be_written_as_text(folder):
    write(folder / "retrieval/manual/queries.jsonl", [{"query_id": i, "query": f"ask {i}"} for i in range(3)])
    corpus = [{"doc_id": 70 + i, "text": f"page {i}"} for i in range(5)]
    write(folder / "retrieval/manual/corpus.jsonl", corpus)
    qrels = [{"query_id": str(i), "doc_id": 70 + i, "score": 1000} for i in range(3)]
    write(folder / "retrieval/manual/qrels.jsonl", qrels)
    tables, _ = rows_of(folder, "eval", "manual")
    assert tables["qrels"][2] == {"query_id": "2", "doc_id": "72", "score": 1000.0}
    pairs = [{"a": "x", "b": f"y{i}", "label": label} for i, label in enumerate(["0", " 1", 1, 0])]
    write(folder / "pair_classification/same/test.jsonl", pairs)
    tables, _ = rows_of(folder, "eval", "same")
    assert [row["label"] for row in tables["rows"]] == [0, 1, 1, 0]


def test_a_text_that_differs_in_form_alone_is_not_trained_on(folder):
    write(folder / "sts/alike/test.jsonl", [{"a": "Zu\u0308rich", "b": "a \uff21BC", "score": 2.5}])
    pairs = [("Z\u00fcrich", "a"), ("b", "A a\u200bbc"), ("Zurich", "b")]
    write(folder / "pairs/faq/train.jsonl", [{"anchor": a, "positive": b} for a, b in pairs])
    tables, notes = rows_of(folder, "train", "faq")
    assert [row["anchor"] for row in tables["rows"]] == ["Zurich"]
    assert notes["contamination"].startswith("2 train rows")


@pytest.mark.parametrize(
    ("path", "column"),
    [
        ("retrieval/manual/queries", "query_id"),
        ("retrieval/manual/corpus", "doc_id"),
        ("wikipedia/pages/passages", "id"),
    ],
)
def test_a_duplicate_id_is_an_error(folder, path, column):
    row = {"query_id": "q0", "query": "a", "doc_id": "d0", "id": "1", "text": "a"}
    write(folder / f"{path}.jsonl", [row, row])
    fault(folder, rf"{path}\.jsonl:2: {column} '..?' stands in an earlier line")


def test_broken_bytes_and_broken_gzip(folder):
    (folder / "clustering/tools/test.jsonl").write_bytes(b'{"text": "\xff", "label": "l0"}\n')
    fault(folder, r"clustering/tools/test\.jsonl:1: not UTF-8")
    whole = folder / "classification/colours/test.jsonl.gz"
    whole.write_bytes(whole.read_bytes()[:-9])
    fault(folder, r"colours/test\.jsonl\.gz: not a complete gzip file")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("recipes/soup/train.jsonl", "recipes: unknown format; known formats: pairs, "),
        ("pairs/faq/tset.jsonl", r"tset\.jsonl: unknown file"),
        ("pairs/faq/train.jsonl.gz", r"train\.jsonl stands beside it"),
        ("pairs/two words/train.jsonl", "letters, digits"),
        ("pairs/tools/train.jsonl", "pairs/tools has a part for train too"),
    ],
)
def test_names_of_files_and_sets(folder, path, rule):
    write(folder / path, [{"anchor": "why", "positive": "because"}])
    fault(folder, rule)


def test_columns_that_nobody_reads_may_be_as_they_are(folder):
    write(folder / "pair_classification/same/train.jsonl", [{"a": "x", "b": "y", "label": i} for i in range(3)])
    write(folder / "sts/alike/dev.jsonl", [{"first": "x", "score": "high"}])
    unused = {(s.name, s.notes["file"]) for s in found(folder) if s.part == "unused" and "file" in s.notes}
    assert {("same", "pair_classification/same/train"), ("alike", "sts/alike/dev")} <= unused


def test_missing_parts(folder):
    (folder / "retrieval/manual/qrels.jsonl").unlink()
    (folder / "classification/colours/train.jsonl").unlink()
    fault(folder, r"(?s)colours: train\.jsonl\[\.gz\] is missing.*manual: qrels\.jsonl\[\.gz\] is missing")
    write(folder / "pairs/faq/train.jsonl", [])
    fault(folder, r"pairs/faq/train\.jsonl: no row")


def test_ten_faults_of_every_set_in_one_error(folder):
    write(folder / "clustering/tools/train.jsonl", ["{}"] * 25)
    write(folder / "clustering/tools/test.jsonl", ["[]"])
    write(folder / "sts/alike/test.jsonl", ["3"] * 11)
    write(folder / "wikipedia/pages/passages.jsonl", ["3"] * 10)
    with pytest.raises(ValueError, match="does not follow the layout") as error:
        found(folder)
    lines = str(error.value).splitlines()[1:]
    assert [sum(name in line for line in lines) for name in ("tools/train", "alike/test", "passages")] == [10, 10, 10]
    assert "  clustering/tools: 16 more faults" in lines
    assert "  sts/alike: 1 more fault" in lines
    assert len(lines) == 32


def test_no_folder_or_an_empty_one(tmp_path):
    fault(tmp_path / "nowhere", "is no folder")
    fault(tmp_path, "has no dataset")
    with pytest.raises(ValueError, match="--data FOLDER"):
        list(text.specs(Data(source="local")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# x\n\nOrigin: a v2; path: c. Licence as stated: CC BY 4.0. Counts: 3.", ("a v2; path: c", "CC BY 4.0")),
        ("Origin: my own notes\nLicence: private\n", ("my own notes", "private")),
        ("nothing of the kind", ("not stated", "not stated")),
    ],
)
def test_origin_and_licence(tmp_path, text, expected):
    (tmp_path / "README.md").write_text(text)
    assert files.provenance(tmp_path) == expected


def test_the_fingerprint_changes_with_the_files(folder):
    data = Data(source="local", path=folder)
    before = text.fingerprint(data)
    assert before == text.fingerprint(data)
    write(folder / "sts/alike/test.jsonl", [{"a": "x", "b": "z", "score": 3.25}])
    assert before != text.fingerprint(data)


def tasks_of_pairs(root, **data):
    specs = text.specs(Data(source="local", path=root, **data))
    return {spec.name: spec.task for spec in specs if (spec.part, spec.format) == ("train", "pairs")}


def test_a_set_of_pairs_names_its_task_and_a_preset_overrules_it(folder):
    for name in ("bodies", "captions", "unnamed"):
        write(folder / f"pairs/{name}/train.jsonl", [{"anchor": f"a {name}", "positive": f"b {name}"}])
    (folder / "pairs/bodies/task.json").write_text('{"task": "clustering"}')
    (folder / "pairs/captions/README.md").write_text("---\ntask: classification\nlicense: cc0\n---\nOrigin: my own\n")
    (folder / "pairs/unnamed/README.md").write_text("---\nlicense: cc0\n---\nOrigin: my own\n")
    named = {"faq": None, "bodies": "clustering", "captions": "classification", "unnamed": None}
    assert tasks_of_pairs(folder) == named
    assert tasks_of_pairs(folder, task_of_pairs={"faq": "clustering"}) == named | {"faq": "clustering"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "task.json",
            '{"task": "translation"}',
            "'task' must be one of classification, clustering, retrieval, not 'trans",
        ),
        ("task.json", '["retrieval"]', "'task' must be one of classification, clustering, retrieval, not None"),
        ("task.json", "{", "not JSON"),
        ("README.md", "---\ntask: 3\n---\n", "'task' must be one of classification, clustering, retrieval, not 3"),
        ("README.md", "---\ntask: [\n---\n", "its front matter is not YAML"),
    ],
)
def test_a_task_that_is_none_names_its_file(folder, file, content, message):
    (folder / "pairs/faq" / file).write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"pairs/faq/{file}: {message}")):
        tasks_of_pairs(folder)


def test_rows_wait_on_disk_in_their_order_and_can_be_read_by_two_at_once():
    spool = files.Spool()
    rows = [Pair(anchor=f"a{i}", positive=f"b{i}") for i in range(2 * files.SPOOLED + 7)]
    for row in rows:
        spool.add(row)
    first, second = iter(spool), iter(spool)
    assert [row for pair in zip(first, second, strict=True) for row in pair] == [row for row in rows for _ in range(2)]
    assert list(files.Spool()) == []
