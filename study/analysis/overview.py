"""What a report's first page shows, from the runs that are finished: scope, differences, similarity, kinds of claims.

A run that is missing leaves its numbers out; nothing here asks for a whole preset.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from tsembed.tasks import TASK_OF_IMAGE_TYPE, TASK_OF_TYPE

from .. import paths
from ..presets import load_preset
from . import judgement
from .gains import MEAN_OF_DATASETS, gains
from .items import QueryVariance
from .random_effects import interval_columns
from .results import load_scores, load_similarity, per_text, run_folders

TRAINED, UNTRAINED = ("em", "ic", "mote"), "base"
TRAINED_ON_IMAGES, CAPTIONS_ALONE = ("vl_lora_wide", "vl_moe_lora", "tsembed"), "vl_base"  # where a preset has no text
STARTS = (UNTRAINED, CAPTIONS_ALONE)
TEXT_METHODS, IMAGE_METHODS = ("mote", "ic", "em"), ("tsembed", "vl_moe_lora", "vl_lora")  # the first that has a run
ALL_PAIRS = "all pairs"
KINDS = ("headline scores", "similarity and gradients", "ablations", "TSEmbed", "our own questions")


class Scope(NamedTuple):
    """How large one part of a study is."""

    part: str  # "text" or "images"
    method: str  # whose runs say it
    datasets: int  # that are scored; those of one source are one, as in every mean
    backbone: str
    pairs: int  # seen by one training
    seeds: int


def scope(preset: str) -> list[Scope]:
    """The text part and the image part of a preset, each as its finished runs have it; none where it has no run."""
    return scope_of(paths.RUNS / preset)


def scope_of(folder: Path) -> list[Scope]:
    """As `scope`, of the runs in a folder, `<variant>/seed<k>/`."""
    parts = (("text", TEXT_METHODS), ("images", IMAGE_METHODS))
    return [found for name, methods in parts if (found := _scope(folder, name, methods))]


def _scope(folder: Path, name: str, methods: tuple[str, ...]) -> Scope | None:
    for method in methods:
        runs = [p.parent for p in sorted((folder / method).glob("seed*/done.json"))]
        runs = [run for run in runs if (run / "config.yaml").is_file() and (run / "scores.json").is_file()]
        if not runs:
            continue
        settings = yaml.safe_load((runs[0] / "config.yaml").read_text())
        training = settings.get("training", {})
        sources = _sources(settings.get("preset", ""))
        scored = {
            sources.get(row["dataset"], row["dataset"]) for row in json.loads((runs[0] / "scores.json").read_text())
        }
        pairs = training.get("steps", 0) * training.get("batch_size", 0)
        return Scope(name, method, len(scored), _short(settings.get("backbone", {})), pairs, len(runs))
    return None


def _sources(preset: str) -> dict[str, str]:
    """Dataset -> source, of those that share theirs; none for a preset that is not in configs/."""
    if not (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file():
        return {}
    return {name: source for source, names in load_preset(preset).same_source.items() for name in names}


def _short(backbone: dict[str, Any]) -> str:
    """A backbone's name without where it comes from.

    >>> _short({"name": "embedded:all-MiniLM-L6-v2"}), _short({"name": "random:qwen2-vl"}), _short({"name": "a/b"})
    ('all-MiniLM-L6-v2', 'a small Qwen2-VL', 'b')
    """
    name = str(backbone.get("name", "unknown"))
    if name == "random:qwen2-vl":
        return "a small Qwen2-VL"
    return name.split(":", 1)[-1].rstrip("/").split("/")[-1]


def score_differences(preset: str) -> pd.DataFrame:
    """MoTE - IC, and each trained method - the untrained backbone, per task type and over all datasets.

    Where no method of text has finished: MoE-LoRA - LoRA of as many parameters, and each adapter - what it starts from.

    Returns:
        Columns row (a type, or `MEAN_OF_DATASETS`), method, baseline, datasets, seeds, gain, low, high, detectable,
        paper (of MoTE - IC, where the paper prints both). No rows where none of these methods has finished.
    """
    if not _is_known(preset):
        return pd.DataFrame()
    experiments: tuple[str, ...] = ()
    scores, kinds = load_scores(preset, partial=True), TASK_OF_TYPE
    wanted = _pairs(scores, ("mote", "ic"), TRAINED, UNTRAINED)
    if not wanted:
        experiments = ("", "captions", "images")  # what they start from is in one of the first two
        scores, kinds = load_scores(preset, *experiments, partial=True), TASK_OF_IMAGE_TYPE
        wanted = _pairs(scores, ("vl_moe_lora", "vl_lora_wide"), TRAINED_ON_IMAGES, CAPTIONS_ALONE)
    if not wanted:
        return pd.DataFrame()
    variance, published = QueryVariance(preset, *experiments, partial=True), _published_difference()
    frames = []
    for method, baseline in wanted:
        scored = [set(scores[scores.method == m].task_type) for m in (method, baseline)]
        types = [kind for kind in kinds if all(kind in each for each in scored)]
        found = gains(scores, [method], types, baseline=baseline, query_variance=variance)
        papers = published if (method, baseline) == ("mote", "ic") else {}
        frames.append(found.assign(baseline=baseline, paper=[papers.get(name, float("nan")) for name in found.row]))
    rows = pd.concat(frames, ignore_index=True)
    columns = ["row", "method", "baseline", "datasets", "seeds", "gain", "low", "high", "detectable", "paper"]
    return rows[columns]


def _pairs(
    scores: pd.DataFrame, experts: tuple[str, str], trained: tuple[str, ...], start: str
) -> list[tuple[str, str]]:
    """Those of the comparisons that the scores have: with experts and without, trained and as it started."""
    present = set(scores.method) if len(scores) else set()
    wanted = [experts, *((method, start) for method in trained)]
    return [(method, baseline) for method, baseline in wanted if {method, baseline} <= present]


def _published_difference() -> dict[str, float]:
    """MoTE - IC of the paper: task type, or `MEAN_OF_DATASETS` -> points."""
    path = paths.REFERENCES / "mote.yaml"
    if not path.is_file():
        return {}
    published = yaml.safe_load(path.read_text())
    rows: dict[str, Any] = {}
    for name in ("table2", "table3"):
        rows |= published.get("tables", {}).get(name, {}).get("rows", {})
    printed = [kind for kind in TASK_OF_TYPE if {"ic", "mote"} <= set(rows.get(kind, ()))]
    found = {kind: rows[kind]["mote"] - rows[kind]["ic"] for kind in printed}
    average = published.get("claims", {}).get("average_gain", {})
    if {"ic", "mote"} <= set(average):
        found[MEAN_OF_DATASETS] = average["mote"] - average["ic"]
    return found


def route_similarity(preset: str) -> pd.DataFrame:
    """Mean cosine similarity of one text under two tasks, for IC and MoTE.

    Returns:
        Columns pair ("first–second", or `ALL_PAIRS`), method, mean, low, high (on these texts), seeds, texts. No rows
        unless both methods have finished runs in which it was measured.
    """
    if not _is_known(preset):
        return pd.DataFrame()
    folders = run_folders(preset, partial=True)
    measured = {method for (method, _), folder in folders.items() if (folder / "similarity.csv").is_file()}
    if not {"ic", "mote"} <= measured:
        return pd.DataFrame()
    rows = load_similarity(preset, ["ic", "mote"], partial=True)
    pairs = list(dict.fromkeys(rows.pair))
    found = []
    for name, chosen in [*((pair, [pair]) for pair in pairs), (ALL_PAIRS, pairs)]:
        for method in ("ic", "mote"):
            values = per_text(rows, method, chosen)
            interval = interval_columns(values)
            found.append(
                {"pair": name, "method": method, "mean": float(values.mean()), "low": interval["low"]}
                | {"high": interval["high"], "seeds": values.shape[0], "texts": values.shape[1]}
            )
    return pd.DataFrame(found)


def _is_known(preset: str) -> bool:
    return (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file()


def kind_of(source: str, quantity: str, notebook: str) -> str:
    """The kind of a claim, one of `KINDS`.

    >>> kind_of("mote", "score", "20_specialization"), kind_of("mote", "score", "22_routing")
    ('headline scores', 'ablations')
    >>> kind_of("ours", "score", "20_specialization"), kind_of("mote", "gradient", "26_conflict_and_drift")
    ('our own questions', 'similarity and gradients')
    """
    if source == "ours":
        return "our own questions"
    if source == "tsembed":
        return "TSEmbed"
    if quantity != "score":
        return "similarity and gradients"
    return "headline scores" if notebook.startswith("20_") else "ablations"


def by_kind(verdicts: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each kind have which verdict.

    Args:
        verdicts: As `claims.collect` returns it.

    Returns:
        Columns kind, claims, holds, opposite, undecided, unmeasured; a row per kind that has a claim.
    """
    rows = []
    kinds = [kind_of(*row) for row in zip(verdicts.source, verdicts.quantity, verdicts.notebook, strict=True)]
    holds, opposite = zip(judgement.PAPERS_WORDS, judgement.OUR_WORDS, strict=True)
    for kind in KINDS:
        group = verdicts[[name == kind for name in kinds]]
        if len(group):
            count = group.verdict.isin
            rows.append(
                {
                    "kind": kind,
                    "claims": len(group),
                    "holds": int(count(holds).sum()),
                    "opposite": int(count(opposite).sum()),
                    "undecided": int(count([judgement.OPEN]).sum()),
                    "unmeasured": int(count([judgement.NOT_JUDGED]).sum()),
                }
            )
    return pd.DataFrame(rows)


def trained_against_untrained(differences: pd.DataFrame) -> pd.DataFrame:
    """The rows of `score_differences` that compare a trained method with what it started from, over all datasets."""
    if differences.empty:
        return differences
    return differences[(differences.baseline.isin(STARTS)) & (differences.row == MEAN_OF_DATASETS)]
