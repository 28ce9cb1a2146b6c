"""run_all.sh before the study starts.

- A missing or old Python, a full disk, an unreachable index, an unknown preset: one line on stderr, status not 0.
- A half-made environment never counts as whole, and a failed build leaves no stamp.
- Nothing is written to the user's home; `clean` deletes its preset only, and only if told to.
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests import checkout

TOOLS = ("bash", "env", "dirname", "cat", "head", "mkdir")


@pytest.fixture
def root(tmp_path):
    return checkout.make(tmp_path)


@pytest.fixture
def bare(root):
    """A PATH that has no Python."""
    folder = root / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def one_line(answer, *parts):
    assert answer.returncode != 0
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("run_all.sh: "), answer.stderr
    assert all(part in lines[0] for part in parts), lines[0]


def test_help_lists_the_commands_and_needs_no_python(root, bare):
    answer = checkout.call(root, "--help", PATH=str(bare))
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert all(
        f"\n  {command}" in answer.stdout
        for command in ("test", "check", "plan", "status", "fetch", "verify", "paper", "lab", "clean", "lock")
    )
    assert not (root / ".cache").exists()


def test_no_python_is_one_line(root, bare):
    one_line(checkout.call(root, "plan", PATH=str(bare), TSEMBED_PYTHON=""), "Python 3.11 or newer", "found none")


def test_an_old_python_is_one_line_with_its_version(root, bare):
    old = bare / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18" && exit 0\nexit 1\n')
    old.chmod(0o755)
    one_line(checkout.call(root, "plan", PATH=str(bare), TSEMBED_PYTHON=""), "newer", "python3 (Python 3.9.18)")
    one_line(checkout.call(root, "plan", PATH=str(bare), TSEMBED_PYTHON="python3"), "TSEMBED_PYTHON", "3.9.18")
    one_line(checkout.call(root, "plan", TSEMBED_PYTHON="no-such-python"), "no-such-python is not a program")


def test_a_full_disk_is_one_line_before_anything_is_installed(root):
    answer = checkout.call(root, "plan", "tiny", TSEMBED_ENV="venv", TSEMBED_NEEDED_GB="1e9")
    one_line(answer, "needs 1e+09 GB of disk", "GB free")
    assert not (root / ".venv").exists()


@pytest.mark.slow
def test_no_network_is_one_line_and_a_half_environment_is_no_environment(root):
    half = root / ".venv" / "half-made"
    half.mkdir(parents=True)
    (root / ".venv" / "tsembed-stamp.partial").write_text("{}")
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    nowhere |= {"PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "NO_PROXY": "", "no_proxy": ""}
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not os.access(f"{p}/uv", os.X_OK))
    answer = checkout.call(root, "plan", "tiny", TSEMBED_ENV="venv", TSEMBED_TORCH="cpu", PATH=path, **nowhere)
    one_line(answer, "cannot install torch", "no network", ".cache/install.log")
    assert not half.exists()
    assert not (root / ".venv" / "tsembed-stamp").exists()


def test_conda_is_used_only_when_one_is_active(root):
    one_line(checkout.call(root, "plan", "tiny", "--conda", CONDA_PREFIX=""), "active conda environment")
    one_line(checkout.call(root, "plan", "tiny", TSEMBED_ENV="poetry"), "poetry", "venv, conda, as-is")


def test_an_unknown_word_names_the_presets(root):
    answer = checkout.call(root, "tinny")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "'tinny' is neither a command nor a preset; presets: tiny" in answer.stderr
    assert "is not a folder" in checkout.call(root, "tiny", "--data", "nowhere").stderr
    assert "'0' is not a whole number > 0" in checkout.call(root, "tiny", "--jobs", "0").stderr


def test_clean_deletes_its_preset_only_and_only_if_told(root):
    for place in ("runs/tiny/em", "reports/tiny", "runs/other", "reports/reference"):
        (root / place).mkdir(parents=True)
    one_line(checkout.call(root, "clean", "tiny"), "nothing was deleted")
    assert (root / "runs/tiny/em").is_dir()
    assert checkout.call(root, "clean", "tiny", "--yes").returncode == 0
    assert not (root / "runs/tiny").exists()
    assert not (root / "reports/tiny").exists()
    assert (root / "runs/other").is_dir()
    assert (root / "reports/reference").is_dir()


def test_verify_without_a_reference_is_one_line_with_a_status_of_its_own(root):
    answer = checkout.call(root, "verify", "tiny")
    one_line(answer, "reports/reference/tiny holds no results")
    assert answer.returncode == 2
    assert answer.stdout == ""
    one_line(checkout.call(root, "verify", "tinny"), "'tinny' is neither a command nor a preset")


def test_paper_is_a_command_in_front_of_a_preset_and_else_a_preset(root):
    one_line(checkout.call(root, "paper", "tinny"), "'tinny' is neither a command nor a preset; presets: tiny")
    answer = checkout.call(root, "paper", "tiny")
    assert answer.stderr == (
        "paper: preset tiny: neither reports/tiny nor reports/reference/tiny holds a finished study; "
        "run ./run_all.sh tiny\n"
    )
    one_line(checkout.call(root, "paper"), "'paper' is neither a command nor a preset")  # it is none in this checkout
    shutil.copy(root / "configs/presets/tiny.yaml", root / "configs/presets/paper.yaml")
    one_line(checkout.call(root, "paper", "--data", "nowhere"), "is not a folder")
    assert "neither reports/paper nor" in checkout.call(root, "paper", "paper").stderr


@pytest.mark.slow
def test_nothing_is_written_to_the_home(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    assert checkout.call(root, "plan", "tiny", "--data", "own", HOME=str(home)).returncode == 0
    assert list(home.rglob("*")) == []


def test_the_stamp_changes_with_lock_project_and_python(root):
    code = "import environment, json; print(json.dumps(environment._expected_stamp(None)))"

    def stamp(**more):
        variables = checkout.environment(TSEMBED_ROOT=str(root), PYTHONPATH=f"{root}:{root}/workflow", **more)
        return subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
        ).stdout

    first = stamp()
    assert stamp() == first != stamp(TSEMBED_TORCH="cpu")
    for name in ("requirements.lock", "pyproject.toml"):
        before = stamp()
        (root / name).write_text((root / name).read_text() + "# changed\n")
        assert stamp() != before


def test_a_link_to_it_works_from_anywhere_and_leaves_nothing_there(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("bin")
    (place / "first").symlink_to(root / "run_all.sh")
    (place / "study").symlink_to("first")  # a link to a link, relative to its own folder
    answer = checkout.call(root, "plan", "tiny", "--data", str(root / "own"), script=place / "study")
    assert answer.returncode == 0, answer.stderr
    assert sorted(path.name for path in place.iterdir()) == ["first", "study"]


def test_a_locale_that_is_not_utf_8_reads_the_same_files(root):
    preset = root / "configs/presets/tiny.yaml"
    preset.write_text(preset.read_text(encoding="utf-8").replace("sentences", "phrases très françaises"), "utf-8")
    ascii_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    answer = checkout.call(root, "plan", "tiny", "--data", str(root / "own"), **ascii_locale)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("set_by_user", [None, "HF_HOME", "XDG_CACHE_HOME"])
def test_a_token_of_the_user_is_found_where_the_caches_are_not(set_by_user, root, tmp_path):
    home = tmp_path / "home"
    folders = {
        None: home / ".cache" / "huggingface",
        "HF_HOME": home / "hub",
        "XDG_CACHE_HOME": home / "x" / "huggingface",
    }
    token = folders[set_by_user] / "token"
    token.parent.mkdir(parents=True)
    token.write_text("hf_of_the_test")
    shown = "import huggingface_hub as h; print(h.get_token(), h.constants.HF_HUB_CACHE)"
    python = tmp_path / "python"  # answers the question for its version, and shows what the workflow would see
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -I ]; then exec {sys.executable} "$@"; fi\nexec {sys.executable} -c "{shown}"\n'
    )
    python.chmod(0o755)
    about = {None: {}, "HF_HOME": {"HF_HOME": str(home / "hub")}, "XDG_CACHE_HOME": {"XDG_CACHE_HOME": str(home / "x")}}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_", "HUGGING"))}
    variables = kept | {"HOME": str(home), "TSEMBED_PYTHON": str(python)} | about[set_by_user]
    answer = subprocess.run([root / "run_all.sh", "plan"], env=variables, capture_output=True, text=True, cwd=root)
    found, cache = answer.stdout.split()
    assert found == "hf_of_the_test"
    assert cache == str((home / "hub" if set_by_user == "HF_HOME" else root / ".cache" / "huggingface") / "hub")
