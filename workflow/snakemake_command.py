"""How Snakemake is called, and what its output says: why a node would run, and which error ended it."""

import argparse
import re
import sys
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

import node_states
import nodes

from study import paths, slurm
from study.runs.launch import nodes_per_training, processes_per_node, processes_per_scoring

HERE = Path(__file__).resolve().parent
REASONS = {  # Snakemake's -> ours, the strongest first
    "Missing output files": "not there",
    "incomplete": "was interrupted",
    "Params have changed": "its settings, cells or code have changed",
    "Set of input files": "it reads other files than before",
    "Updated input files": "a file that it reads has changed",
    "Input files updated by another job": "what it reads will be made again",
}


def command(graph: nodes.RunGraph, options: argparse.Namespace, *more: str) -> list[str]:
    """The command line of a study's run.

    Args:
        graph: What is run.
        options: Of the call.
        more: Words of Snakemake's own.
    """
    profile = options.profile or "local"
    words = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(HERE / "Snakefile"),
        "--directory",
        str(paths.ROOT),
        "--workflow-profile",
        "none",
        "--profile",
        str(HERE / "profiles" / profile),
        *more,
    ]
    if options.jobs:
        words += ["--jobs" if profile == "slurm" else "--cores", options.jobs]
    # Snakemake reads these words as YAML, where a path may have characters that mean something.
    settings: dict[str, object] = {"preset": graph.preset, "data": quote(graph.data)}
    if profile == "slurm":
        words += slurm.options(slurm.name_of(graph.preset, paths.ROOT), node_states.log_dir(graph.preset) / "slurm")
        settings |= {"nodes": nodes_per_training(), "gpus": processes_per_node() or 1}
        settings["scoring"] = processes_per_scoring()
    return [*words, "--config", *(f"{key}={value}" for key, value in settings.items() if value)]


def reasons(text: str) -> dict[str, str]:
    """Output -> why it would be made, from a dry run."""
    processes = {}
    for block in re.split(r"\n(?=(?:local)?rule )", text):
        output, reason = (re.search(rf"^    {key}: (.+)$", block, re.MULTILINE) for key in ("output", "reason"))
        if output and reason:
            processes[output[1].strip()] = next(
                (ours for theirs, ours in REASONS.items() if theirs in reason[1]), reason[1]
            )
    return processes


def error(text: str) -> str:
    """The error in what Snakemake printed: its line, and those with the message below it, up to where it happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if re.match(r"\w*(Error|Exception)\b", line)), None)
    if first is None:
        return lines[-1] if lines else "no output"
    return "\n".join([lines[first], *takewhile(lambda line: not line.startswith("File "), lines[first + 1 :])])
