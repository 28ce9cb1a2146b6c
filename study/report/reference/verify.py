"""Compares a fresh run with the committed one: `python -m study verify PRESET`, or `./run_all.sh verify`.

It opens with one sentence: the kind of machine, how many verdicts agree, how far gains differ. Then verdicts, then
gains and similarities; single scores and items with `--all`.

Exit status: 0 nothing moved; 1 a verdict or a row moved, or a run of the reference has none here with the same
settings; 2 there is nothing to compare.

Tolerances are on absolute differences. On the same kind of machine (processor, instruction set, threads, versions, no
GPU) the same settings give the same scores to the last digit, so only rounding is allowed. Elsewhere sums are taken in
another order: allowed is twice the largest move that other kernels, threads and bf16 gave, where it was measured for
the preset (references/numerics_<preset>.csv, `analysis.numerics`), else `OTHER_MACHINE`. A score of precision@1 may
move by `QUERIES_ALLOWED` of its queries: with 40 of them, one that tips over is worth 2.5 points.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tsembed.evaluation.precision_at_1 import METRIC  # a share of queries: one that tips over is a step

from ... import paths
from ...analysis import claims, numerics
from ...analysis.gains import matrix, paired
from ...analysis.judgement import without_lines
from ...analysis.results import METHOD_OF_VARIANT
from ...former_names import current_name, current_verdict
from .freeze import differences, folder_of, settings

KIND = {  # of env.json: a kind of machine
    "processor": "processor",
    "cpu_capability": "instruction set",
    "threads": "number of threads",
    "gpus": "GPU",
    "python": "Python",
    "versions": "packages",
}
SHOWN = 10  # of the largest moves of a quantity
QUANTITIES = ("gain", "similarity", "score")  # in the order in which they are shown; scores are shown on request


class Tolerance(NamedTuple):
    """How far a row may lie from the reference and count as unmoved."""

    score: float  # points, of one run on one dataset
    gain: float  # points, of the mean over seeds and the datasets of one task type
    average: float  # points, of the mean over seeds and all datasets
    similarity: float  # cosine, mean over texts of one run and pair


SAME = Tolerance(1e-6, 1e-6, 1e-6, 1e-6)
OTHER_MACHINE = Tolerance(2.0, 1.0, 0.5, 0.01)
QUERIES_ALLOWED = 2  # elsewhere, whose nearest document is another one by rounding
SPREADS_ALLOWED = 2.0  # of the measured ones: the processor at hand may not have been among them


def tolerance_of(preset: str, *, same_machine: bool) -> Tolerance:
    """How far rows of a preset may lie from its reference; never less than rounding."""
    spread = None if same_machine else numerics.spread(preset)
    if spread is None:
        return SAME if same_machine else OTHER_MACHINE
    measured = {name: max(SPREADS_ALLOWED * value, getattr(SAME, name)) for name, value in spread._asdict().items()}
    return OTHER_MACHINE._replace(**measured)


class Comparison(NamedTuple):
    """What `compare` finds."""

    rows: pd.DataFrame  # quantity, row, reference, here, difference, tolerance, moved; quantities as in `QUANTITIES`
    verdicts: list[tuple[str, str, str]]  # claim id, verdict in the reference, verdict here: all that both have
    apart: dict[str, str]  # run of the reference that cannot be compared -> why
    new: list[str]  # finished runs here that the reference lacks
    other: list[str]  # what is another kind here than in the reference: values of `KIND`
    folders: dict[str, tuple[Path, Path]]  # run that both have -> its folder in the reference, and here


def compare(preset: str) -> Comparison:
    """Every score, similarity, gain and verdict of the reference beside that of the fresh runs.

    Raises:
        ValueError: If there is no reference, or no finished run here with the settings of one of it.
    """
    reference = folder_of(preset)
    committed = {_name(p.parent): p.parent for p in sorted(reference.glob("results/*/seed*/scores.json"))}
    if not committed:
        presets = ", ".join(sorted(p.parent.name for p in reference.parent.glob("*/results"))) or "none"
        raise ValueError(f"{reference.relative_to(paths.ROOT)} holds no results; presets with a reference: {presets}")
    fresh = {_name(p.parent): p.parent for p in sorted((paths.RUNS / preset).glob("*/seed*/done.json"))}
    if not fresh:
        raise ValueError(f"runs/{preset} has no finished run; ./run_all.sh {preset} makes them")
    apart = {run: why for run, folder in committed.items() if (why := _unlike(folder, fresh.get(run)))}
    compared = [run for run in committed if run not in apart]
    if not compared:
        why = "; ".join(dict.fromkeys(apart.values()))
        raise ValueError(f"no run of preset {preset} can be compared with the reference: {why}")
    kinds = [(_kind(committed[run]), _kind(fresh[run])) for run in compared]
    other = [word for key, word in KIND.items() if any(old[key] != new[key] for old, new in kinds)]
    same = not other and not any(new["gpus"] for _, new in kinds)
    tolerance = tolerance_of(preset, same_machine=same)
    pairs = {run: (committed[run], fresh[run]) for run in compared}
    scores = [pd.concat([_scores(run, found[i]) for run, found in pairs.items()]) for i in (0, 1)]
    queries = {} if same else _queries(reference)
    rows = [*_score_rows(*scores, tolerance, queries), *_gain_rows(*scores, tolerance)]
    for run, folders in pairs.items():
        rows += _similarity_rows(run, *folders, tolerance)
    frame = pd.DataFrame(rows, columns=["quantity", "row", "reference", "here", "tolerance"])
    frame["difference"] = frame.here - frame.reference
    frame["moved"] = ~(frame.difference.abs() <= frame.tolerance)  # nan has moved
    new = [run for run in fresh if run not in committed]
    return Comparison(frame, [] if apart else _verdicts(preset), apart, new, other, pairs)


def report(preset: str, comparison: Comparison, *, with_scores: bool = False) -> str:
    """The comparison as a short text: a sentence, then what moved.

    Args:
        preset: A name in configs/presets.
        comparison: Of its runs.
        with_scores: Name the single scores that moved, too.
    """
    changed = [v for v in comparison.verdicts if v[1] != v[2]]
    lines = [_sentence(comparison), f"{folder_of(preset).relative_to(paths.ROOT)}{_about(preset)}"]
    lines += [f"verdict {claim}: {was} -> {now}" for claim, was, now in changed]
    if not comparison.verdicts:
        lines.append(
            "the verdicts are not compared: " + ("not all runs are" if comparison.apart else "a report lacks them")
        )
    for quantity in QUANTITIES:
        lines += _lines(
            comparison.rows[comparison.rows.quantity == quantity], quantity, quantity != "score" or with_scores
        )
    lines += [f"not compared: {run}: {why}" for run, why in comparison.apart.items()]
    if comparison.new:
        lines.append(f"not in the reference: {', '.join(comparison.new)}")
    lines.append("Nothing moved." if not _status(comparison) else "Not the same as the reference.")
    return "\n".join(lines)


def _sentence(comparison: Comparison) -> str:
    """The kind of machine, the verdicts that agree, the largest difference of a gain."""
    machine = f"Another {' and '.join(comparison.other)}" if comparison.other else "The same kind of machine"
    agree = sum(was == now for _, was, now in comparison.verdicts)
    parts = [f"{agree} of {len(comparison.verdicts)} verdicts agree"] if comparison.verdicts else []
    gains = comparison.rows[comparison.rows.quantity == "gain"].difference.abs()
    parts += [f"gains differ by at most {gains.max():.2g} points"] if len(gains) else []
    return f"{machine}: {'; '.join(parts) or 'neither verdicts nor gains to compare'}."


def _lines(rows: pd.DataFrame, quantity: str, named: bool) -> list[str]:
    """How many rows of a quantity moved, and which, the farthest beyond its tolerance first."""
    if rows.empty:
        return []
    moved = rows[rows.moved]
    allowed = " to ".join(f"{value:.2g}" for value in sorted({rows.tolerance.min(), rows.tolerance.max()}))
    largest = f"by at most {rows.difference.abs().max():.2g} (allowed {allowed})"
    lines = [f"{quantity}: {len(moved)} of {len(rows)} moved; they differ {largest}"]
    if not named:
        return [f"{lines[0]}; --all names them"] if len(moved) else lines
    order = (moved.difference.abs() / moved.tolerance).fillna(math.inf).sort_values(ascending=False).index
    for row in moved.loc[order].head(SHOWN).itertuples():
        lines.append(f"  {row.row}: {row.reference:.4g} -> {row.here:.4g} ({row.difference:+.3g})")
    return [*lines, f"  … and {len(moved) - SHOWN} more"] if len(moved) > SHOWN else lines


def _status(comparison: Comparison) -> int:
    return int(
        comparison.rows.moved.any() or bool(comparison.apart) or any(was != now for _, was, now in comparison.verdicts)
    )


def _name(folder: Path) -> str:
    return f"{current_name(folder.parent.name)}/{folder.name}"


def _unlike(committed: Path, fresh: Path | None) -> str:
    """Why two runs cannot be compared; empty if they can."""
    if fresh is None:
        return "it is not finished here"
    changed = differences(settings(committed), settings(fresh))
    return f"other settings: {'; '.join(changed)}" if changed else ""


def _kind(folder: Path) -> dict[str, Any]:
    environment = json.loads((folder / "env.json").read_text())
    return {key: environment.get(key) for key in KIND}


def _scores(run: str, folder: Path) -> pd.DataFrame:
    variant, seed = run.split("/seed")
    rows = pd.DataFrame(json.loads((folder / "scores.json").read_text()))
    return rows.assign(run=run, variant=variant, method=METHOD_OF_VARIANT.get(variant, variant), seed=int(seed))


def _queries(reference: Path) -> dict[str, int]:
    """Dataset -> its number of queries, of those sets of the reference that have queries."""
    path = reference / "datasets.csv"
    if not path.is_file():
        return {}
    rows = pd.read_csv(path).query("part == 'eval'").set_index("dataset").rows
    return rows.str.extract(r"\bqueries:(\d+)", expand=False).dropna().astype(int).to_dict()


def _score_rows(old: pd.DataFrame, new: pd.DataFrame, tolerance: Tolerance, queries: dict[str, int]) -> list[tuple]:
    keys = ["run", "dataset", "metric"]
    rows = []
    for r in old.merge(new, on=keys, how="outer", suffixes=("_old", "_new")).itertuples():
        by_queries = 100 * QUERIES_ALLOWED / queries[r.dataset] if r.dataset in queries else 0.0
        allowed = max(tolerance.score, by_queries if r.metric == METRIC else 0.0)
        rows.append(("score", f"{r.run} {r.dataset} {r.metric}", r.score_old, r.score_new, allowed))
    return rows


def _gain_rows(old: pd.DataFrame, new: pd.DataFrame, tolerance: Tolerance) -> list[tuple]:
    """Gain of every method over EM, paired as in the study: per task type, and over all of its types."""
    rows = []
    if "em" not in set(old.method) & set(new.method):
        return rows
    for method, group in old[old.method != "em"].groupby("method", sort=False):
        types = list(dict.fromkeys(group.task_type))
        for name, row_types in [*((t, [t]) for t in types), ("all types", types)]:
            values = [_gain(scores, method, row_types) for scores in (old, new)]
            allowed = tolerance.gain if name in types else tolerance.average
            if not all(map(math.isnan, values)):  # methods of another study share no datasets with EM
                rows.append(("gain", f"{method} {name}", *values, allowed))
    return rows


def _gain(scores: pd.DataFrame, method: str, types: list[str]) -> float:
    try:
        return float(paired(matrix(scores, method, types), matrix(scores, "em", types)).mean())
    except ValueError:  # a dataset or seed is missing; the scores' own rows say which
        return math.nan


def _similarity_rows(run: str, old: Path, new: Path, tolerance: Tolerance) -> list[tuple]:
    if not (old / "similarity.csv").is_file():
        return []
    if not (new / "similarity.csv").is_file():
        return [("similarity", run, 0.0, math.nan, tolerance.similarity)]
    means = [pd.read_csv(f / "similarity.csv").groupby(["first", "second"]).cosine.mean() for f in (old, new)]
    joined = pd.concat(means, axis=1, keys=["old", "new"])
    return [
        ("similarity", f"{run} {first}–{second}", row.old, row.new, tolerance.similarity)
        for (first, second), row in joined.iterrows()
    ]


def _verdicts(preset: str) -> list[tuple[str, str, str]]:
    old, new = (_read_verdicts(f) for f in (folder_of(preset), paths.report_dir(preset)))
    return [(claim, was, new[claim]) for claim, was in old.items() if claim in new]


def _read_verdicts(report: Path) -> dict[str, str]:
    """Claim -> verdict in the words of today, without the lines of claims."""
    ours = {claim.id for claim in claims.claims() if claim.source == "ours"}
    tables = [without_lines(pd.read_csv(path)) for path in sorted((report / "tables").glob("claims_*.csv"))]
    rows = [row for table in tables for row in table.itertuples()]
    return {row.id: current_verdict(row.verdict, ours=row.id in ours) for row in rows}


def _items(preset: str, comparison: Comparison) -> list[str]:
    """What is to be said of the items: whether they are the same, and how many of a moved score are not."""
    from . import items

    path = folder_of(preset) / "reference.json"
    hashes = json.loads(path.read_text()).get("items_sha256", {}) if path.is_file() else {}
    rows = comparison.rows[(comparison.rows.quantity == "score") & comparison.rows.moved]
    named = {current_name(run.split("/")[0]) + "/" + run.split("/")[1]: value for run, value in hashes.items()}
    return items.lines(named, comparison.folders, [tuple(row.split(" ")[:2]) for row in rows.row])


def _about(preset: str) -> str:
    path = folder_of(preset) / "reference.json"
    if not path.is_file():
        return ""
    about = json.loads(path.read_text())
    machines = [", ".join(filter(None, (h["processor"], h["cpu_capability"], *h["gpus"]))) for h in about["hardware"]]
    return (
        f" ({about['finished'][1][:10]}, commit {', '.join(c[:12] for c in about['commits'])}; {'; '.join(machines)})"
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit status of `python -m study verify`: 0 if nothing moved, 1 if a row moved or is missing, 2 without rows."""
    parser = argparse.ArgumentParser(prog="python -m study verify", description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="a name in configs/presets")
    parser.add_argument("--all", action="store_true", help="also name single scores, and items that differ")
    options = parser.parse_args(arguments)
    preset = options.preset
    try:
        comparison = compare(preset)
    except ValueError as error:
        print(f"run_all.sh: verify: {error}", file=sys.stderr)
        return 2
    print(report(preset, comparison, with_scores=options.all))
    if options.all:
        print("\n".join(_items(preset, comparison)))
    return _status(comparison)
