"""Docstrings of the pinned packages as records: parsed from their source files, never imported.

The same lock gives the same records on every machine: the list of packages is fixed, files that differ between builds
are left out, and a sha256 per package is pinned in `hashes.json`. After a change of the lock, of the list
or of the cleaning, `python -m study.suites.docstrings.packages --pin` writes the pins anew.
"""

import ast
import gc
import hashlib
import importlib.util
import json
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from . import parsing

PINS = Path(__file__).with_name("hashes.json")


class Package(NamedTuple):
    """One import package, the distribution that brings it, and the sub-folders that are read or left out."""

    name: str
    distribution: str
    licence: str
    only: tuple[str, ...] = ()  # paths below the package; () reads all
    without: tuple[str, ...] = ()


_TORCH = ("nn", "optim", "distributions", "utils", "distributed", "autograd", "amp")
# Training reads SEEN; evaluation reads both, but in SEEN only modules that training does not read (embedded.py).
SEEN = (
    Package("torch", "torch", "BSD-3-Clause", only=_TORCH),
    Package("transformers", "transformers", "Apache-2.0", without=("models",)),
    Package("scipy", "scipy", "BSD-3-Clause", without=("_lib",)),
    Package("sklearn", "scikit-learn", "BSD-3-Clause"),
    Package("matplotlib", "matplotlib", "PSF-based"),
    Package("numpy", "numpy", "BSD-3-Clause", without=("distutils", "f2py")),  # distutils: not on Python >= 3.12
    Package("huggingface_hub", "huggingface_hub", "Apache-2.0"),
    Package("datasets", "datasets", "Apache-2.0"),
    Package("sentence_transformers", "sentence-transformers", "Apache-2.0"),
    Package("peft", "peft", "Apache-2.0"),
    Package("accelerate", "accelerate", "Apache-2.0"),
    Package("IPython", "ipython", "BSD-3-Clause"),
    Package("pydantic", "pydantic", "MIT", without=("v1",)),
    Package("rich", "rich", "MIT"),
    Package("mpmath", "mpmath", "BSD-3-Clause"),
)
HELD_OUT = (
    Package("networkx", "networkx", "BSD-3-Clause"),
    Package("pandas", "pandas", "BSD-3-Clause"),
    Package("polars", "polars", "MIT"),
    Package("sqlalchemy", "SQLAlchemy", "MIT"),
    Package("sympy", "sympy", "BSD-3-Clause", without=("parsing", "polys", "physics")),
    Package("tornado", "tornado", "Apache-2.0"),
    Package("fontTools", "fonttools", "MIT"),
)
PACKAGES = SEEN + HELD_OUT

# Folders of tests, vendored copies and benchmarks; files that are generated or differ between builds.
_FOLDERS = {
    "tests",
    "test",
    "testing",
    "_testing",
    "benchmarks",
    "bench",
    "externals",
    "_vendor",
    "vendor",
    "vendored",
    "test_utils",
    "_external",
    "extern",
    "_extern",
    "array_api_compat",
    "array_api_extra",
    "generated",
    "examples",
}
_FILES = re.compile(
    r"(_?version|_?version_info|__config__|_distributor_init|setup|conftest"
    r"|testing\w*|test_\w+|\w+_test|dummy_\w+)\.py"
)
_GENERATED = re.compile(r"(?i)(auto-?generated|generated (by|from)|do not edit)")


@dataclass(frozen=True, slots=True)
class Record:
    """What one documented class, function or method says, in natural language.

    Args:
        module: Dotted name of the module that defines it.
        qualname: Name within the module, as in `Class.method`.
        summary: Its first sentence.
        body: The sentences of prose after it; may be empty.
        params: Parameter -> description.
        types: Parameter -> type as documented; may be "".
    """

    package: str
    module: str
    qualname: str
    kind: Literal["class", "function", "method"]
    summary: str
    body: tuple[str, ...]
    params: dict[str, str]
    types: dict[str, str]


def records(packages: Iterable[Package] = PACKAGES, root: Path | None = None) -> list[Record]:
    """All documented objects of the packages, in the order of the list, then of path and line.

    Args:
        packages: Those of the suite by default.
        root: Folder that holds the packages' folders; None takes the installed packages.

    Raises:
        ValueError: If a package is not found, or one of its files cannot be decoded or parsed; names the file.
    """
    with _no_collection():
        return [record for package in packages for record in _package_records(package, _folder(package, root))]


def _folder(package: Package, root: Path | None) -> Path:
    if root is not None:
        folder = Path(root) / package.name
    else:
        spec = importlib.util.find_spec(package.name)  # of a top-level name: finds, does not import
        folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if folder is None or not folder.is_dir():
        raise ValueError(f"package {package.name} ({package.distribution}) is not installed; install requirements.lock")
    return folder


def _files(package: Package, folder: Path) -> list[Path]:
    def wanted(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        if _FOLDERS.intersection(parts[:-1]) or _FILES.fullmatch(parts[-1]):
            return False
        return (not package.only or parts[0] in package.only) and parts[0] not in package.without

    return sorted((p for p in folder.rglob("*.py") if wanted(p)), key=lambda p: p.relative_to(folder).parts)


def _package_records(package: Package, folder: Path) -> Iterator[Record]:
    for path in _files(package, folder):
        try:
            source = path.read_bytes().decode("utf-8-sig")
            if _GENERATED.search(source[:600]):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in others' sources
                tree = ast.parse(source)
        except (UnicodeDecodeError, SyntaxError) as error:
            raise ValueError(f"{path}: a source file must be UTF-8 Python: {error}") from None
        parts = (package.name, *path.relative_to(folder).with_suffix("").parts)
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield from _walk(package.name, module, tree.body, "")


def _walk(package: str, module: str, body: list[ast.stmt], prefix: str) -> Iterator[Record]:
    """Documented definitions of a module or class body, outside in; not those inside functions."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _walk(package, module, node.body + node.orelse, prefix)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if re.fullmatch(r"__(?!init)\w+__", node.name):
            continue  # says what Python says
        is_class = isinstance(node, ast.ClassDef)
        qualname = f"{prefix}{node.name}"
        if docstring := ast.get_docstring(node, clean=False):
            text = parsing.parse(docstring)
            kind = "class" if is_class else "method" if prefix else "function"
            if text.summary:
                yield Record(package, module, qualname, kind, *text)
        if is_class:
            yield from _walk(package, module, node.body, f"{qualname}.")


@contextmanager
def _no_collection():
    """Without cyclic garbage collection: syntax trees are many objects and no cycles (a third faster)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def fingerprints(found: Iterable[Record]) -> dict[str, str]:
    """Package -> sha256 of its records, one JSON line each."""
    digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for record in found:
        content = {name: getattr(record, name) for name in Record.__slots__}
        line = json.dumps(content, sort_keys=True, ensure_ascii=False)
        digests[record.package].update(line.encode() + b"\n")
    return {name: digest.hexdigest() for name, digest in digests.items()}


def version(package: Package) -> str:
    """Installed version without a local part, so that CPU and CUDA builds of one release are equal."""
    try:
        return importlib.metadata.version(package.distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"


def pins() -> dict[str, dict[str, str]]:
    """Package -> {"version", "sha256"} as pinned."""
    return json.loads(PINS.read_text())


def check(found: Iterable[Record], pinned: dict[str, dict[str, str]] | None = None) -> None:
    """Compare the records of every pinned package with its pin.

    Raises:
        ValueError: Naming each package whose text differs, with its pinned and its installed version.
    """
    actual = fingerprints(found)
    by_name = {package.name: package for package in PACKAGES}
    faults = []
    for name, pin in (pins() if pinned is None else pinned).items():
        if actual.get(name) != pin["sha256"]:
            installed = version(by_name[name]) if name in by_name else "none"
            faults.append(
                f"{name}: expected version {pin['version']} with text {pin['sha256'][:12]}, "
                f"found version {installed} with text {actual.get(name, 'none')[:12]}"
            )
    if faults:
        raise ValueError("; ".join(faults) + "; install requirements.lock")


def main(arguments: list[str]) -> None:
    """`--pin` writes the pins of the installed packages."""
    if arguments != ["--pin"]:
        raise SystemExit("usage: python -m study.suites.docstrings.packages --pin")
    hashes = fingerprints(records())
    pinned = {p.name: {"version": version(p), "sha256": hashes[p.name]} for p in PACKAGES}
    PINS.write_text(json.dumps(pinned, indent=2) + "\n")
    print(f"{len(pinned)} packages pinned in {PINS.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
