"""What the index tells about the results: state of every run, and the code, machine and data behind them.

Reads runs/<preset>/; every function copes with an empty folder.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from .. import paths
from ..analysis.cost import training_seconds
from ..former_names import current_name

SHOWN = ("commit", "uncommitted_changes", "requirements_lock_sha256", "python", "versions")  # of env.json
RUN_FILES = ("config.yaml", "metrics.jsonl", "scores.json", "env.json", "done.json")


def runs(preset: str, pages: dict[str, str]) -> list[dict[str, Any]]:
    """A row per run of the preset and per run on disk: name, whether it is the preset's, state, steps, seconds, page.

    The state is done, failed (the last attempt ended with an error), incomplete or not started.

    Args:
        preset: A name in configs/presets.
        pages: `<variant>/seed<k>` -> page of the run.
    """
    planned = [(v, f"seed{s}") for v, s in _planned(preset)]
    started = {
        (current_name(p.parent.name), p.name)
        for p in (paths.RUNS / preset).glob("*/seed*")
        if any((p / file).is_file() for file in RUN_FILES)
    }
    rows = []
    for variant, seed in [*planned, *sorted(started - set(planned))]:
        folder = paths.run_dir(preset, variant, int(seed.removeprefix("seed")))
        done, settings = _json(folder / "done.json"), _yaml(folder / "config.yaml")
        rows.append(
            {
                "variant": settings.get("variant", {}).get("label", variant) if settings else variant,
                "name": variant,
                "seed": seed.removeprefix("seed"),
                "planned": (variant, seed) in planned or not planned,  # of a preset that is gone, all count
                "state": _state(preset, folder),
                "steps": _steps(folder),
                "of": (settings or {}).get("training", {}).get("steps"),
                "seconds": _seconds(folder, done, settings),
                "finished": (done or {}).get("finished", ""),
                "page": pages.get(f"{variant}/{seed}"),
            }
        )
    return rows


def costs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the finished runs of each variant took.

    Args:
        rows: As `runs` returns them.

    Returns:
        variant, runs, training and evaluation (mean seconds of a run), minutes (of all its runs) and share (of all
        minutes, 0..1); in the order of `rows`.
    """
    finished: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["state"] == "done" and isinstance(row["seconds"], dict):
            finished.setdefault(row["name"], []).append(row)
    costs_of_rows = []
    for found in finished.values():
        spent = {part: sum(row["seconds"].get(part, 0.0) for row in found) for part in ("training", "evaluation")}
        means = {part: total / len(found) for part, total in spent.items()}
        label_and_runs = {"variant": found[0]["variant"], "runs": len(found)}
        costs_of_rows.append(label_and_runs | means | {"minutes": sum(spent.values()) / 60})
    everything = sum(cost["minutes"] for cost in costs_of_rows)
    return [cost | {"share": cost["minutes"] / everything if everything else 0.0} for cost in costs_of_rows]


def origins(preset: str) -> list[dict[str, Any]]:
    """The distinct env.json of the runs, each with the runs that have it and the span of their dates.

    Runs that are on disk and not part of the preset, or not of what `--only` chose, say nothing about the report.
    """
    groups: dict[str, dict[str, Any]] = {}
    planned = {(v, f"seed{s}") for v, s in _planned(preset)}
    for path in sorted((paths.RUNS / preset).glob("*/seed*/env.json")):
        environment, run = _json(path), (current_name(path.parent.parent.name), path.parent.name)
        if environment is None or (planned and run not in planned):
            continue
        empty = {"runs": [], "dates": [], "machine": _machine(environment), "hardware": hardware_line(environment)}
        group = groups.setdefault(json.dumps(environment, sort_keys=True), dict.fromkeys(SHOWN) | environment | empty)
        group["runs"].append(f"{path.parent.parent.name}/{path.parent.name}")
        if finished := (_json(path.parent / "done.json") or {}).get("finished"):
            group["dates"].append(finished)
    return [group | {"dates": sorted(group["dates"])} for group in groups.values()]


def data(preset: str) -> dict[str, Any] | None:
    """The manifest of the prepared data, or None if there is none."""
    return _json(paths.data_dir(preset) / "manifest.json")


def _machine(environment: dict[str, Any]) -> str:
    counts = {"cores": "cores", "threads": "threads", "memory_gib": "GiB"}
    parts = [environment.get("processor"), environment.get("cpu_capability")]
    parts += [f"{environment[key]} {unit}" for key, unit in counts.items() if environment.get(key)]
    parts += [*(environment.get("gpus") or ["no GPU"]), environment.get("platform")]
    return ", ".join(filter(None, parts))


def runs_text(about: dict[str, Any]) -> str:
    """How many runs there are, and of how many where the preset has more.

    >>> runs_text({"runs": 36, "planned": 36})
    '36 runs'
    >>> runs_text({"runs": 26, "planned": 181})
    '26 of its 181 runs'
    """
    planned = about.get("planned", about["runs"])
    return f"{about['runs']} runs" if planned == about["runs"] else f"{about['runs']} of its {planned} runs"


def hardware_line(environment: dict[str, Any]) -> str:
    """The machine in the words of one line.

    >>> hardware_line({"processor": "AMD EPYC", "cores": 2, "gpus": []}), hardware_line({"gpus": ["H100", "H100"]})
    ('AMD EPYC, 2 cores', '2 × H100')
    """
    gpus = environment.get("gpus") or []
    if gpus:
        return f"{len(gpus)} × {gpus[0]}" if len(gpus) > 1 else str(gpus[0])
    cores = environment.get("cores")
    parts = [environment.get("processor"), f"{cores} core{'' if cores == 1 else 's'}" if cores else None]
    return ", ".join(filter(None, parts)) or "an unknown machine"


def variants_of_node(preset: str, name: str, seed: int) -> list[str]:
    """The variants that a node of the study trains: that of its name, or those that share its process."""
    from ..presets import load_preset

    if not (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file():
        return [name]
    return load_preset(preset).variants_of_node(name, seed)


def _job(preset: str, variant: str) -> str:
    """The node of the study that trains a variant."""
    from ..presets import load_preset

    in_configs = (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file()
    return load_preset(preset).node_name(variant) if in_configs else variant


def _planned(preset: str) -> list[tuple[str, int]]:
    """The preset's runs; empty for a preset that is not in configs/."""
    from ..presets import load_preset

    if not (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file():
        return []
    return load_preset(preset).runs()


def _seconds(folder: Path, done: Any, settings: Any) -> dict[str, float] | None:
    """Seconds of training and evaluation of a finished run; training as the log of its steps has it.

    Runs of a former version wrote the wall time of their last process as training time: that of the rest, where a run
    had been resumed.
    """
    seconds = (done or {}).get("seconds")
    if not isinstance(seconds, dict):
        return None
    batch_size = (settings or {}).get("training", {}).get("batch_size")
    logged = training_seconds(folder, batch_size) if batch_size else None
    return seconds if logged is None else seconds | {"training": logged}


def _state(preset: str, folder: Path) -> str:
    if (folder / "done.json").is_file():
        return "done"
    if (folder / "10_train.failed.ipynb").is_file():
        return "failed"
    log = _json(paths.RUNS / preset / "logs" / f"{_job(preset, folder.parent.name)}.{folder.name}.json")
    if log and log.get("state") == "failed":
        return "failed"
    return "incomplete" if (folder / "config.yaml").is_file() else "not started"


def _steps(folder: Path) -> int | None:
    """Steps done, from the last whole row of metrics.jsonl, whose steps count from 0."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return None
    for line in reversed(path.read_text().splitlines()):
        try:
            return json.loads(line)["step"] + 1
        except (ValueError, KeyError):
            continue
    return 0


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None
