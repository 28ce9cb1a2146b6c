"""The published numbers, as copied to references/mote.yaml.

Invariants: averages are the means over datasets of their rows, gains are differences, the same model has the same
score in every table, all within the rounding of two digits; wherever the paper breaks one of these, the file says so,
and by how much.
"""

import math

import pytest
import yaml

from study import paths
from tsembed.settings import Training
from tsembed.tasks import TASK_OF_TYPE, TASKS, TEXT_TASKS

PAPER = yaml.safe_load((paths.REFERENCES / "mote.yaml").read_text())
TABLES, DISCREPANCIES = PAPER["tables"], PAPER["discrepancies"]
COUNTS = {name: row["datasets"] for name, row in TABLES["table1"]["rows"].items()}
SCORED = [name for name in TABLES if name != "table1"]
ROUNDING = 0.0101  # half a unit of the last digit in the rows, and again in their mean or difference


def average(table: str, column: str) -> float:
    rows = {name: row[column] for name, row in TABLES[table]["rows"].items() if name != "Average"}
    return sum(COUNTS[name] * value for name, value in rows.items()) / sum(COUNTS[name] for name in rows)


def columns() -> list[tuple[str, str]]:
    return [(table, column) for table in SCORED for column in TABLES[table]["rows"]["Average"]]


def test_the_types_are_those_of_the_benchmark():
    assert list(COUNTS) == list(TASK_OF_TYPE)
    assert sum(COUNTS.values()) == 56


@pytest.mark.parametrize("table", SCORED)
def test_a_table_has_every_cell_and_counts_its_datasets(table):
    rows = TABLES[table]["rows"]
    assert {tuple(row) for row in rows.values()} == {tuple(rows["Average"])}
    assert sum(COUNTS[name] for name in rows if name != "Average") == TABLES[table]["datasets"]


@pytest.mark.parametrize(("table", "column"), columns())
def test_an_average_is_the_mean_over_datasets(table, column):
    published, computed = TABLES[table]["rows"]["Average"][column], average(table, column)
    noted = DISCREPANCIES.get(f"{table}_{column}_average")
    if noted is None:
        assert computed == pytest.approx(published, abs=ROUNDING)
    else:
        assert abs(computed - published) > ROUNDING
        assert noted["published"] == published
        assert computed == pytest.approx(noted["computed"], abs=0.0051)


def test_exactly_two_averages_are_noted_as_wrong():
    assert [d for d in DISCREPANCIES if d.endswith("_average")] == ["table2_ic_average", "table7_ea_average"]


@pytest.mark.parametrize("column", ["ic", "mote"])
def test_em_and_gain_give_the_scores_of_later_tables(column):
    later = TABLES["table7"]["rows"] if column == "ic" else TABLES["table6"]["rows"]
    seen_and_unseen = TABLES["table2"]["rows"] | TABLES["table3"]["rows"]
    for name in COUNTS:
        row = seen_and_unseen[name]
        assert row["em"] + row[column] == pytest.approx(later[name][column], abs=ROUNDING), name


def test_the_same_model_has_the_same_scores_but_for_one_noted_cell():
    different = {
        name
        for name, row in TABLES["table6"]["rows"].items()
        for table in ("table4", "table5")
        if TABLES[table]["rows"][name]["mote"] != row["mote"]
    }
    assert different == {"STS"}
    noted = DISCREPANCIES["table4_sts"]
    assert TABLES["table4"]["rows"]["STS"]["mote"] == noted["published"]
    assert TABLES["table6"]["rows"]["STS"]["mote"] == noted["computed"]


def test_table_7_shows_every_other_block_as_noted():
    assert DISCREPANCIES["table7_mote_column"]["computed"] == "mote_eob"
    for name, row in TABLES["table7"]["rows"].items():
        assert row["mote"] == TABLES["table6"]["rows"][name]["mote_eob"]


def test_gains_in_the_text_are_differences_in_the_tables():
    table4, table5, table7 = (TABLES[f"table{n}"] for n in (4, 5, 7))
    differences = [(table4["gain"], table4["rows"]["Average"], "mote", "mote_static")]
    differences += [(gain, table5["rows"][name], "mote", "tlr") for name, gain in table5["gains"].items()]
    differences += [(gain, table7["rows"][name], "ea", "ic") for name, gain in table7["gains_of_ea_over_ic"].items()]
    for gain, row, better, worse in differences:
        assert row[better] - row[worse] == pytest.approx(gain, abs=1e-6)


def test_a_recovered_digit_is_the_only_one_that_fits_the_average():
    for name in ("Classification", "Clustering", "Reranking"):
        shift = 10 * COUNTS[name] / 56
        assert abs(average("table5", "tlr") - TABLES["table5"]["rows"]["Average"]["tlr"]) < ROUNDING < shift / 2


def test_percentages_of_the_abstract():
    for name, claim in PAPER["claims"].items():
        if "ic" not in claim:
            continue
        percent = 100 * (claim["mote"] / claim["ic"] - 1)
        noted = DISCREPANCIES.get(f"abstract_{name.removesuffix('_gain')}_percent")
        assert math.floor(percent) == (noted["computed"] if noted else claim["higher_by_percent"])
    assert DISCREPANCIES["abstract_retrieval_percent"]["published"] == 64


def test_gains_over_all_datasets_follow_from_tables_2_and_3():
    for column in ("ic", "mote"):
        two, three = (TABLES[t]["rows"]["Average"][column] for t in ("table2", "table3"))
        assert (38 * two + 18 * three) / 56 == pytest.approx(PAPER["claims"]["average_gain"][column], abs=ROUNDING)


def test_pair_classification_falls_as_noted():
    row = TABLES["table4"]["rows"]["PairClassification"]
    noted = DISCREPANCIES["table4_pair_classification"]["computed"]
    assert row["mote"] - row["mote_static"] == pytest.approx(noted, abs=1e-6)


def test_unpaired_welch_cannot_give_the_p_values_as_noted():
    from scipy.stats import ttest_ind

    noted = DISCREPANCIES["welch_p_values"]
    for i, p in enumerate(PAPER["p_values"].values()):
        rows = TABLES[p["table"]]["rows"]
        baseline = next(column for column in rows["Average"] if column != "mote")
        spread = {c: [rows[name][c] for name, n in COUNTS.items() for _ in range(n)] for c in ("mote", baseline)}
        least = ttest_ind(spread["mote"], spread[baseline], equal_var=False, alternative="greater").pvalue
        assert p["value"] == noted["published"][i]
        assert least == pytest.approx(noted["computed"][i], abs=0.0051)
        assert least > 10 * p["value"]


def test_the_settings_default_to_the_papers_values():
    given = {name: entry["value"] for name, entry in PAPER["hyperparameters"].items()}
    defaults = Training()
    for name in ("learning_rate", "weight_decay", "batch_size"):
        assert getattr(defaults, name) == given[name]
    assert {name: TASKS[name].temperature for name in TEXT_TASKS} == given["temperature"]
    assert {name: TASKS[name].batching for name in TEXT_TASKS} == given["batching"]
    assert given["unseen_types"].items() <= TASK_OF_TYPE.items()
