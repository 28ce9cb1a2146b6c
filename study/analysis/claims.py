"""The papers' claims and our own questions, as references/claims.yaml has them, with the verdicts that follow."""

import re
from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import model_validator

from tsembed.strict import Strict, check

from .. import paths
from ..former_names import current_verdict
from ..notebooks import absent_from
from ..presets import load_preset
from ..selection import Selection, selection_of
from . import judgement
from .contrasts import Weights
from .judgement import MARKS, NOT_JUDGED, OPEN, PROCESSOR, Judgement, Measured
from .statistics import holm

UNITS = {
    "score": "points",
    "similarity": "cosine",
    "gradient": "cosine",
    "conflict": "cosine",
    "correlation": "Spearman",
    "information": "nats",
}
MEASURED = (
    "difference",
    "low",
    "high",
    "low_beyond",
    "high_beyond",
    "low_bootstrap",
    "high_bootstrap",
    "detectable",
    "detectable_beyond",
    "p",
    "p_beyond",
    "variance_of_seeds",
    "variance_of_datasets",
    "variance_of_residual",
    "seeds",
    "datasets",
)
STATED = ("id", "quantity", "source", "place", "claimed", "than")
TRIAL = "a test of the machinery"  # why a preset that judges nothing has no verdict


class Control(Strict):
    """A claim that takes another explanation away: where it does not hold, that explanation is enough."""

    claim: str  # id, judged in the same notebook
    says: str


class Minus(Strict):
    """What is subtracted from a claim's difference: another one, (method - baseline), so many times."""

    method: str
    baseline: str
    times: float = 1.0


class Claim(Strict):
    """One claim: (method - baseline) over some task types, pairs or references is above or below a value, or zero.

    With `minus` it is about (method - baseline) less another difference: an interaction, or a share of a gain.
    """

    id: str
    text: str
    place: str
    source: Literal["mote", "tsembed", "ours"]  # whose claim it is; Holm corrects over the claims of each
    notebook: str
    quantity: Literal["score", "similarity", "gradient", "conflict", "correlation", "information"]
    method: str
    baseline: str | None  # None: the method's own value
    minus: Minus | None = None  # of scores alone
    over: tuple[str, ...]
    line_by_line: bool = False  # each of `over` is judged on its own; the claim holds where all of them do
    claimed: Literal["greater", "less", "equal"]
    than: float = 0.0
    margin: float | None = None  # of "equal": how far from zero still counts as none
    control: Control | None = None

    @model_validator(mode="after")
    def _equal_has_a_margin(self):
        if (self.claimed == "equal") != (self.margin is not None and self.margin > 0):
            raise ValueError("a claim of 'equal', and no other, needs a `margin` above zero")
        if self.claimed == "equal" and self.than:
            raise ValueError("a claim of 'equal' is about zero, not `than`")
        if self.minus is not None and (self.quantity != "score" or self.baseline is None):
            raise ValueError("`minus` needs the quantity score and a `baseline`")
        return self

    @property
    def weights(self) -> Weights:
        """Method -> its factor in what the claim is about."""
        factors = {self.method: 1.0} | ({self.baseline: -1.0} if self.baseline else {})
        if self.minus is not None:
            for name, factor in ((self.minus.method, -self.minus.times), (self.minus.baseline, self.minus.times)):
                factors[name] = factors.get(name, 0.0) + factor
        return factors

    @property
    def lines(self) -> "list[Claim]":
        """The claim of each of `over`; none where they are judged together."""
        names = self.over if self.line_by_line else ()
        return [self.model_copy(update={"text": name, "over": (name,), "line_by_line": False}) for name in names]


def claims(notebook: str | None = None) -> list[Claim]:
    """The claims that a notebook judges; all of them without one. None where there is no file.

    Raises:
        ValueError: If the file has an unknown key, an id twice, or a control that its notebook does not judge.
    """
    path = paths.REFERENCES / "claims.yaml"
    if not path.is_file():
        return []
    loaded = [check(Claim, row, f"{path}: {row.get('id')}") for row in yaml.safe_load(path.read_text())["claims"]]
    ids = [claim.id for claim in loaded]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{path}: ids stand twice: {sorted({i for i in ids if ids.count(i) > 1})}")
    places = {claim.id: claim.notebook for claim in loaded}
    for claim in loaded:
        if claim.control and places.get(claim.control.claim) != claim.notebook:
            raise ValueError(f"{path}: {claim.id}: control: {claim.notebook} judges no claim {claim.control.claim!r}")
    return [claim for claim in loaded if notebook in (None, claim.notebook)]


def is_judged(preset: str) -> bool:
    """Whether a preset's results get verdicts; a preset that is not in configs/ (a reference's) is taken to."""
    return not (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file() or load_preset(preset).judged


def verdicts(
    notebook: str,
    measure: Callable[[Claim], np.ndarray | Measured | None],
    *,
    preset: str,
    depends_on_processor: Collection[str] = (),
) -> pd.DataFrame:
    """A row per claim of the notebook: what was measured, and the verdict; a claim's lines stand below it.

    Args:
        notebook: Only its claims have rows.
        measure: The quantity per seed and dataset (text, batch, layer), from the runs: (seeds, n); or this with its
            query variance. None where the preset has no such runs; the claim then has no row.
        preset: One that judges nothing has no verdict.
        depends_on_processor: Ids of claims whose verdict another processor would change: they are open.

    Returns:
        Columns id, line (its name; empty: the claim itself), claim, quantity, source, place, claimed, than, margin,
        those of `judgement.estimate`, verdict, scope, reason, explained (what a control says against a claim that
        holds). The p-values of lines are Holm's over the lines of a claim, whose own is the largest of them.
    """
    rows: list[dict[str, Any]] = []
    stated = {claim.id: claim for claim in claims(notebook)}
    for claim in stated.values():
        whole = _measured(measure(claim))
        if whole is None:
            continue
        lines = {line.text: _measured(measure(line)) for line in claim.lines}
        row = _row(claim, whole) | judgement.judge(claim, list(lines.values()) or [whole])._asdict()
        below = [_row(line, lines[line.text]) | {"line": line.text} for line in claim.lines]
        for key in ("p", "p_beyond") if below else ():
            adjusted = holm(np.array([line[key] for line in below]))
            row[key] = float(adjusted.max())
            below = [line | {key: float(p)} for line, p in zip(below, adjusted, strict=True)]
        if claim.id in depends_on_processor and row["verdict"] != OPEN:
            row |= Judgement(OPEN, "", PROCESSOR)._asdict()
        rows += [row, *below]
    if not is_judged(preset):
        rows = [row | Judgement(NOT_JUDGED, "", TRIAL)._asdict() for row in rows]
    by_id = {row["id"]: row for row in rows if not row["line"]}
    return pd.DataFrame([row | {"explained": _explanation(stated[row["id"]], row, by_id)} for row in rows])


def _measured(found: np.ndarray | Measured | None) -> Measured | None:
    return found if found is None or isinstance(found, Measured) else Measured(found)


def _row(claim: Claim, measured: Measured) -> dict[str, Any]:
    """Of a claim or of a line, which has no verdict of its own."""
    stated = {key: getattr(claim, key) for key in STATED} | {"margin": claim.margin or float("nan")}
    blank = dict.fromkeys(Judgement._fields, "")
    return stated | {"line": "", "claim": claim.text} | judgement.estimate(claim, measured) | blank


def _explanation(claim: Claim, row: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> str:
    """What the control says, where the claim holds and the control's interval has the control's own value in it."""
    if claim.control is None or row["verdict"] not in ("reproduced", "supported"):
        return ""
    control = by_id.get(claim.control.claim)
    return claim.control.says if control and control["low"] <= control["than"] <= control["high"] else ""


def collect(preset: str, *, depends_on_processor: Collection[str] = ()) -> pd.DataFrame:
    """A row per claim of references/claims.yaml, in its order, with what reports/<preset>/tables/claims_*.csv say.

    Args:
        preset: One that judges nothing has no verdict.
        depends_on_processor: As in `verdicts`.

    Returns:
        Columns id, quantity, unit, source, claim, place, claimed, than, margin, paper (the published difference, where
        the paper prints one), those of `MEASURED`, verdict, scope, reason, explained, notebook, p_holm and
        p_holm_beyond (over the claims of one source that can have a verdict), survives (the scope for which the verdict
        survives Holm; empty: none). A claim that no notebook has judged has the verdict "not judged" and nan for what
        is measured.

    Raises:
        ValueError: If two tables judge the same claim, or one has an unknown verdict.
    """
    judged = _judgements(preset)
    trial = not is_judged(preset)
    numbers = yaml.safe_load((paths.REFERENCES / "mote.yaml").read_text())
    rows = []
    for claim in claims():
        row = judged.get(claim.id, {"verdict": NOT_JUDGED})
        result = {key: _text(row.get(key)) for key in (*Judgement._fields, "explained")}
        if trial:
            result |= Judgement(NOT_JUDGED, "", TRIAL)._asdict() | {"explained": ""}
        elif claim.id in depends_on_processor and result["verdict"] not in (OPEN, NOT_JUDGED):
            result |= Judgement(OPEN, "", PROCESSOR)._asdict() | {"explained": ""}
        rows.append(
            {key: getattr(claim, key) for key in STATED}
            | {"claim": claim.text, "unit": UNITS[claim.quantity], "margin": claim.margin or float("nan")}
            | {"paper": published(claim, numbers)}
            | {key: float(row.get(key, float("nan"))) for key in MEASURED}
            | result
            | {"notebook": claim.notebook}
        )
    return _with_holm(pd.DataFrame(rows))


def _judgements(preset: str) -> dict[str, dict[str, Any]]:
    """Id -> row of the report's tables; not of those that an earlier call left, when it had more of the preset."""
    judged: dict[str, dict[str, Any]] = {}
    left_out = absent_from(load_preset(preset)) if selection_of(preset) != Selection() else {}
    sources = {claim.id: claim.source for claim in claims()}
    not_part = {claim.id for claim in claims() if claim.notebook in left_out}
    for path in sorted((paths.report_dir(preset) / "tables").glob("claims_*.csv")):
        for row in pd.read_csv(path).to_dict("records"):
            if _text(row.get("line")) or row["id"] in not_part:
                continue
            if row["id"] in judged:
                raise ValueError(f"{path}: the claim {row['id']!r} is judged in another table too")
            row["verdict"] = current_verdict(row["verdict"], ours=sources.get(row["id"]) == "ours")
            if row["verdict"] not in MARKS:
                raise ValueError(f"{path}: the verdict {row['verdict']!r} is none of {', '.join(MARKS)}")
            judged[row["id"]] = row
    return judged


def _with_holm(collected: pd.DataFrame) -> pd.DataFrame:
    for key in ("p", "p_beyond"):
        adjusted = collected.groupby("source")[key].transform(lambda p: holm(p.to_numpy()))
        collected[key.replace("p", "p_holm", 1)] = adjusted
    closed = ~collected.verdict.isin([OPEN, NOT_JUDGED])
    beyond = closed & (collected.scope == judgement.BEYOND) & (collected.p_holm_beyond < judgement.ALPHA)
    these = closed & (collected.p_holm < judgement.ALPHA)
    collected["survives"] = np.select([beyond, these], [judgement.BEYOND, judgement.THESE], "")
    return collected


def _text(cell: Any) -> str:
    """A cell of a CSV file as text; an empty one is read as nan."""
    return cell if isinstance(cell, str) else ""


def published(claim: Claim, numbers: dict[str, Any]) -> float:
    """The paper's own (method - baseline) of a claim; nan where it prints no such number.

    The place of the claim names the table (or the abstract), `over` the row: one task type, or the average.

    Args:
        claim: Of references/claims.yaml.
        numbers: The content of references/mote.yaml.
    """
    if claim.place.startswith("Abstract"):
        row, gains = numbers["claims"]["average_gain"], True
    elif match := re.match(r"Table (\d)", claim.place):
        table = numbers["tables"][f"table{match[1]}"]
        row = table["rows"].get(claim.over[0] if len(claim.over) == 1 else "Average", {})
        gains = isinstance(table["unit"], dict)  # Tables 2 and 3: the column of EM is a score, the others gains over it
    else:
        return float("nan")
    row = row | {"em": 0.0} if gains else row
    values = [row.get(method) for method in (claim.method, claim.baseline)]
    return float("nan") if None in values else float(values[0]) - float(values[1])


def out_of_sight(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The open claims that this design could not have seen at the size the paper reports.

    Their published difference, from the value that the claim names, is smaller than the detectable one (power 0.8).
    """
    size = (verdicts.paper - verdicts.than).abs()
    return verdicts[(verdicts.verdict == OPEN) & (size < verdicts.detectable)]
