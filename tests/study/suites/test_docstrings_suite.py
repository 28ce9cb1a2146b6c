"""The embedded benchmark: no sentence on both sides; the verb is not in its text; labels are balanced; the same seed
gives the same rows in any order; every set keeps to its form and its cap, and every query has one answer."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from study.presets import Data
from study.suites.counts import texts
from study.suites.docstrings import packages, suite
from study.suites.docstrings.labels import _FORMS, ROLES, parameter_type, question, role
from study.suites.docstrings.packages import Package
from study.suites.docstrings.parsing import sentences
from study.suites.docstrings.split import split_records
from study.suites.docstrings.unseen_types import grade
from study.suites.words import normalised
from tsembed.data.schema import MTEB_TYPE, parse, row_classes

WORDS = [
    a + b for a in "ba de fi go lu mo ne pa ri so tu va ze".split() for b in "lor mint sten dun rap kel gos".split()
]
TYPES = ["bool", "int", "float", "str", "callable", "dict", "list of str", "ndarray"]
SHARED = "Every module of this tree says the very same thing here."


def function(rng, name):
    def some(count):
        return " ".join(rng.sample(WORDS, count))

    verb = rng.choice(rng.choice(list(ROLES.values())))
    body = [f"It {some(rng.randint(8, 14))}." for _ in range(rng.randint(2, 8))]
    items = "".join(
        f"    {parameter} : {rng.choice(TYPES)}\n        Takes the {some(6)}.\n"
        for parameter in rng.sample(["width", "height", "colour", "order", "depth", "limit"], 5)
    )
    lines = [
        f"{verb.capitalize()} the {some(6)}.",
        "",
        *body[:1],
        SHARED,
        *body[1:],
        "",
        "Parameters",
        "----------",
        items,
    ]
    text = "\n    ".join(lines)
    return f'def {name}():\n    """{text}"""\n\n'


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("tree"), random.Random(0)
    names = ("scipy", "numpy", "networkx", "pandas")
    for package in names:
        for module in range(20):
            path = root / package / f"part{module % 3}" / f"m{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            functions = [function(rng, "_".join(rng.sample(WORDS, 3))) for _ in range(15)]
            inner = [function(rng, "_".join(rng.sample(WORDS, 3))) for _ in range(10)]
            methods = "".join(inner).replace("\n", "\n    ")
            path.write_text("".join(functions) + f"class C{module}:\n    {methods.rstrip()}\n")
    return packages.records([Package(name, name, "MIT") for name in names], root)


@pytest.fixture(scope="module")
def specs(records):
    return list(suite.from_records(records, Data(source="embedded", eval_rows=60)))


def test_no_sentence_stands_on_both_sides(records, specs):
    assert any(SHARED in r.body for r in records)
    said = {"train": set(), "eval": set()}
    for spec in specs:
        for rows in spec.tables.values():
            for row in rows:
                for text in texts(row):
                    said[spec.part] |= {normalised(text), *(normalised(s) for s in sentences(text, strict=False))}
    assert len(said["train"]) > 1000
    assert len(said["eval"]) > 1000
    assert not said["train"] & said["eval"]


def test_training_and_seen_evaluation_are_disjoint_modules_and_unseen_packages_never_train(records):
    pools = split_records(records)
    modules = [{r.module for r in pool} for pool in (pools.train, pools.seen, pools.unseen)]
    assert all(modules)
    assert not modules[0] & modules[1]
    assert {r.package for r in pools.unseen} == {"networkx", "pandas"}
    assert {r.package for r in pools.train} == {r.package for r in pools.seen} == {"scipy", "numpy"}


def test_a_training_record_loses_a_sentence_that_evaluation_has(records):
    pools = split_records(records)
    copy = replace(pools.train[0], body=(pools.unseen[0].body[0], "Only this one says so."))
    pools = split_records([copy if (r.module, r.qualname) == (copy.module, copy.qualname) else r for r in records])
    assert pools.train[0].qualname == copy.qualname
    assert pools.train[0].body == ("Only this one says so.",)


def test_the_verb_of_a_role_is_not_in_its_text(specs):
    checked = 0
    for spec in specs:
        if "role" in spec.name:
            for rows in spec.tables.values():
                for row in rows:
                    assert not _FORMS[row["label"]] & set(normalised(row["text"]).split()), row
                    checked += 1
    assert checked > 100


def test_a_summary_that_repeats_its_verb_or_opens_with_a_noun_has_no_role(records):
    def said(summary):
        return role(packages.Record("p", "p", "f", "function", summary, (), {}, {}))

    assert said("Computes the sum of all.") == ("compute", "the sum of all.")
    assert said("Return what was returned before.") is None
    assert said("Log of all the items.") is None
    assert said("Process of adding it up.") is None


def test_labels_are_balanced(specs):
    checked = 0
    for spec in specs:
        if spec.format in ("classification", "pair_classification"):
            for rows in spec.tables.values():
                counts = Counter(row["label"] for row in rows)
                assert len(set(counts.values())) == 1, (spec.name, counts)
                assert len(counts) >= 2, (spec.name, counts)
                checked += 1
        elif spec.format == "sts" and spec.part == "eval":
            assert len({row["score"] for row in spec.tables["rows"]}) >= 4
    assert checked >= 10


def test_every_set_keeps_its_form_and_its_cap(specs):
    for spec in specs:
        if spec.part == "unused":
            continue
        for table, row_class in row_classes(spec.format, spec.part).items():
            rows = list(spec.tables[table])
            assert rows, spec.name
            read = [{k: v for k, v in vars(parse(row_class, row)).items() if v is not None} for row in rows]
            assert read == rows, spec.name
            if spec.part == "eval" and spec.format != "wikipedia":
                assert table == "train" or len(rows) <= 60 * (4 if table == "corpus" else 1), (spec.name, table)


def test_all_forms_and_both_groups_are_evaluated(specs):
    evaluated = [s for s in specs if s.part == "eval" and s.format != "wikipedia"]
    assert {s.format for s in evaluated} == set(MTEB_TYPE)
    groups = Counter(s.group for s in evaluated)
    assert groups["seen"] == groups["unseen"]
    assert groups.total() >= 16
    assert {s.format for s in specs if s.part == "train"} == {"pairs", "clustering", "classification"}


def test_a_retrieval_query_and_its_document_are_unique(specs):
    for spec in specs:
        if spec.format == "retrieval":
            for table, column in (("queries", "query"), ("corpus", "text")):
                texts = [normalised(row[column]) for row in spec.tables[table]]
                assert len(set(texts)) == len(texts), spec.name


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(records, specs):
    again = {s.name: s.tables for s in suite.from_records(records, Data(source="embedded", eval_rows=60))}
    other = {s.name: s.tables for s in suite.from_records(records, Data(source="embedded", eval_rows=60, seed=1))}
    assert all(again[s.name] == s.tables for s in specs)
    assert sum(other[s.name] != s.tables for s in specs if s.part == "eval") > 20


def test_a_set_does_not_depend_on_the_sets_before_it(records, specs, monkeypatch):
    monkeypatch.setattr(suite, "SETS", suite.SETS[::-1][:3])
    fewer = {s.name: s.tables for s in suite.from_records(records, Data(source="embedded", eval_rows=60))}
    assert all(fewer[s.name] == s.tables for s in specs if s.name in fewer)


def test_relatedness_is_graded_by_structure(records):
    a = next(r for r in records if r.kind == "method")
    same = {r.qualname: r for r in records if r.module == a.module and r is not a}
    assert grade(a, next(r for n, r in same.items() if "." in n)) == 4
    assert grade(a, next(r for n, r in same.items() if "." not in n)) == 3
    area = a.module.rpartition(".")[0]
    assert grade(a, next(r for r in records if r.module.startswith(area) and r.module != a.module)) == 2
    assert grade(a, next(r for r in records if r.package == a.package and not r.module.startswith(area))) == 1
    assert grade(a, next(r for r in records if r.package != a.package)) == 0


def test_a_question_has_the_names_in_words_and_not_the_answer():
    record = packages.Record(
        "p", "p.m", "GraphBox.is_flat", "method", "Say a thing.", (), {"max_size": "An answer."}, {}
    )
    assert question(record, "max_size") == "What is the parameter max size of is flat of graph box?"


def test_a_union_of_types_takes_its_first():
    assert parameter_type("str or callable") == "text"
    assert parameter_type("array_like, shape (n,)") == "array"


def test_the_pins_are_checked_before_anything_is_made(records, monkeypatch):
    monkeypatch.setattr(packages, "records", lambda: records)
    with pytest.raises(ValueError, match="torch: expected version"):
        next(suite.specs(Data(source="embedded")))
