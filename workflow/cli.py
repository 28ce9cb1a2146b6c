"""The commands of run_all.sh. Standard library only: it runs before there is an environment."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import environment

ROOT = Path(os.environ["TSEMBED_ROOT"])
FIRST_NOTEBOOK = "notebooks/00_explore.ipynb"  # what `lab` opens
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def main(words: list[str]) -> None:
    """Build the environment if need be, then become the command."""
    if "--conda" in words:
        words.remove("--conda")
        os.environ["TSEMBED_ENV"] = "conda"
    command = words[0] if words else "run"
    if command in ("test", "check", "lab", "lock"):
        python = environment.ready()
        rest = words[1:]
        if command == "test":
            os.environ.update(OFFLINE)
            _become(python, "-m", "pytest", *_pytest_workers(rest), *rest)
        if command == "check":
            os.environ.update(OFFLINE)
            sys.exit(_check(python))
        if command == "lab":
            _become(python, "-m", "jupyterlab", *_lab_options(), *rest)
        sys.exit(environment.lock(python))
    if not _names_a_command(words):
        command, words = "run", ["run", *words]
    arguments = _arguments(command, words[1:])
    if command == "clean":
        sys.exit(_clean(arguments.preset, arguments.yes))
    python = environment.ready()
    if command == "paper":
        _become(python, "-m", "study", "paper", arguments.preset, *["--reference"] * arguments.reference)
    if command == "verify":
        os.environ.update(OFFLINE)
        _become(python, "-m", "study", "verify", arguments.preset, *["--all"] * arguments.all)
    options = [f"--{name}={value}" for name, value in vars(arguments).items() if name != "preset" and value]
    _become(python, str(ROOT / "workflow" / "scheduler.py"), command, arguments.preset, *options)


def _names_a_command(words: list[str]) -> bool:
    """Whether the first word is a command and no preset; `paper` is both, and a command in front of another word.

    >>> [_names_a_command(text.split()) for text in ("plan", "cpu", "paper", "paper --jobs 4", "paper local")]
    [True, False, False, False, True]
    """
    if words[:1] == ["paper"]:
        return len(words) > 1 and not words[1].startswith("-")
    return words[:1] != [] and words[0] in ("plan", "status", "fetch", "verify", "clean")


class _Parser(argparse.ArgumentParser):
    """One line for a wrong argument, without the usage."""

    def error(self, message: str) -> None:
        raise environment.Failed(f"{message} (see ./run_all.sh --help)")


def _arguments(command: str, words: list[str]) -> argparse.Namespace:
    name = "./run_all.sh" if command == "run" else f"./run_all.sh {command}"
    parser = _Parser(prog=name, allow_abbrev=False, add_help=False)
    parser.add_argument("preset", nargs="?", default="cpu", type=_preset)
    if command in ("run", "plan", "fetch"):
        parser.add_argument("--data", type=_folder, metavar="PATH")
        parser.add_argument("--only", metavar="VARIANT,…")
        parser.add_argument("--seeds", type=_positive, metavar="N")
    if command == "run":
        parser.add_argument("--jobs", type=_positive, metavar="N")
        parser.add_argument("--profile", choices=sorted(p.name for p in (ROOT / "workflow/profiles").iterdir()))
    if command == "verify":
        parser.add_argument("--all", action="store_true")
    if command == "paper":
        parser.add_argument("--reference", action="store_true")
    if command == "clean":
        parser.add_argument("--yes", action="store_true")
    return parser.parse_args(words)


def _preset(name: str) -> str:
    presets = sorted(p.stem for p in (ROOT / "configs" / "presets").glob("*.yaml"))
    if name not in presets:
        raise argparse.ArgumentTypeError(f"{name!r} is neither a command nor a preset; presets: {', '.join(presets)}")
    return name


def _folder(text: str) -> Path:
    path = (Path(os.environ.get("TSEMBED_CALLER", ".")) / text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is not a folder")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number > 0")
    return int(text)


def _clean(preset: str, yes: bool) -> int:
    folders = [f for f in (ROOT / "runs" / preset, ROOT / "reports" / preset) if f.is_dir()]
    if not folders:
        print(f"nothing to delete for preset {preset}")
        return 0
    named = " and ".join(str(f.relative_to(ROOT)) for f in folders)
    if not yes:
        try:
            yes = input(f"Delete {named}? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            print()
        if not yes:
            print("run_all.sh: nothing was deleted (answer y, or give --yes)", file=sys.stderr)
            return 1
    with environment.locked(ROOT / "runs" / ".lock") as free:
        if not free:
            print("run_all.sh: a study is running in this checkout; nothing was deleted", file=sys.stderr)
            return 1
        for folder in folders:
            shutil.rmtree(folder)
    print(f"deleted {named}")
    return 0


def _pytest_workers(words: list[str]) -> list[str]:
    """One process per core for the tests, four at most, unless the caller says how many or debugs."""
    decided = ("-n", "--numprocesses", "--pdb", "--trace", "--co", "--collect-only")
    return (
        []
        if any(word.startswith(decided) for word in words)
        else ["--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"]
    )


def _lab_options() -> tuple[str, ...]:
    """JupyterLab's settings; those that the caller gives come later and count."""
    return (
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--ServerApp.contents_manager_class=study.lab.NotebookContents",
    )


def _check(python: Path) -> int:
    """Lint, format, types and the fast tests, in this order; the status of the first that fails."""
    words = (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy", "tsembed"),
        ("pytest", "-m", "not slow and not browser", "tests/tsembed", "tests/project", *_pytest_workers([])),
    )
    for command in words:
        print(f"::: {' '.join(command)}", flush=True)
        if status := subprocess.run([python, "-m", *command], cwd=ROOT).returncode:
            return status
    return 0


def _become(python: Path, *arguments: str) -> None:
    os.execv(python, [str(python), *arguments])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except environment.Failed as failure:
        sys.exit(f"run_all.sh: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
