"""The ICD-10-CM suite: the pinned file is read and nothing of its package is run; notes are without codes; labels
follow from the tree and from what its notes say; no text is trained and evaluated; the same seed gives the same rows
in any order; counts and hash are those of the documentation, on every machine."""

import hashlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from study.data.prepare import prepare
from study.presets import Data, Preset
from study.suites import embedded
from study.suites.counts import counts, texts
from study.suites.docstrings import packages
from study.suites.docstrings import suite as docstrings
from study.suites.icd10 import seen_types, split, suite, training, tree, unseen_types
from study.suites.icd10.labels import labelled
from study.suites.icd10.tree import Code, cleaned, grade, is_above_or_below
from study.suites.words import normalised
from tsembed.data.schema import MTEB_TYPE, parse, row_classes

PAGE = Path(__file__).resolve().parents[3] / "docs" / "embedded_benchmark.md"
ROWS = 60
# Of all rows of the suite with `eval_rows` 60 and seed 0, as `digest` has it.
SHA256 = "af650c9a5c637ba897095f515f6b920c69e14a4207501c82d23318b5d099f86f"


def notes(tag, *lines):
    return f"<{tag}>" + "".join(f"<note>{line}</note>" for line in lines) + f"</{tag}>"


def diag(name, description, *inner):
    return f"<diag><name>{name}</name><desc>{description}</desc>{''.join(inner)}</diag>"


def chapter(name, **sections):
    inner = "".join(
        f'<section id="{key.replace("_", "-")}"><desc>Any</desc>{"".join(d)}</section>' for key, d in sections.items()
    )
    return f"<chapter><name>{name}</name><desc>Any</desc>{inner}</chapter>"


def written(path, *chapters):
    path.write_text(f"<ICD10CM.tabular><version>1</version>{''.join(chapters)}</ICD10CM.tabular>")
    return path


@pytest.fixture
def small(tmp_path):
    """Name -> code, of two chapters with made-up diseases."""
    glow = diag(
        "A00",
        "Glow fever",
        notes("includes", "glow of the knees", "Glow, fever"),
        notes("excludes1", "dim fever (B10.-)", "dull fever (B10)", "glow of the nose (A01.1)"),
        diag(
            "A00.1",
            "Glow fever of the hand",
            notes("inclusionTerm", "Luminous palm NOS", "Shining"),
            notes("excludes2", "chilly hand (A01.0)", "cold hand (A01.0, A05)", "hand (A05) of cold (A01-A05)"),
            notes("excludes2", "lamp fever - see Lamps (A05)", "any fever in A01 (A05)"),
            diag("A00.11", "Glow fever of the left hand", notes("inclusionTerm", "Bright left  palm")),
        ),
        diag("A00.2", "Glow fever of the foot", notes("inclusionTerm", "Luminous sole")),
    )
    cold = diag("A01", "Cold fever", diag("A01.0", "Cold fever of the hand", notes("inclusionTerm", "Frosty palm")))
    dull = diag("A05", "Dull ache", notes("inclusionTerm", "Heavy bones"))
    far = diag("B10", "Dull fever", notes("inclusionTerm", "Grey fever"))
    path = written(tmp_path / "small.xml", chapter("1", A00_A04=[glow, cold], A05_A09=[dull]), chapter("2", B10=[far]))
    return {code.name: code for code in tree.codes(path)}


def made_up_codes(tmp_path):
    """Six chapters of four sections of ten categories; two categories and two codes of other chapters share texts."""
    chapters = []
    for c in range(1, 7):
        sections = {}
        for s in range(4):
            categories = []
            for k in range(10):
                stem = f"{'ABCDEF'[c - 1]}{s}{k}"
                name = f"illness of organ {c} part {s} kind {k}"
                codes = [
                    diag(
                        f"{stem}.{n}",
                        f"Form {n} of {name}",
                        notes("inclusionTerm", f"Term {n} for {name}", f"Second term {n} for {name}"),
                    )
                    for n in range(4)
                ]
                shared = notes("inclusionTerm", "The same word everywhere", f"Shared by sections of {c} kind {k}")
                other = f"{'ABCDEF'[c % 6]}{s}{(k + 1) % 10}"
                outside = notes(
                    "excludes1", f"Form {k % 4} of illness of organ {c % 6 + 1} part {s} kind {k} ({other})"
                )
                categories.append(diag(stem, f"Main {name}", shared, outside, *codes))
            sections[f"{'ABCDEF'[c - 1]}{s}0_{'ABCDEF'[c - 1]}{s}9"] = categories
        chapters.append(chapter(str(c), **sections))
    return tree.codes(written(tmp_path / "large.xml", *chapters))


@pytest.fixture
def made_up(tmp_path):
    return made_up_codes(tmp_path)


@pytest.fixture(scope="module")
def real():
    return tree.codes(tree.installed_file())


@pytest.fixture(scope="module")
def specs(real):
    return list(suite.from_codes(real, Data(source="embedded", suites=("icd10",), eval_rows=ROWS)))


def rows_of(specs, name):
    return next(spec.tables for spec in specs if spec.name == name)


def digest(specs):
    """Hash of all rows, a JSON line each."""
    content = hashlib.sha256()
    for spec in specs:
        for table, rows in spec.tables.items():
            for row in rows:
                content.update(json.dumps([spec.part, spec.name, table, row], ensure_ascii=False).encode() + b"\n")
    return content.hexdigest()


def test_codes_have_their_place_and_their_notes(small):
    assert list(small) == ["A00", "A00.1", "A00.11", "A00.2", "A01", "A01.0", "A05", "B10"]
    code = small["A00.11"]
    assert code.path == ("1", "A00-A04", "A00", "A00.1", "A00.11")
    assert (code.chapter, code.section, code.category, code.name) == ("1", "A00-A04", "A00", "A00.11")
    assert [c.name for c in small.values() if not c.is_broad] == ["A00.11"]
    assert code.description == "Glow fever of the left hand"
    assert code.included == ("Bright left palm",)


def test_what_repeats_the_description_points_elsewhere_or_is_one_word_is_no_note(small):
    assert small["A00"].included == ("Glow of the knees",)
    assert small["A00.1"].included == ("Luminous palm NOS",)


def test_an_exclusion_names_one_code_that_exists_in_other_words_than_its_description(small):
    assert small["A00"].excluded == (("Dim fever", "B10"),)
    assert small["A00.1"].excluded == (("Chilly hand", "A01.0"),)
    assert small["A00.11"].excluded == ()


def test_references_are_cut_and_other_brackets_stay():
    assert cleaned("fever of hands (T40.0-T40.2-)") == "Fever of hands"
    assert cleaned("fever (acute) [NEC] (A00-A09, B10.- and C1A.1)  of  hands") == "Fever (acute) [NEC] of hands"
    assert cleaned("deficiency of G6PD [B12 type]") == "Deficiency of G6PD [B12 type]"


def test_relatedness_is_graded_by_the_tree(small):
    assert grade(small["A00.1"], small["A00.1"]) == 5
    assert grade(small["A00.11"], small["A00.1"]) == grade(small["A00.1"], small["A00.11"]) == 4
    assert grade(small["A00.1"], small["A00.2"]) == grade(small["A00"], small["A00.2"]) == 3
    assert grade(small["A00.1"], small["A01.0"]) == 2
    assert grade(small["A00.1"], small["A05"]) == 1
    assert grade(small["A00.1"], small["B10"]) == 0
    assert is_above_or_below(small["A00"], small["A00.11"])
    assert is_above_or_below(small["A00.11"], small["A00.1"])
    assert not is_above_or_below(small["A00.2"], small["A00.11"])


def test_a_pair_is_what_is_excluded_with_the_code_where_it_belongs_and_with_the_one_that_excludes_it(small):
    rows = unseen_types.pairs_excludes(list(small.values()), 100, random.Random(0))["rows"]
    assert sorted(rows, key=lambda row: (row["a"], -row["label"])) == [
        {"a": "Chilly hand", "b": "Cold fever of the hand", "label": 1},
        {"a": "Chilly hand", "b": "Glow fever of the hand", "label": 0},
        {"a": "Dim fever", "b": "Dull fever", "label": 1},
        {"a": "Dim fever", "b": "Glow fever", "label": 0},
    ]
    within_a = [code for code in small.values() if code.section == "A00-A04"]
    rows = unseen_types.pairs_excludes(within_a, 100, random.Random(0))["rows"]
    assert {row["a"] for row in rows} == {"Chilly hand"}, "B10 is in another pool"


def test_an_exclusion_that_belongs_to_two_codes_is_not_a_pair(small):
    also = Code(("2", "B10", "B11"), "Late fever", (), (tree.Exclusion("chilly, hand", "A05"),))
    rows = unseen_types.pairs_excludes([*small.values(), also], 100, random.Random(0))["rows"]
    assert {row["a"] for row in rows} == {"Dim fever"}


def test_a_text_under_two_labels_has_none():
    same = [Code(("1", "A", "A00"), "Odd pain", (), ()), Code(("1", "B", "B00"), "odd  pain.", (), ())]
    other = Code(("1", "B", "B01"), "Plain pain", (), ())
    assert labelled([*same, other], lambda code: code.section) == [("Plain pain", "B")]
    assert labelled([*same, other], lambda code: code.chapter) == [("Odd pain", "1"), ("Plain pain", "1")]


def test_a_term_of_two_codes_or_of_a_description_is_not_asked_for(small):
    twice = Code(("1", "A00-A04", "A01", "A01.9"), "Warm fever", ("Luminous sole", "Dull ache", "Mild warmth"), ())
    asked = [term for _, term in seen_types.terms([*small.values(), twice])]
    assert "Mild warmth" in asked
    assert not {"Luminous sole", "Dull ache"} & set(asked)


def test_distractors_are_of_the_category_and_neither_contain_the_right_code_nor_are_contained_in_it(small):
    def near(*names):
        return sorted(seen_types._distractors([small[n] for n in names], list(small.values()), random.Random(0)))

    assert near("A00.1") == ["Glow fever of the foot"]
    assert near("A00.2") == ["Glow fever of the hand", "Glow fever of the left hand"]
    assert near("A00.11", "A00.2") == near("A01", "A05") == []


def test_the_package_is_not_imported_and_another_file_is_an_error_that_names_it(tmp_path, monkeypatch):
    path = tmp_path / tree.FILE
    path.parent.mkdir(parents=True)
    (tmp_path / tree.FILE.split("/")[0] / "__init__.py").write_text("raise RuntimeError('imported')")
    written(path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="^simple-icd-10-cm: expected version 1.5.0 with .*install requirements.lock"):
        tree.installed_file()
    monkeypatch.setattr(tree, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert tree.codes(tree.installed_file()) == []
    assert "simple_icd_10_cm" not in sys.modules
    monkeypatch.setattr(tree, "FILE", "a_package_that_is_not_there/file.xml")
    with pytest.raises(ValueError, match="package simple-icd-10-cm 1.5.0 is not installed; install requirements.lock"):
        tree.installed_file()


@pytest.mark.parametrize(
    ("content", "fault"),
    [("<a><b></a>", "not XML"), (f"<a>{chapter('1', A00=['<diag><name>A00</name></diag>'])}</a>", "lacks 'desc'")],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_name(tmp_path, content, fault):
    (tmp_path / "broken.xml").write_text(content)
    with pytest.raises(ValueError, match=rf"broken\.xml: .*{fault}"):
        tree.codes(tmp_path / "broken.xml")


def test_training_and_seen_evaluation_are_disjoint_categories_and_every_third_chapter_never_trains(made_up):
    pools = split.split_codes(made_up)
    assert {code.chapter for code in pools.train} == {code.chapter for code in pools.seen} == {"1", "2", "4", "5"}
    assert {code.chapter for code in pools.unseen} == {"3", "6"}
    trained, seen = ({code.category for code in pool} for pool in (pools.train, pools.seen))
    assert not trained & seen
    assert len(seen) == 4 * 12  # 30 % of a chapter's 40


def test_training_loses_what_evaluation_has(made_up):
    pools = split.split_codes(made_up)
    evaluated = {normalised(text) for code in pools.seen + pools.unseen for text in split.texts_of(code)}
    lost = [
        code
        for code in made_up
        if not split.is_held_out(code.chapter)
        and code.description not in {c.description for c in pools.train + pools.seen}
    ]
    assert lost
    assert all(normalised(code.description) in evaluated for code in lost)
    assert "The same word everywhere" in pools.seen[0].included
    assert not any("The same word everywhere" in code.included for code in pools.train)


@pytest.mark.parametrize("source", ["made up", "real"])
def test_no_text_is_trained_and_evaluated(source, request):
    codes = request.getfixturevalue("real" if source == "real" else "made_up")
    said = {"train": set(), "eval": set()}
    for spec in suite.from_codes(codes, Data(source="embedded", suites=("icd10",))):
        for rows in spec.tables.values():
            for row in rows:
                said[spec.part] |= {normalised(text) for text in texts(row)}
    assert len(said["train"]) > 300
    assert len(said["eval"]) > 300
    assert not said["train"] & said["eval"]


def test_every_label_of_the_real_suite_follows_from_the_tree(real, specs):
    by_text = {}
    for code in real:
        by_text.setdefault(code.description, []).append(code)
    checked = Counter()
    for spec in specs:
        for row in spec.tables.get("rows", ()):
            checked[spec.format] += 1
            if spec.format == "pair_classification":
                named = [(code, target) for code in real for note, target in code.excluded if note == row["a"]]
                right = {code.name for code in by_text[row["b"]]}
                assert any((target if row["label"] else code.name) in right for code, target in named), row
            elif spec.format == "sts":
                others = [code for code in real if row["b"] in code.included]
                assert any(grade(a, b) == row["score"] for a in by_text[row["a"]] for b in others), row
            elif spec.format in ("classification", "clustering"):
                level = 0 if "chapter" in spec.name else 1
                assert {code.path[level] for code in by_text[row["text"]]} == {row["label"]}, row
            elif spec.format == "reranking":
                right = [code for code in by_text[row["positive"][0]] if row["query"] in code.included]
                others = [code for text in row["negative"] for code in by_text[text]]
                assert right, row
                assert not any(row["query"] in code.included for code in others), row
            else:
                assert any(row["anchor"] in code.included for code in by_text[row["positive"]]), row
    assert min(checked.values()) > 20
    assert set(checked) == {"pairs", "classification", "clustering", "reranking", "pair_classification", "sts"}


def test_a_retrieval_query_has_one_right_document_among_those_of_its_categories(real, specs):
    by_text = {}
    for code in real:
        by_text.setdefault(code.description, []).append(code)
    for group in ("seen", "unseen"):
        tables = rows_of(specs, f"icd_retrieval_inclusion_{group}")
        documents = {row["doc_id"]: row["text"] for row in tables["corpus"]}
        queries = {row["query_id"]: row["query"] for row in tables["queries"]}
        assert len(queries) == len(tables["qrels"]) == ROWS
        assert len(documents) == len({normalised(text) for text in documents.values()}) == 4 * ROWS
        assert len({row["doc_id"] for row in tables["qrels"]}) == ROWS
        categories = set()
        for row in tables["qrels"]:
            right = [c for c in by_text[documents[row["doc_id"]]] if queries[row["query_id"]] in c.included]
            assert right
            categories |= {code.category for code in right}
        assert all(categories & {code.category for code in by_text[text]} for text in documents.values())


def test_labels_are_balanced(specs):
    checked = 0
    for spec in specs:
        if spec.format in ("classification", "pair_classification"):
            for rows in spec.tables.values():
                sizes = Counter(row["label"] for row in rows)
                assert len(set(sizes.values())) == 1, (spec.name, sizes)
                assert len(sizes) >= 2, (spec.name, sizes)
                checked += 1
        elif spec.format == "sts":
            assert Counter(row["score"] for row in spec.tables["rows"]) == dict.fromkeys(map(float, range(6)), ROWS / 6)
            checked += 1
    assert checked == 13


def test_every_set_keeps_its_format_and_its_cap(specs):
    for spec in specs:
        if spec.part == "unused":
            assert spec.notes["reason"].endswith(f"fewer than {training.MIN_ROWS}")
            continue
        for table, row_class in row_classes(spec.format, spec.part).items():
            rows = list(spec.tables[table])
            assert rows, spec.name
            read = [{k: v for k, v in vars(parse(row_class, row)).items() if v is not None} for row in rows]
            assert read == rows, spec.name
            if spec.part == "eval":
                assert table == "train" or len(rows) <= ROWS * (4 if table == "corpus" else 1), (spec.name, table)


def test_six_formats_are_evaluated_in_both_groups(specs):
    evaluated = [spec for spec in specs if spec.part == "eval"]
    assert {spec.format for spec in evaluated} == MTEB_TYPE.keys() - {"summarization"}
    sizes = Counter(spec.group for spec in evaluated)
    assert sizes["seen"] == sizes["unseen"] == len(suite.SETS)
    assert {spec.format for spec in specs if spec.part == "train"} == {"pairs", "clustering", "classification"}


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(made_up):
    def tables(**data):
        made = suite.from_codes(made_up, Data(source="embedded", suites=("icd10",), eval_rows=ROWS, **data))
        return {spec.name: spec.tables for spec in made}

    first, other = tables(), tables(seed=1)
    assert tables() == first
    assert {name.rpartition("_")[2] for name in first if other[name] != first[name]} == {"seen", "unseen"}
    assert all(other[name] == first[name] for name in first if name.rpartition("_")[2] not in ("seen", "unseen"))


def test_a_set_does_not_depend_on_the_sets_before_it(real, specs, monkeypatch):
    monkeypatch.setattr(suite, "SETS", suite.SETS[::-1][:2])
    data = Data(source="embedded", suites=("icd10",), eval_rows=ROWS)
    fewer = {spec.name: spec.tables for spec in suite.from_codes(real, data) if spec.part == "eval"}
    assert len(fewer) == 4
    assert all(fewer[spec.name] == spec.tables for spec in specs if spec.name in fewer)


def test_the_real_suite_is_the_same_on_every_machine(real, specs):
    assert len(real) == 46881
    assert digest(specs) == SHA256


def test_the_page_has_the_counts_of_the_code(real):
    page = PAGE.read_text().splitlines()
    lines = list(counts(suite.from_codes(real, Data(source="embedded", suites=("icd10",), eval_rows=400))))
    assert len(lines) > 30
    assert [line for line in lines if line not in page] == []
    assert (
        sum(line.startswith(("| train | icd_", "| unused | icd_", "| eval | icd_")) for line in page) == len(lines) - 2
    )


def test_the_embedded_source_is_the_docstrings_unless_this_suite_is_named(monkeypatch):
    alone, both = (Data(source="embedded", suites=suites) for suites in (("icd10",), ("docstrings", "icd10")))
    assert embedded.fingerprint(Data(source="embedded")) == docstrings.fingerprint(Data(source="embedded"))
    assert embedded.fingerprint(both) == docstrings.fingerprint(both) + suite.fingerprint(both)
    assert embedded.fingerprint(alone) == suite.fingerprint(alone) == ["icd10 version 1", tree.SHA256]
    assert next(embedded.specs(alone)).name == "icd_inclusion_01"
    monkeypatch.setattr(packages, "records", lambda: [])
    with pytest.raises(ValueError, match="torch: expected version"):
        next(embedded.specs(Data(source="embedded")))


def test_the_suite_is_prepared_like_any_other_data(tmp_path):
    data = Data(source="embedded", suites=("icd10",), train_rows=40, eval_rows=20, validation_rows=4)
    manifest = prepare(Preset(name="test", about="test", data=data, variants={"em": 1}), tmp_path / "data")
    parts = Counter(entry["part"] for entry in manifest["datasets"])
    assert parts == {"train": 16, "validation": 16, "eval": 2 * len(suite.SETS)}
    assert {entry["rows"]["rows"] for entry in manifest["datasets"] if entry["format"] == "reranking"} == {10}
    tasks = {entry["name"]: entry["task"] for entry in manifest["datasets"] if entry["part"] == "train"}
    assert tasks["icd_inclusion_01"] == "retrieval"
    assert (tasks["icd_section"], tasks["icd_chapter"]) == ("clustering", "classification")
    assert [entry["name"] for entry in manifest["unused"]] == ["icd_inclusion_22"]
