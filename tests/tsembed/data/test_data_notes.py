"""Invariants of what is said about training data before anything is trained:

- a training set that gives no pair a negative is refused, alone where its batches are its own, else with its task's;
- pairs that share a query, or whose query is another's document, are counted; so are rows that are nearly an evaluated
  text, and a label that has nearly all texts is named; where there is nothing to say, nothing is said.
"""

import json
import random

import pytest

from study.data import prepare
from study.presets import Data, Preset
from tsembed.data import near_duplicates
from tsembed.data.near_duplicates import NearDuplicates


def prepared(tmp_path, files):
    """Training sets of the files: name without ending -> rows; the notes of each."""
    for name, rows in files.items():
        path = tmp_path / "own" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    preset = Preset(name="t", about="", data=Data(source="local", path=tmp_path / "own"), variants={"em": 1})
    return {
        e["name"]: e["notes"] for e in prepare.prepare(preset, tmp_path / "data")["datasets"] if e["part"] == "train"
    }


def pairs(*sides):
    return [{"anchor": anchor, "positive": positive} for anchor, positive in sides]


def labelled(*labels):
    return [{"text": f"text number {i}", "label": label} for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("name", "rows", "rule"),
    [
        ("pairs/faq", pairs(*(("the same", f"answer {i}") for i in range(20))), "all 20 pairs have one query"),
        ("pairs/faq", pairs(*((f"question {i}", "it depends") for i in range(9))), "all 9 pairs have one label or doc"),
        ("pairs/faq", pairs(("caf\u00e9", "a"), ("cafe\u0301\u200b", "b")), "all 2 pairs have one query"),
        ("classification/moods", labelled(*"zzzzzz"), "all 6 pairs have one label or document"),
    ],
)
def test_a_set_of_which_nothing_can_be_learned_is_refused(tmp_path, name, rows, rule):
    with pytest.raises(ValueError, match="nothing can be learned, so no manifest was written") as error:
        prepared(tmp_path, {f"{name}/train": rows})
    assert str(error.value).splitlines()[1].startswith(f"  {name}: {rule}")
    assert not (tmp_path / "data/manifest.json").exists()


def test_a_set_of_one_label_has_negatives_among_the_other_sets_of_its_task(tmp_path):
    files = {"classification/one/train": labelled(*"aaaa"), "classification/two/train": labelled(*"bbbb")}
    assert set(prepared(tmp_path, files)) == {"one", "two"}


def test_pairs_that_are_never_each_others_negatives_are_counted(tmp_path):
    sides = [("a", "b"), ("b", "a"), ("c", "d"), ("c\u00ad", "e"), ("f", "g")]
    notes = prepared(
        tmp_path, {"pairs/faq/train": pairs(*sides), "pairs/plain/train": pairs(("a1", "b1"), ("a2", "b2"))}
    )
    assert notes["faq"]["shared"].startswith("4 pairs have the query of another pair")
    assert "shared" not in notes["plain"]


def test_a_label_that_has_nearly_all_texts_is_named(tmp_path):
    sets = {"classification/uneven/train": labelled(*"a" * 38, "b", "b"), "clustering/even/train": labelled(*"ab" * 9)}
    notes = prepared(tmp_path, sets)
    assert notes["uneven"]["balance"] == "label 'a' has 38 of 40 texts"
    assert "balance" not in notes["even"]


def test_rows_that_are_nearly_an_evaluated_text_are_counted_and_stay(tmp_path):
    words = [f"w{i}" for i in range(40)]
    scored = [{"text": " ".join(words[i : i + 10]), "label": str(i % 2)} for i in range(12)]
    close = {"text": " ".join(["changed", *words[1:10]]).title(), "label": "1"}  # 9 of 11 words
    train = [*labelled(*"01" * 6), close]
    notes = prepared(tmp_path, {"classification/moods/train": train, "classification/moods/test": scored})
    assert notes["moods"]["near"].startswith("1 train rows are nearly an evaluated text (80% of the words")
    assert "Changed W1" in notes["moods"]["near"]


def test_near_duplicates_are_those_with_four_of_five_words_in_common():
    near = NearDuplicates()
    texts = [[f"{name}{i}" for i in range(18)] for name in "abcdefgh"]
    for text in texts:
        near.add(" ".join(text))
    for text in texts:
        assert " ".join(reversed(text[:-2])) + "!" in near  # 16 of 18
        assert " ".join([*text[:-1], "other"]) in near  # 17 of 19
        assert " ".join([*text[:12], *texts[0][12:]]) not in near or text is texts[0]
    near.add("one two three")
    assert "one two three" not in near, "short texts share words by chance"


def test_near_duplicates_are_exactly_those_of_a_comparison_with_every_text():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(300)]
    often = [1 / (i + 1) for i in range(300)]
    texts = [rng.choices(words, often, k=rng.randint(8, 40)) for _ in range(200)]
    near = NearDuplicates()
    for text in texts:
        near.add(" ".join(text))
    asked = [[rng.choice(words) if rng.random() < 0.1 else word for word in text] for text in texts]
    found = [" ".join(text) in near for text in asked]
    kept = [set(text) for text in texts if len(set(text)) >= 5]
    expected = [
        len(set(text)) >= 5 and any(len(set(text) & known) >= 0.8 * len(set(text) | known) for known in kept)
        for text in asked
    ]
    assert found == expected
    assert 20 < sum(found) < 180, "both answers occur"


def test_words_that_all_texts_share_cost_no_comparison(monkeypatch):
    compared = []
    similar = near_duplicates._similar
    monkeypatch.setattr(near_duplicates, "_similar", lambda *sets: compared.append(1) or similar(*sets))
    near = NearDuplicates()
    frequent = " ".join(f"often{i}" for i in range(15))
    for i in range(500):
        near.add(f"{frequent} " + " ".join(f"own{i}_{j}" for j in range(15)))
    assert f"{frequent} " + " ".join(f"own7_{j}" for j in range(15)) in near
    assert f"{frequent} " + " ".join(f"other{j}" for j in range(15)) not in near
    assert len(compared) <= 2
