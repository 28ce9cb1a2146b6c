"""The lists of packages agree.

- Every dependency of pyproject.toml, extras included, is pinned in requirements.lock, to a version that it allows.
- The lock pins exactly, and holds no CUDA package, host or path; what is installed has its versions.
- environment.yml has Python, pip, the lock and this package, and nothing else.
- What the package, the tests and the workflow import is a dependency of its own, not one of somebody else's.
- CI fails for a known vulnerability, and says so where it could not ask: pip-audit is silent about that.
"""

import ast
import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import audit

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(line) for line in [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]]
DECLARED = [
    requirement for requirement in DECLARED if requirement.name != PROJECT["name"]
]  # an extra that joins others
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCKED = [Requirement(line) for line in LINES]


def pins(name):
    """The pins of a package: one, or one per environment marker."""
    return [r for r in LOCKED if canonicalize_name(r.name) == canonicalize_name(name)]


def test_every_dependency_is_pinned_to_a_version_it_allows():
    assert len(DECLARED) > 20
    for requirement in DECLARED:
        versions = [next(iter(pin.specifier)).version for pin in pins(requirement.name)]
        assert versions, f"{requirement} is not in requirements.lock: ./run_all.sh lock"
        assert all(requirement.specifier.contains(v) for v in versions), f"{requirement}, but the lock has {versions}"


def test_the_library_takes_ranges_and_the_study_has_them_all():
    assert [r for r in map(Requirement, PROJECT["dependencies"]) if any(s.operator == "==" for s in r.specifier)] == []
    (joined,) = [r for r in map(Requirement, EXTRAS["study"]) if r.name == PROJECT["name"]]
    assert joined.extras == set(EXTRAS) - {"study", "test", "docs"}


def test_the_lock_pins_exactly_and_names_no_machine():
    assert len(LINES) > 150
    for line, requirement in zip(LINES, LOCKED, strict=True):
        assert [s.operator for s in requirement.specifier] == ["=="], line
        assert "+" not in str(requirement.specifier), line
        assert requirement.url is None, line
        assert "/" not in line, line
        assert not re.match(r"nvidia|cuda|triton", requirement.name), line


def test_the_installed_packages_are_those_of_the_lock():
    applying = [r for r in LOCKED if r.marker is None or r.marker.evaluate()]
    wrong = {}
    for requirement in applying:
        installed = importlib.metadata.version(requirement.name)
        if not requirement.specifier.contains(installed):
            wrong[requirement.name] = installed
    assert len(applying) > 150
    assert not wrong


def test_the_conda_environment_adds_nothing():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert content["channels"] == ["conda-forge"]
    assert content["dependencies"] == [
        f"python{PROJECT['requires-python']}",
        "pip",
        {"pip": ["-r requirements.lock", "-e ."]},
    ]


def test_what_is_imported_is_declared():
    files = [p for folder in ("tsembed", "study", "tests", "workflow") for p in (ROOT / folder).rglob("*.py")]
    own = {
        "tsembed",
        "study",
        "tests",
        "experiments",
        "workflow",
        "benchmarks",
        *(p.stem for p in (ROOT / "workflow").glob("*.py")),
    }
    imported = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            imported |= {name.split(".")[0]: path.name for name in names}
    imported = {n: p for n, p in imported.items() if n not in own | sys.stdlib_module_names}
    declared = {canonicalize_name(r.name) for r in DECLARED}
    packages = importlib.metadata.packages_distributions()
    missing = {n: p for n, p in imported.items() if not declared & {canonicalize_name(d) for d in packages.get(n, [n])}}
    assert "torch" in imported
    assert not missing


def test_a_known_vulnerability_fails_and_an_index_without_advisories_is_named():
    sound = {"name": "a", "version": "1", "vulns": []}
    faulty = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
    unknown = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}

    def verdict(*packages):
        return audit.verdict(json.dumps({"dependencies": packages, "fixes": []}), "")

    assert verdict(sound, unknown) == (0, ["dependencies: 1 of 2 audited, no known vulnerability"])
    assert verdict(sound, faulty) == (
        1,
        ["dependencies: 2 of 2 audited, 1 known vulnerability", "b 2: PYSEC-1, mended in 2.1"],
    )
    assert verdict(unknown) == (
        0,
        ["dependencies: not audited, the index that can be reached here has no advisories"],
    )
    said = "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n"
    assert audit.verdict("", said) == (0, [f"dependencies: not audited, {said.strip()}"])
