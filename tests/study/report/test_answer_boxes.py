"""The answers of the first page.

Invariants: the word follows the verdict, the direction follows the number's sign and not the claim's; a number has its
interval or the reason why there is none; decimals never hide on which side of zero an interval ends. A study of images
alone answers questions about images, any other those about text.
"""

import numpy as np
import pandas as pd
import pytest

from study.analysis import claims
from study.analysis.gains import MEAN_OF_DATASETS
from study.report.pages import answer_boxes

ROW = {
    "id": "all-mote",
    "source": "mote",
    "quantity": "score",
    "unit": "points",
    "notebook": "20_specialization",
    "difference": -0.413,
    "low": -0.791,
    "high": -0.034,
    "low_bootstrap": -0.9,
    "high_bootstrap": 0.1,
    "detectable": 0.53,
    "paper": 0.79,
    "seeds": 5.0,
    "datasets": 46.0,
    "verdict": "contradicted",
    "scope": "these sets",
    "reason": "",
    "survives": "these sets",
}
STATED = {claim.id: claim for claim in claims.claims()}


def answer(**changes):
    """The only answer to a table of one claim."""
    (found,) = answer_boxes.answers(pd.DataFrame([ROW | changes]), STATED, {"20_specialization": "notebooks/20.html"})
    return found


def test_a_contradicted_claim_is_a_no_with_number_interval_and_the_papers():
    found = answer()
    assert (found.word, found.tone) == ("No, on these datasets", "opposite")
    assert found.found == "MoTE scores 0.41 points lower than IC on average over 46 datasets."
    assert (found.number, found.interval) == ("−0.41 points", "95 % interval [−0.79, −0.03]")
    assert found.paper == "+0.79 points"
    assert "other training runs would say the same of these datasets; other datasets might not" in found.judged
    assert "the paper reports the opposite" in found.judged
    assert "Holm" not in found.judged
    assert found.link == "notebooks/20.html"


def test_the_direction_follows_the_sign_and_the_word_the_verdict():
    found = answer(difference=1.2, low=0.6, high=1.8, verdict="reproduced", scope="beyond them", survives="")
    assert found.word == "Yes"
    assert "1.2 points higher" in found.found
    assert found.number == "+1.2 points"
    assert "other training runs and other datasets would say the same; the paper reports the same" in found.judged
    assert "Corrected for the number of claims (Holm), it is not significant." in found.judged


def test_one_seed_has_no_interval_over_trainings_and_no_verdict():
    nan = float("nan")
    found = answer(low=nan, high=nan, detectable=nan, seeds=1.0, verdict="open", scope="", reason="1 seed")
    assert found.word == "Undecided"
    assert found.interval == "one seed; 95 % over datasets alone [−0.9, +0.1]"
    assert found.judged == "One seed gives a direction; a verdict takes 3 seeds."


def test_averaging_that_is_open_says_what_loss_the_interval_leaves_out():
    changes = {"difference": 0.4, "low": -0.142, "high": 0.95, "verdict": "open", "scope": ""}
    found = answer(id="t7-loss", **changes, reason="below the minimum detectable effect: 0.76", detectable=0.76)
    assert found.found.endswith("A loss of more than 0.1 points lies outside the interval.")
    assert found.judged == "The interval holds zero. This design detects differences of 0.8 points or more."
    assert (
        answer(id="t7-loss", **changes | {"verdict": "reproduced", "scope": "these sets"}).word
        == "No, on these datasets"
    )


def test_a_similarity_is_said_in_cosine_and_by_its_direction():
    changes = {"quantity": "similarity", "unit": "cosine", "paper": float("nan"), "verdict": "reproduced"}
    found = answer(id="f1-mean", **changes, difference=-0.0893, low=-0.114, high=-0.064)
    assert "further apart" in found.found
    assert "0.089 lower" in found.found
    assert found.paper == "lower, without a number (up to 0.3 lower for one pair)"
    assert "closer together" in answer(id="f1-mean", **changes | {"difference": 0.05}).found


def test_what_was_not_measured_or_not_judged_is_said():
    missing = answer(difference=float("nan"), verdict="not judged")
    assert (missing.word, missing.number) == ("Not measured", "")
    assert missing.found == "No finished run of this preset measures it."
    trial = answer(verdict="not judged", scope="")
    assert trial.word == "Not judged"
    assert trial.judged == "This preset tests the machinery and judges nothing."


def test_the_first_measured_claim_answers():
    rows = pd.DataFrame([ROW | {"difference": np.nan}, ROW | {"id": "t2-mote", "difference": 0.2}])
    (found,) = answer_boxes.answers(rows, STATED, {})
    assert found.number == "+0.20 points"


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([(0.3, -0.3, 1.0), (-0.4, -1.4, 0.5)], "No trained model is measurably better or worse"),
        ([(2.0, 1.0, 3.0), (1.0, 0.5, 1.5)], "EM and IC are better than no training on average."),
        ([(0.3, -0.3, 1.0), (-2.0, -3.0, -1.0)], "IC is worse than no training on average. So the differences"),
        ([(2.0, 1.0, 3.0), (-2.0, -3.0, -1.0)], "EM gained and IC lost on average."),
    ],
)
def test_trained_against_untrained_is_said_by_the_intervals(gains, said):
    rows = [
        {
            "row": "mean of datasets",
            "method": method,
            "baseline": "base",
            "datasets": 46,
            "gain": g,
            "low": a,
            "high": b,
        }
        for method, (g, a, b) in zip(("em", "ic"), gains, strict=True)
    ]
    first, meaning = answer_boxes.untrained(pd.DataFrame(rows))
    assert first.startswith("Against the untrained backbone, training changed the mean of 46 datasets by EM")
    assert meaning.startswith(said)
    assert answer_boxes.untrained(pd.DataFrame()) == []


def of_images(**changes):
    claim = {"id": "ts-mixed-eans", "source": "ours", "notebook": "33_specialised_experts", "datasets": 25.0}
    return (
        ROW
        | claim
        | {"verdict": "open", "scope": "", "reason": "below", "survives": "", "paper": float("nan")}
        | changes
    )


def test_a_study_of_images_alone_answers_questions_about_images():
    missing = {"difference": float("nan"), "verdict": "not judged"}
    rows = [ROW | missing, of_images(), of_images(id="ts-eans") | missing]
    found = answer_boxes.answers(pd.DataFrame(rows), STATED, {})
    assert [a.name for a in found] == ["mixed", "tsembed"]
    assert found[0].found == (
        "TSEmbed (mixed batches) scores 0.41 points lower than MoE-LoRA (mixed batches, information loss) on average "
        "over 25 datasets."
    )
    both = answer_boxes.answers(pd.DataFrame([ROW, *rows[1:]]), STATED, {})
    assert [a.name for a in both] == ["scores", "tsembed"]


def test_a_difference_that_rounds_to_nothing_is_called_none():
    found = answer_boxes.answers(pd.DataFrame([of_images(difference=-0.049, low=-1.08, high=0.98)]), STATED, {})
    assert found[0].found == (
        "TSEmbed (mixed batches) and MoE-LoRA (mixed batches, information loss) score the same to a tenth of a point "
        "on average over 25 datasets."
    )


def test_adapters_are_compared_with_what_they_start_from():
    rows = [
        {"method": m, "baseline": "vl_base", "row": MEAN_OF_DATASETS, "datasets": 25, "gain": 20.0}
        | {"low": 15.0, "high": 25.0}
        for m in ("vl_lora_wide", "vl_moe_lora")
    ]
    first, meaning = answer_boxes.untrained(pd.DataFrame(rows))
    assert first == (
        "Against the model that was trained on captions alone, training changed the mean of 25 datasets by "
        "matched-parameter LoRA +20.0 [+15.0, +25.0] and MoE-LoRA +20.0 [+15.0, +25.0] points."
    )
    assert meaning == "Matched-parameter LoRA and MoE-LoRA are better than captions alone on average."
