"""The committed result of a preset, reports/reference/<preset>/: `python -m study freeze PRESET`.

    reference.json      commit, lock, hardware, dates, seconds, number of runs, hashes of settings and items
    results/<variant>/seed<k>/   the small files of each run: config.yaml, scores.json, env.json, done.json, *.csv
    datasets.csv        every dataset: part, form, task, rows, origin, licence, hash
    figures/ tables/    as the notebooks wrote them
    *.html notebooks/   the pages, without those of single runs

The items (items.parquet of a run) are copied to results/ too, where git ignores them: on the machine that froze them
`verify --all` counts those that differ. The reference holds no path, no host name and no package index of the machine
that made it; a file that does is an error.
"""

import argparse
import csv
import hashlib
import html
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import yaml

from tsembed.data.manifest import read_manifest
from tsembed.evaluation import items
from tsembed.files import move_folder

from ... import paths
from ...notebooks import analyses_of
from ...presets import NAMES_ALONE, Preset, RunSettings, load_preset, resolve
from .. import site
from ..notebook import mark_of
from .machine_names import machine_names, traces

SMALL = 100_000  # bytes; larger files of a run stay where they are, and reference.json counts them
HARDWARE = ("processor", "cpu_capability", "cores", "threads", "memory_gib", "gpus", "platform")


def folder_of(preset: str) -> Path:
    """reports/reference/<preset>"""
    return paths.REPORTS / "reference" / preset


def freeze(preset: str, *, allow_mixed: bool = False) -> Path:
    """Write the reference of a preset from its finished runs and its report; its folder.

    The new folder takes the old one's place by rename, when it is whole.

    Args:
        preset: A name in configs/presets.
        allow_mixed: Accept runs of several commits, or made with uncommitted changes; reference.json says so.

    Raises:
        ValueError: If a run or a notebook is missing, runs have other settings than the preset or (unless allowed)
            mixed commits, a link of a page leads nowhere, or a file names this machine.
    """
    runs = _finished(preset)
    _same_settings(preset, runs)
    about = about_runs(preset, runs)
    if not allow_mixed:
        _one_commit(preset, about)
    target = folder_of(preset)
    partial = target.with_name(f".{preset}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    large = [name for run, folder in runs.items() for name in copy_results(folder, partial / "results" / run)]
    with_items = {run: folder / items.FILE for run, folder in runs.items() if (folder / items.FILE).is_file()}
    about["items_sha256"] = {run: items.sha256(path) for run, path in with_items.items()}
    about["too_large"] = {name: large.count(name) for name in sorted(set(large))}
    _copy_report(paths.report_dir(preset), partial)
    (partial / "reference.json").write_text(json.dumps(about, indent=1) + "\n")
    _write_datasets(preset, partial / "datasets.csv")
    site.build(preset, into=partial, reference=about)
    if faults := [*dead_links(partial), *machine_traces(partial)]:
        raise ValueError(f"{partial} is not fit to be committed:\n  " + "\n  ".join(faults))
    for run, path in with_items.items():
        shutil.copyfile(path, partial / "results" / run / items.FILE)
    move_folder(partial, target)
    return target


def planned_runs(preset: str) -> dict[str, Path]:
    """`<variant>/seed<k>` -> folder of the run, of all runs of a preset."""
    return {f"{v}/seed{s}": paths.run_dir(preset, v, s) for v, s in load_preset(preset).runs()}


def planned_settings(plan: Preset, run: str) -> dict[str, Any]:
    """What config.yaml of a run, `<variant>/seed<k>`, holds by a preset as it is now, without the hash of the data."""
    variant, seed = run.split("/seed")
    return resolve(plan, variant, int(seed)).model_dump(mode="json")


def settings(run: Path) -> dict[str, Any]:
    """A run's config.yaml as flat keys (`training.steps`), without the paths of a machine.

    Keys that the run was made before have their defaults, so it compares with one made after.
    """
    content = yaml.safe_load((run / "config.yaml").read_text())
    data = content.pop("data_sha256", None)
    try:
        content = RunSettings.model_validate(content).model_dump(mode="json")
    except ValueError:  # of a version whose keys are no longer known: compared as they are
        pass
    return portable(flat(content | {"data_sha256": data}))


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the folder `data.path` left out and any other absolute path cut to its name.

    >>> portable({"data.path": "/a/b", "backbone.name": "/models/bert", "seed": 0})
    {'backbone.name': 'bert', 'seed': 0}
    """
    short = {k: Path(v).name if isinstance(v, str) and v.startswith("/") else v for k, v in settings.items()}
    return {k: v for k, v in short.items() if k != "data.path"}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two flat settings; a key that one lacks is None there. A label is no difference.

    >>> differences({"training.steps": 72, "seed": 1}, {"training.steps": 96, "seed": 1})
    ['training.steps was 72, is 96']
    >>> differences({"variant.label": "LoRA"}, {"variant.label": "low-rank adapter"})
    []
    """
    keys = [k for k in dict.fromkeys([*old, *new]) if k not in NAMES_ALONE]
    return [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in keys if old.get(k) != new.get(k)]


def flat(content: Any, key: str = "") -> dict[str, Any]:
    """Nested settings as one level of keys.

    >>> flat({"training": {"steps": 72}, "seed": 1})
    {'training.steps': 72, 'seed': 1}
    """
    if not isinstance(content, dict) or not content:
        return {key: content or None if isinstance(content, dict) else content}
    level: dict[str, Any] = {}
    for name, value in content.items():
        level |= flat(value, f"{key}.{name}" if key else str(name))
    return level


def _finished(preset: str) -> dict[str, Path]:
    """`<variant>/seed<k>` -> folder, of all runs of the preset."""
    plan = load_preset(preset)
    runs = planned_runs(preset)
    if missing := [run for run, folder in runs.items() if not (folder / "done.json").is_file()]:
        raise ValueError(f"preset {preset}: not finished: {', '.join(missing)}; run ./run_all.sh {preset}")
    report = paths.report_dir(preset)
    if missing := [n for n in analyses_of(plan) if not mark_of(report / "notebooks" / f"{n}.ipynb").is_file()]:
        raise ValueError(f"preset {preset}: not executed: {', '.join(missing)}; run ./run_all.sh {preset}")
    return runs


def _same_settings(preset: str, runs: dict[str, Path]) -> None:
    plan = load_preset(preset)
    for run, folder in runs.items():
        planned = portable(flat(planned_settings(plan, run)))
        recorded = settings(folder)
        if faults := differences({k: v for k, v in recorded.items() if k != "data_sha256"}, planned):
            raise ValueError(f"{folder / 'config.yaml'} is not of the preset as it is now: {'; '.join(faults)}")


def about_runs(preset: str, runs: dict[str, Path]) -> dict[str, Any]:
    """What reference.json holds about finished runs: their number and the preset's, commits, dates, hardware, versions.

    Args:
        preset: Their name.
        runs: `<variant>/seed<k>` -> folder.
    """
    environments = [json.loads((folder / "env.json").read_text()) for folder in runs.values()]
    done = [json.loads((folder / "done.json").read_text()) for folder in runs.values()]
    serialised = json.dumps({run: settings(folder) for run, folder in runs.items()}, sort_keys=True)

    def distinct(values: list) -> list:
        return [v for i, v in enumerate(values) if v not in values[:i]]

    return {
        "preset": preset,
        "runs": len(runs),
        "planned": len(load_preset(preset, whole=True).runs()),
        "finished": [min(d["finished"] for d in done), max(d["finished"] for d in done)],
        "seconds": {k: round(sum(d["seconds"].get(k, 0.0) for d in done), 1) for k in ("training", "evaluation")},
        "settings_sha256": hashlib.sha256(serialised.encode()).hexdigest(),
        "commits": distinct([e["commit"] for e in environments]),
        "uncommitted_changes": any(e["uncommitted_changes"] for e in environments),
        "requirements_lock_sha256": distinct([e["requirements_lock_sha256"] for e in environments]),
        "hardware": distinct([{k: e[k] for k in HARDWARE if k in e} for e in environments]),
        "python": distinct([e["python"] for e in environments]),
        "versions": distinct([e["versions"] for e in environments]),
    }


def _one_commit(preset: str, about: dict[str, Any]) -> None:
    for kind, names in (("commits", about["commits"]), ("locks", about["requirements_lock_sha256"])):
        if len(names) > 1:
            short = ", ".join(str(name)[:12] for name in names)
            raise ValueError(f"preset {preset}: the runs come from {len(names)} {kind} ({short}); see --allow-mixed")
    if about["commits"] == ["unknown"]:
        raise ValueError(f"preset {preset}: the commit of the runs is unknown; see --allow-mixed")
    if about["uncommitted_changes"]:
        raise ValueError(f"preset {preset}: runs were made with uncommitted changes; see --allow-mixed")


def copy_results(run: Path, target: Path) -> list[str]:
    """Copy the small files of a run, config.yaml without paths; the names of those left out because they are large."""
    target.mkdir(parents=True, exist_ok=True)
    results = sorted(p for p in run.iterdir() if p.suffix in (".json", ".csv"))
    small = [p for p in results if p.stat().st_size <= SMALL]
    for path in small:
        shutil.copyfile(path, target / path.name)
    content = yaml.safe_load((run / "config.yaml").read_text())
    (target / "config.yaml").write_text(yaml.safe_dump(_without_paths(content), sort_keys=False))
    return [p.name for p in results if p not in small]


def _write_datasets(preset: str, target: Path) -> None:
    plan = load_preset(preset)
    folders = dict.fromkeys(
        paths.data_dir(preset, plan.experiment_with_same_data(study)) for study in plan.all_experiments
    )
    with target.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["part", "dataset", "format", "task", "rows", "licence", "origin", "sha256"])
        for folder in folders:
            for d in read_manifest(folder)["datasets"]:
                rows = " ".join(f"{name}:{count}" for name, count in d["rows"].items())
                about = (d["part"], d["name"], d["format"], d["task"])
                table.writerow([*about, rows, d["licence"], d["origin"], d["sha256"]])


def _without_paths(content: dict[str, Any]) -> dict[str, Any]:
    """The settings as `portable` has them, nested: `data.path` is None."""
    portable_settings: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            portable_settings[key] = _without_paths(value)
        else:
            portable_settings[key] = Path(value).name if isinstance(value, str) and value.startswith("/") else value
    return portable_settings | ({"path": None} if "path" in portable_settings else {})


def _copy_report(report: Path, target: Path) -> None:
    """Figures and tables of the analyses; those of single runs stay."""
    for kind in ("figures", "tables"):
        (target / kind).mkdir(parents=True)
        for path in sorted(p for p in (report / kind).glob("*") if p.is_file() and not p.name.startswith(".")):
            shutil.copyfile(path, target / kind / path.name)


def dead_links(folder: Path) -> list[str]:
    """Links of the pages of a report that lead nowhere, a line each; links to other sites are not followed."""
    faults = []
    for page in sorted([*folder.glob("*.html"), *folder.glob("notebooks/*.html")]):
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', page.read_text()):
            address, anchor = urldefrag(html.unescape(link))
            if re.match(r"data:|https?:|mailto:", address):
                continue
            file = page.parent / unquote(address) if address else page
            if not file.is_file() or (anchor and f'id="{unquote(anchor)}"' not in html.unescape(file.read_text())):
                faults.append(f"{page.relative_to(folder)}: the link {link} leads nowhere")
    return faults


def machine_traces(folder: Path) -> list[str]:
    """Files of a folder that name a path, host or package index of the machine that wrote them, a line each."""
    machine = machine_names()
    named = {p.relative_to(folder): traces(p, machine) for p in sorted(folder.rglob("*")) if p.is_file()}
    return [f"{path} names this machine or another: {', '.join(names)}" for path, names in named.items() if names]


def main(arguments: list[str] | None = None) -> None:
    """`python -m study freeze`: write the reference and print its size.

    Raises:
        SystemExit: With the reason, if the runs cannot be frozen.
    """
    parser = argparse.ArgumentParser(prog="python -m study freeze", description=__doc__.splitlines()[0])
    parser.add_argument("preset", help="a name in configs/presets")
    parser.add_argument(
        "--allow-mixed", action="store_true", help="accept runs of several commits, or with uncommitted changes"
    )
    options = parser.parse_args(arguments)
    try:
        folder = freeze(options.preset, allow_mixed=options.allow_mixed)
    except ValueError as error:
        sys.exit(f"reference: {error}")
    from . import summary  # which reads what was frozen

    for path in summary.write():
        print(path.relative_to(paths.ROOT))
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != items.FILE]
    print(f"{folder.relative_to(paths.ROOT)}: {len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.1f} MB")
