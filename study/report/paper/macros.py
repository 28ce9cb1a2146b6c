r"""Every number and computed sentence of a study as a LaTeX macro: `\resMoteMinusIcSeen` is a gain with its interval.

A name says what the number is: method, baseline, and over which task types; LaTeX allows letters only, so digits are
spelled out. Two numbers cannot share a name.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tsembed.tasks import SEEN_TYPES, TASK_OF_IMAGE_TYPE, TASK_OF_TYPE, UNSEEN_TYPES

from ...analysis import claims as stated
from ...analysis import judgement, overview
from ...analysis.gains import MEAN_OF_DATASETS
from ...analysis.overview import ALL_PAIRS
from ..answers import in_words
from ..method_styles import METHODS
from ..pages import answer_boxes
from ..reference import finished
from ..style import MISSING
from ..tables.claims import design, remark, verdict
from ..tables.write import gain_interval, latex

DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
GROUPS = {  # the task types, or pairs of routes, that a number is over -> how its name ends
    frozenset(SEEN_TYPES): "Seen",
    frozenset(UNSEEN_TYPES): "Unseen",
    frozenset(TASK_OF_TYPE): "All",
    frozenset(TASK_OF_IMAGE_TYPE): "AllImages",
}


class Macros(dict[str, str]):
    """Name -> LaTeX text; `put` refuses a second text for a name."""

    def put(self, name: str, text: str) -> str:
        """Define a macro from plain text; its use in LaTeX, `\\name{}`.

        Raises:
            ValueError: If the name has another text already.
        """
        return self.put_latex(name, latex(text))

    def put_latex(self, name: str, text: str) -> str:
        """As `put`, of text that is LaTeX already."""
        if self.setdefault(name, text) != text:
            raise ValueError(f"\\{name} stands for two numbers: {self[name]!r} and {text!r}")
        return f"\\{name}{{}}"

    def definitions(self) -> str:
        """One \\newcommand a line, in alphabetical order."""
        return "".join(f"\\newcommand{{\\{name}}}{{{self[name]}}}\n" for name in sorted(self))


def macro_name(*parts: str) -> str:
    r"""A macro's name, without its backslash.

    >>> macro_name("mote", "minus", "ic", "Seen"), macro_name("t2-mote", "verdict")
    ('resMoteMinusIcSeen', 'resTTwoMoteVerdict')
    """
    pieces = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d", " ".join(parts))
    return "res" + "".join(DIGITS[int(p)] if p.isdigit() else p[0].upper() + p[1:] for p in pieces)


def of_study(study: finished.Finished) -> Macros:
    """All macros of a study."""
    macros = Macros()
    verdicts = finished.verdicts(study)
    claims = {claim.id: claim for claim in stated.claims()}
    _scope(macros, study)
    _counts(macros, verdicts)
    for row in finished.measured(verdicts).itertuples():
        claim_macros(macros, row, claims.get(row.id))
    _answers(macros, verdicts, claims, finished.differences(study))
    _differences(macros, finished.differences(study))
    _similarities(macros, finished.similarity(study))
    _scores(macros, study)
    return macros


def value_name(claim: "stated.Claim") -> str:
    r"""The name of what a claim measures: its difference where the task types have a name, else its id.

    >>> from types import SimpleNamespace as Stated
    >>> value_name(Stated(id="t2", quantity="score", method="mote", baseline="ic", minus=None, over=("STS",)))
    'resMoteMinusIcSTS'
    """
    over = GROUPS.get(frozenset(claim.over)) or (claim.over[0] if len(claim.over) == 1 else None)
    if claim.minus is not None or claim.baseline is None or over is None or claim.quantity != "score":
        return macro_name("claim", claim.id)
    return macro_name(claim.method, "minus", claim.baseline, over)


def claim_macros(macros: Macros, row: Any, claim: "stated.Claim | None") -> dict[str, str]:
    """Define the macros of a measured claim; their uses: text, value, paper, design, verdict, remark.

    Args:
        macros: Where they are defined.
        row: Of `finished.verdicts`.
        claim: As references/claims.yaml has it now; None for one that is no longer there.
    """
    numbers = {"difference": row.difference, "low": row.low, "high": row.high}
    own = macro_name("claim", row.id)
    name = value_name(claim) if claim else own
    published = "" if math.isnan(row.paper) else answer_boxes.signed(row.paper, row.unit, row.low, row.high)
    if published:
        macros.put(f"{name}Paper", published)
    unit = "" if row.unit == "points" else f" {in_words(row.unit)}"
    return {
        "text": macros.put(f"{own}Text", row.claim),
        "value": macros.put(name, difference_text(**numbers, unit=row.unit)) + unit,
        "paper": f"\\{name}Paper{{}}" if published else latex(MISSING),
        "design": macros.put(f"{own}Design", design(row.seeds, row.datasets)),
        "verdict": macros.put(f"{own}Verdict", verdict(row)),
        "remark": macros.put(f"{own}Remark", remark(row)),
    }


def difference_text(difference: float, low: float, high: float, unit: str) -> str:
    """A difference with its interval, in the decimals that the interval needs.

    >>> difference_text(-0.413, -0.79, -0.03, "points"), difference_text(0.2, float("nan"), float("nan"), "points")
    ('−0.41 [−0.79, −0.03]', '+0.2')
    """
    return gain_interval(difference, low, high, answer_boxes.decimals(unit, low, high))


def _scope(macros: Macros, study: finished.Finished) -> None:
    about = finished.about(study)
    for part in finished.scope(study):
        macros.put(macro_name(part.part, "Datasets"), str(part.datasets))
        macros.put(macro_name(part.part, "Backbone"), part.backbone)
        macros.put(macro_name(part.part, "Pairs"), f"{part.pairs:,}")
        macros.put(macro_name(part.part, "Seeds"), judgement.count_of(part.seeds, "seed"))
    macros.put("resPreset", study.preset)
    macros.put("resRuns", str(about["runs"]))
    macros.put("resMachine", finished.machine(about))
    macros.put("resHours", f"{sum(about['seconds'].values()) / 3600:.1f}")
    macros.put("resCommits", ", ".join(commit[:12] for commit in about["commits"]))
    macros.put("resFinished", about["finished"][-1][:10])
    versions = about["versions"][0]
    for package in ("torch", "transformers", "mteb", "peft"):
        macros.put(macro_name("version", package), versions.get(package, MISSING))
    macros.put("resLevel", f"{100 * (1 - judgement.ALPHA):.0f}\N{NO-BREAK SPACE}%")
    macros.put("resFewestSeeds", str(judgement.FEWEST_SEEDS))
    macros.put("resFewestDatasets", str(judgement.FEWEST_DATASETS))


def _counts(macros: Macros, verdicts: pd.DataFrame) -> None:
    known = finished.measured(verdicts)
    macros.put("resClaimsAll", str(len(verdicts)))
    macros.put("resClaimsMeasured", str(len(known)))
    for word, group in (("Hold", judgement.HOLDS), ("Opposite", judgement.OPPOSITE), ("Open", {judgement.OPEN})):
        macros.put(f"resClaims{word}", str(int(known.verdict.isin(group).sum())))
    macros.put("resClaimsOneSeed", str(int(((known.verdict == judgement.OPEN) & (known.seeds == 1)).sum())))
    macros.put("resClaimsOutOfSight", str(len(stated.out_of_sight(known))))
    for row in overview.by_kind(verdicts).itertuples():
        for column in ("claims", "holds", "opposite", "undecided", "unmeasured"):
            macros.put(macro_name("kind", row.kind, column), str(getattr(row, column)))


def _answers(macros: Macros, verdicts: pd.DataFrame, claims: Mapping[str, Any], differences: pd.DataFrame) -> None:
    for answer in answer_boxes.answers(verdicts, claims, {}):
        for part in ("question", "word", "found", "number", "interval", "paper", "judged"):
            macros.put(macro_name("answer", answer.name, part), getattr(answer, part))
    if sentences := answer_boxes.untrained(differences):
        macros.put("resAnswerUntrained", " ".join(sentences))


def _differences(macros: Macros, differences: pd.DataFrame) -> None:
    for row in differences.itertuples():
        over = "All" if row.row == MEAN_OF_DATASETS else row.row
        name = macro_name(row.method, "minus", row.baseline, over)
        macros.put(name, difference_text(row.gain, row.low, row.high, "points"))
        if not math.isnan(row.paper):
            macros.put(f"{name}Paper", answer_boxes.signed(row.paper, "points", row.low, row.high))


def _similarities(macros: Macros, similarity: pd.DataFrame) -> None:
    for row in similarity.itertuples():
        pair = "All" if row.pair == ALL_PAIRS else row.pair.replace("–", " ")
        interval = f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else f"{row.mean:.3f}"
        macros.put(macro_name("similarity", row.method, pair), interval)
        macros.put("resSimilarityTexts", f"{row.texts:.0f}")


def _scores(macros: Macros, study: finished.Finished) -> None:
    """Gains over the multi-task model and its scores, by task type, of Tables 2 and 3."""
    for name, group in (("table2", "Seen"), ("table3", "Unseen")):
        path = study.report / "tables" / f"{name}.csv"
        if not path.is_file():
            continue
        rows = pd.read_csv(path).sort_values("seeds", kind="stable")
        for row in rows.itertuples():
            over = group if row.row == MEAN_OF_DATASETS else row.row
            macros.put(macro_name(row.method, "minus em", over), difference_text(row.gain, row.low, row.high, "points"))
        for row in rows.drop_duplicates("row", keep="last").itertuples():  # the mean of the most seeds
            over = group if row.row == MEAN_OF_DATASETS else row.row
            macros.put(macro_name("em score", over), f"{row.baseline:.1f}")
            macros.put(macro_name("datasets", over), f"{row.datasets:.0f}")


def label(method: str) -> str:
    """A method's label in LaTeX."""
    return latex(METHODS[method].label)
