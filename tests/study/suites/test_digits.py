"""Invariants of the digits suite:

- no written digit is in two of training, validation and evaluation; the pinned digits are the real ones;
- what a canvas shows is what the query, the answer and the group say, read back from its pixels;
- every query has one right candidate, wrong ones that are tempting and wrong, and 10 to 50 in all;
- tasks conflict: one picture has different answers; who ignores the question is right in one set at most;
- four meta-tasks, 12 sets or more, each meta-task with a form that is never trained;
- rows are seeded, and the same everywhere.
"""

import random
import re
import time
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from study.data import prepare
from study.presets import Data, Preset
from study.suites import drawn as drawn_suites
from study.suites.counts import print_counts
from study.suites.digits import glyphs, suite
from study.suites.digits.classification import LABELS
from study.suites.digits.glyphs import NAMES, Pool, canvas, picture, pools
from study.suites.digits.questions import ANSWERS, NUMBERS
from study.suites.inks import COLOURS, INKS, LEVELS, SIZE
from tsembed.inputs import Input, open_image
from tsembed.tasks import IMAGE_TASKS

BY_NAME = {chosen.name: chosen for chosen in suite.SETS}
SEEN = [chosen for chosen in suite.SETS if chosen.group == "seen"]


@cache
def written():
    """Pixels of a digit as shown -> (digit, instance)."""
    pixels, names = glyphs._digits()
    return {
        p.repeat(2, 0).repeat(2, 1).tobytes(): (int(d), i) for i, (p, d) in enumerate(zip(pixels, names, strict=True))
    }


@cache
def seen_in(image):
    """What a picture shows, from its pixels alone: rows of (digit, ink, instance) or None."""
    shown = np.asarray(open_image(Input("", image))).astype(int)
    colours = np.array(COLOURS)
    rows = []
    for top in range(0, shown.shape[0], SIZE):
        row = []
        for left in range(0, shown.shape[1], SIZE):
            cell = shown[top : top + SIZE, left : left + SIZE]
            if not cell.any():
                row.append(None)
                continue
            brightest = cell.reshape(-1, 3)[cell.sum(2).argmax()]
            ink = int(np.abs(colours - brightest).sum(1).argmin())
            level = np.rint(cell[:, :, colours[ink].argmax()] / colours[ink].max() * (LEVELS - 1)).astype(np.uint8)
            digit, instance = written()[level.tobytes()]
            row.append((digit, ink, instance))
        rows.append(row)
    return rows


def drawn(name, count=60, seed=0):
    """Examples of a set as it is evaluated."""
    pool = pools()["eval"]
    rng = random.Random(seed)
    bank = pool.bank(rng)
    return [BY_NAME[name].draw(rng, pool, bank, True) for _ in range(count)]


def cells(one):
    return [cell for row in seen_in(one.query.image) for cell in row if cell]


def asked(one):
    return one.query.text.partition("<image> ")[2] or one.query.text


def first(names, text):
    """The name of the list that stands in the text."""
    return names.index(next(word for word in re.findall(r"\w+", text) if word in names))


def shown(item):
    """The one digit of a picture: (digit, ink, instance)."""
    ((cell,),) = seen_in(item.image)
    return cell


# --- pictures


def test_the_digits_are_the_real_ones_and_no_instance_is_on_two_sides():
    instances = {part: {i for found in pool.instances.values() for i in found} for part, pool in pools().items()}
    sizes = {part: len(found) for part, found in instances.items()}
    assert sum(sizes.values()) == 1797
    assert sizes == {"train": 1079, "validation": 179, "eval": 539}
    pixels, names = glyphs._digits()
    content = {part: {pixels[i].tobytes() for i in found} for part, found in instances.items()}
    for one, other in (("train", "eval"), ("train", "validation"), ("validation", "eval")):
        assert not instances[one] & instances[other]
        assert not content[one] & content[other]
    for pool in pools().values():
        assert all(names[i] == digit for (digit, _), found in pool.instances.items() for i in found)
        assert len({len(found) for found in pool.instances.values()}) <= 10
    assert list(pools()) == ["train", "eval", "validation"]


def test_other_digits_are_an_error(monkeypatch):
    monkeypatch.setattr(glyphs, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="scikit-learn's digits have the sha256 .*; install the pinned version"):
        pools.__wrapped__()


def test_a_canvas_shows_its_cells_and_the_bank_is_small():
    pool = pools()["eval"]
    rng = random.Random(1)
    drawn = [pool.draw(rng) for _ in range(5)]
    rows = seen_in(canvas([[drawn[0], None, drawn[1]], drawn[2:]]))
    assert rows[0][1] is None
    assert [c for row in rows for c in row if c] == [(g.digit, g.ink, g.instance) for g in drawn]
    assert open_image(Input("", canvas([drawn[:3], drawn[2:]]))).size == (48, 32)
    assert picture(drawn[0]) == canvas([[drawn[0]]])
    assert drawn[0].name == f"{INKS[drawn[0].ink]} {NAMES[drawn[0].digit]}"
    bank = pool.bank(rng)
    assert {len(found) for found in bank.instances.values()} == {glyphs.BANK}
    assert len(bank.instances) == 40
    assert all(set(found) <= set(pool.instances[key]) for key, found in bank.instances.items())


def test_a_taken_instance_is_not_drawn_again():
    pool = Pool({(3, 1): [5, 6, 7]})
    rng = random.Random(0)
    assert {pool.draw(rng, digit=3, ink=1, but=[5, 7]).instance for _ in range(20)} == {6}


# --- what each set says is true of its pictures


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("digits_digit", lambda d, i: NAMES[d]),
        ("digits_parity", lambda d, i: ("even", "odd")[d % 2]),
        ("digits_half", lambda d, i: "five or more" if d > 4 else "less than five"),
        ("digits_ink", lambda d, i: INKS[i]),
        ("digits_ink_digit", lambda d, i: f"{INKS[i]} {NAMES[d]}"),
        (
            "digits_ink_parity_half",
            lambda d, i: f"{INKS[i]}, {('even', 'odd')[d % 2]}, {'five or more' if d > 4 else 'less than five'}",
        ),
        ("digits_caption_of", lambda d, i: f"a {INKS[i]} {NAMES[d]}"),
    ],
)
def test_labels_are_true_of_the_picture(name, answer):
    for one in drawn(name):
        digit, ink, _ = shown(one.query)
        assert one.positive == Input(answer(digit, ink))
        assert one.answer_key == (one.positive.text,)


def sum_of(question, found):
    return NUMBERS[sum(digit for digit, _, _ in found)]


def left_of(question, found):
    digits_ = [digit for digit, _, _ in found]
    return NAMES[digits_[digits_.index(first(NAMES, question)) - 1]]


def colour_of(question, found):
    return INKS[next(ink for digit, ink, _ in found if digit == first(NAMES, question))]


@pytest.mark.parametrize(
    ("name", "answer", "shape"),
    [
        ("digits_sum", sum_of, {(1, 2)}),
        ("digits_larger", lambda q, found: NAMES[max(digit for digit, _, _ in found)], {(1, 2)}),
        ("digits_left_of", left_of, {(1, 3)}),
        ("digits_how_many_in_ink", lambda q, found: NAMES[[i for _, i, _ in found].count(first(INKS, q))], {(2, 3)}),
        ("digits_ink_of", colour_of, {(2, 2)}),
        ("digits_is_there", lambda q, f: "yes" if first(NAMES, q) in [d for d, _, _ in f] else "no", {(2, 2)}),
        ("digits_which_in_ink", lambda q, f: NAMES[next(d for d, i, _ in f if i == first(INKS, q))], {(2, 2)}),
        ("digits_how_many_even", lambda q, found: NAMES[sum(digit % 2 == 0 for digit, _, _ in found)], {(2, 3)}),
    ],
)
def test_answers_are_true_of_the_canvas(name, answer, shape):
    for one in drawn(name):
        found = cells(one)
        assert one.positive == Input(answer(asked(one), found)), (asked(one), found)
        assert {(len(rows), len(rows[0])) for rows in [seen_in(one.query.image)]} == shape
        assert len({instance for _, _, instance in found}) == len(found)  # no picture twice on a canvas
        if name in ("digits_larger", "digits_left_of", "digits_ink_of", "digits_is_there", "digits_which_in_ink"):
            assert len({digit for digit, _, _ in found}) == len(found)  # one answer


def in_row(question, rows):
    return rows[("upper", "lower").index(next(w for w in ("upper", "lower") if w in question))]


def cell_at(question, rows):
    return [in_row(question, rows)[first(("left", "middle", "right"), question)]]


def digit_in_ink(question, rows):
    return [cell for row in rows for cell in row if cell[:2] == (first(NAMES, question), first(INKS, question))]


def left_neighbour(question, rows):
    wanted = first(NAMES, question)
    return [row[k - 1] for row in rows for k in range(3) if row[k][0] == wanted]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("digits_digit_in_row", lambda q, rows: [c for c in in_row(q, rows) if c[0] == first(NAMES, q)]),
        ("digits_cell_at", cell_at),
        ("digits_digit_in_ink", digit_in_ink),
        ("digits_ink_in_row", lambda q, rows: [c for c in in_row(q, rows) if c[1] == first(INKS, q)]),
        ("digits_left_neighbour", left_neighbour),
    ],
)
def test_a_phrase_names_one_cell_and_the_canvas_has_tempting_ones(name, named):
    for one in drawn(name):
        rows = seen_in(one.query.image)
        assert named(asked(one), rows) == [shown(one.positive)]  # one cell, and it is the answer
        found = [cell for row in rows for cell in row]
        wrong = [shown(item) for item in one.negatives]
        assert {cell for cell in found if cell != shown(one.positive)} <= set(wrong)  # its own other cells
        digit, ink, _ = shown(one.positive)
        assert sum(cell[0] == digit for cell in wrong) >= 4 or name == "digits_cell_at"
        if name == "digits_digit_in_row":
            assert sum(cell[0] == digit for cell in found) == 2
        if name == "digits_digit_in_ink":
            assert any(c[0] == digit and c[1] != ink for c in found)
            assert any(c[0] != digit and c[1] == ink for c in found)
        if name == "digits_ink_in_row":
            assert sum(cell[1] == ink for cell in found) == 2


def test_pictures_that_are_asked_for_and_those_that_are_not():
    """The right picture has what is asked for, no wrong one has, and some wrong ones have all the rest."""
    for one in drawn("digits_picture_of"):
        wanted = (first(NAMES, one.query.text), first(INKS, one.query.text))
        wrong = [shown(item)[:2] for item in one.negatives]
        assert shown(one.positive)[:2] == wanted
        assert wanted not in wrong
        assert len({w for w in wrong if w[0] == wanted[0]}) == 3
        assert len({w for w in wrong if w[1] == wanted[1]}) == 9
    for one in drawn("digits_same_digit"):
        digit, ink, instance = shown(one.query)
        wrong = [shown(item) for item in one.negatives]
        assert shown(one.positive)[0] == digit
        assert shown(one.positive)[1] != ink
        assert shown(one.positive)[2] != instance
        assert all(w[0] != digit for w in wrong)
        assert sum(w[1] == ink for w in wrong) >= 4
    for one in drawn("digits_same_ink"):
        digit, ink, _ = shown(one.query)
        wrong = [shown(item) for item in one.negatives]
        assert shown(one.positive)[1] == ink
        assert shown(one.positive)[0] != digit
        assert all(w[1] != ink for w in wrong)
        assert sum(w[0] == digit for w in wrong) >= 4
    for one in drawn("digits_same_parity"):
        digit, ink, _ = shown(one.query)
        assert shown(one.positive)[0] % 2 == digit % 2
        assert shown(one.positive)[0] != digit
        assert all(shown(item)[0] % 2 != digit % 2 for item in one.negatives)
    for one in drawn("digits_parity_in_ink"):
        wanted = ("even" not in one.query.text, first(INKS, one.query.text))
        assert (shown(one.positive)[0] % 2, shown(one.positive)[1]) == wanted
        assert all((shown(item)[0] % 2, shown(item)[1]) != wanted for item in one.negatives)


# --- the suite


def test_the_suite_has_four_meta_tasks_with_a_form_that_is_never_trained():
    groups = defaultdict(Counter)
    for chosen in suite.SETS:
        groups[chosen.task][chosen.group] += 1
    assert set(groups) == set(IMAGE_TASKS)
    assert len(suite.SETS) >= 12
    assert all(count["seen"] >= 2 and count["unseen"] >= 1 for count in groups.values())
    assert len(BY_NAME) == len(suite.SETS)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_query_has_one_right_candidate_of_ten_to_fifty(name):
    for one in drawn(name, 30):
        assert 10 <= 1 + len(one.negatives) <= 50
        assert len({one.positive, *one.negatives}) == 1 + len(one.negatives)
        instructed = one.query.text.partition("<image>")[0].split()
        assert len(instructed) >= 4
        assert len(one.query.text.split()) < 30


def test_answers_are_even_so_that_the_commonest_is_no_good_guess():
    for name in (
        "digits_sum",
        "digits_larger",
        "digits_how_many_even",
        "digits_is_there",
        "digits_ink_of",
        "digits_half",
    ):
        count = Counter(one.positive.text for one in drawn(name, 600))
        assert max(count.values()) < 2 * 600 / len(count), name
        assert len(count) == BY_NAME[name].answers  # chance among the answers is what the manifest says


def test_tasks_conflict():
    """One picture has four answers in the four trained sets, all among the candidates of each."""
    pool = pools()["eval"]
    answers = []
    for name in ("digits_digit", "digits_parity", "digits_half", "digits_ink"):
        one = BY_NAME[name].draw(random.Random(5), pool, pool, True)  # the same draw: the same picture
        answers.append(one.positive.text)
        assert {one.positive.text, *(item.text for item in one.negatives)} == set(LABELS)
        assert one.query.image == BY_NAME["digits_digit"].draw(random.Random(5), pool, pool, False).query.image
    assert len(set(answers)) == 4
    assert set(answers) < set(LABELS)
    for name in (n for n in BY_NAME if BY_NAME[n].task == "visual_question_answering"):
        assert {one.positive.text for one in drawn(name, 40)} <= set(ANSWERS)


def data(**change):
    return Data(source="digits", **{"train_rows": 30, "eval_rows": 12, "validation_rows": 5} | change)


def made(**change):
    return {(s.part, s.name): s for s in suite.specs(data(**change))}


def pictures_in(rows, columns):
    """All written digits on the pictures of the rows."""
    images = {row[column] for row in rows for column in columns if row[column] is not None}
    return {cell[2] for image in images for row in seen_in(image) for cell in row if cell}


def test_training_validation_and_evaluation_show_different_digits():
    used = defaultdict(set)
    for (part, _), source in made().items():
        if part == "train":
            for table, name in (("rows", "train"), ("validation", "validation")):
                used[name] |= pictures_in(list(source.tables[table]), ("query_image", "document_image"))
        else:
            used["eval"] |= pictures_in(source.tables["queries"], ("query_image",))
            used["eval"] |= pictures_in(source.tables["candidates"], ("image",))
    assert {name: bool(found) for name, found in used.items()} == dict.fromkeys(("train", "validation", "eval"), True)
    for name, pool in pools().items():
        assert used[name] <= {i for found in pool.instances.values() for i in found}


def test_equal_answers_are_one_group_across_sets():
    rows = [row for (part, _), s in made(train_rows=60).items() if part == "train" for row in s.tables["rows"]]
    by_text = defaultdict(set)
    for row in rows:
        if row["document_image"] is None:
            by_text[row["document"]].add(row["group"])
    assert all(len(groups) == 1 for groups in by_text.values())
    assert len(by_text) > 40
    assert len({min(groups) for groups in by_text.values()}) == len(by_text)
    shown_in = defaultdict(set)
    for chosen in SEEN:
        if chosen.name in ("digits_same_digit", "digits_same_ink", "digits_picture_of"):
            for row in made(train_rows=60)["train", chosen.name].tables["rows"]:
                digit, ink, _ = seen_in(row["document_image"])[0][0]
                right = {"digits_same_digit": digit, "digits_same_ink": ink}.get(chosen.name, (digit, ink))
                shown_in[chosen.name, right].add(row["group"])
    assert all(len(groups) == 1 for groups in shown_in.values())
    assert len({min(groups) for groups in shown_in.values()}) == len(shown_in)


def test_rows_come_from_the_seed_and_a_smaller_set_is_the_start_of_a_larger_one():
    def rows(**change):
        return list(made(**change)["train", "digits_sum"].tables["rows"])

    assert rows() == rows() != rows(seed=1)
    assert rows(train_rows=50)[:30] == rows()
    assert len({(row["query"], row["query_image"], row["document"]) for row in rows()}) == 30
    one, other = (made(seed=seed)["eval", "digits_same_ink"].tables for seed in (0, 1))
    assert one != other
    assert one == made()["eval", "digits_same_ink"].tables


def test_few_distinct_documents_are_embedded_in_evaluation():
    found = made(eval_rows=100)
    for chosen in suite.SETS:
        tables = found["eval", chosen.name].tables
        assert len(tables["queries"]) == 100
        assert len(tables["candidates"]) <= 320
    assert found["eval", "digits_parity"].answers == 2


def test_captions_are_a_task_of_their_own_and_are_scored_nowhere():
    found = made()
    names = [name for (part, name), source in found.items() if part == "train" and source.task == "captioning"]
    assert len(names) == 4
    assert not set(names) & {name for part, name in found if part == "eval"}
    for name in names:
        rows = list(found["train", name].tables["rows"])
        assert len(rows) == 30
        assert all((row["query_image"] is None) != (row["document_image"] is None) for row in rows)
        for row in rows:
            text, image = row["query"] or row["document"], row["query_image"] or row["document_image"]
            for digit, ink, _ in (cell for line in seen_in(image) for cell in line if cell):
                assert f"{INKS[ink]} {NAMES[digit]}" in text


def test_a_prepared_suite_is_the_same_everywhere_and_fast(tmp_path):
    preset = Preset(name="test", about="", data=data(train_rows=40, eval_rows=10), variants={"em": 1})
    start = time.process_time()
    one = prepare.prepare(preset, tmp_path / "data")
    assert time.process_time() - start < 10
    assert {e["name"]: e["task"] for e in one["datasets"] if e["part"] == "eval"} == {
        s.name: s.task for s in suite.SETS
    }
    assert all(e["chance"] > 0 for e in one["datasets"] if e["part"] == "eval")
    counts = Counter(e["part"] for e in one["datasets"])
    trained = len(SEEN) + len(suite.CAPTIONS)
    assert counts == {"train": trained, "validation": trained, "eval": len(suite.SETS)}
    assert one["sha256"][:16] == PINNED


PINNED = "bb4e4cac946f4e00"  # on any machine


def test_the_command_line_prints_chance(capsys):
    def specs_of(rows):
        return suite.specs(data(eval_rows=rows))

    print_counts(["--counts", "10"], "study.suites.digits.suite", specs_of, drawn_suites.counts)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(suite.SETS)
    assert "| image_classification | digits_parity | seen | 10 | 18 | 18 | 5.6 |" in lines
    page = (Path(__file__).parents[3] / "docs" / "digits_benchmark.md").read_text()
    assert "\n".join(drawn_suites.counts(specs_of(400))) in page, "python -m study.suites.digits.suite --counts"
    with pytest.raises(SystemExit, match="usage: python -m study.suites.digits.suite --counts"):
        print_counts([], "study.suites.digits.suite", specs_of)
