"""Kept results put where the study looks for them: `python -m study restore PRESET`, the other half of keep.py."""

import argparse
import os
import shutil
import sys

import yaml

from tsembed.files import write_folder

from ... import paths
from ...presets import load_preset
from ...runs.launch import data_folder
from .freeze import differences, flat, planned_runs, planned_settings, portable, settings
from .keep import kept_dir, unpack


def restore(preset: str) -> list[str]:
    """Put the kept results of a preset's runs under runs/<preset>, where they count as finished.

    Returns:
        The runs that were put there, `<variant>/seed<k>`; those that are there already stay as they are.

    Raises:
        ValueError: If the data are not prepared, or a kept run has other settings or other data than the preset has
            now; then nothing is put anywhere.
    """
    from tsembed.data.manifest import read_manifest

    plan, contents, faults, prepared = load_preset(preset), {}, [], 0.0
    for run, target in planned_runs(preset).items():
        kept = kept_dir(preset) / run
        if not kept.is_dir() or target.is_dir():
            continue
        content = planned_settings(plan, run)
        data = data_folder(preset, run.split("/")[0])
        content["data_sha256"] = read_manifest(data)["sha256"]
        prepared = max(prepared, (data / "manifest.json").stat().st_mtime)
        if changed := differences(settings(kept), portable(flat(content))):
            faults.append(f"{kept / 'config.yaml'} is not of the preset and the data as they are: {'; '.join(changed)}")
        contents[run] = content
    if faults:
        raise ValueError("\n".join(faults))
    for run, content in contents.items():
        with write_folder(paths.RUNS / preset / run) as partial:
            shutil.copytree(kept_dir(preset) / run, partial, dirs_exist_ok=True)
            unpack(partial)
            (partial / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            # Neither older than its data nor than the run whose weights it took, or the study would run it again.
            os.utime(partial / "done.json", (prepared, prepared))
    return list(contents)


def main(arguments: list[str] | None = None) -> None:
    """`python -m study restore`: put the results back, and say how many runs.

    Raises:
        SystemExit: With the reason, if they are not of the preset and its data.
    """
    about = "Put the kept results of a preset's runs under runs/PRESET, where they count as finished."
    parser = argparse.ArgumentParser(prog="python -m study restore", description=about)
    parser.add_argument("preset", help="a name in configs/presets")
    preset = parser.parse_args(arguments).preset
    try:
        runs = restore(preset)
    except ValueError as error:
        sys.exit(f"restore: {error}")
    print(f"{(paths.RUNS / preset).relative_to(paths.ROOT)}: {len(runs)} runs more")
