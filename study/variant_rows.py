"""The rows of configs/variants/*.yaml: what is compared, and how each is drawn."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from tsembed.settings import Variant
from tsembed.strict import Strict, check

from . import paths

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML has the first where it was built with libyaml


class Look(Strict):
    """How a variant is drawn in figures. What is not given is picked by `study.report.method_styles`."""

    label: str | None = None  # where a figure has no room for the variant's label
    colour: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None
    marker: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # as matplotlib names it


def load_variants() -> dict[str, Variant]:
    """All rows of `configs/variants/*.yaml` by name."""
    return {name: variant for name, (variant, _) in _load_rows().items()}


def load_looks() -> dict[str, Look]:
    """The `look` of all rows of `configs/variants/*.yaml` by name.

    It is no field of `Variant`: a run's settings, and so its identity, do not depend on a colour.
    """
    return {name: look for name, (_, look) in _load_rows().items()}


def _load_rows() -> dict[str, tuple[Variant, Look]]:
    files = sorted((paths.CONFIGS / "variants").glob("*.yaml"))
    return _rows_of(tuple((path, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _rows_of(files: tuple[tuple[Path, int], ...]) -> dict[str, tuple[Variant, Look]]:
    """The rows of files in their state of some times: reading them anew for every run takes seconds."""
    rows: dict[str, tuple[Variant, Look]] = {}
    for path, _ in files:
        for name, row in read_yaml(path).items():
            if name in rows:
                raise ValueError(f"{path}: {name}: this variant is defined twice")
            look = row.get("look", {}) if isinstance(row, dict) else {}
            settings = {key: value for key, value in row.items() if key != "look"} if isinstance(row, dict) else row
            rows[name] = check(Variant, settings, f"{path}: {name}"), check(Look, look, f"{path}: {name}: look")
    return rows


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file of settings.

    Raises:
        ValueError: If it is not there, is no YAML in UTF-8, has a key twice, or holds something else; names the file.
    """
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ValueError(f"{path.stem!r} is not in {path.parent}; known: {names}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it in that encoding") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date or number that there is not
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, not {type(content).__name__}")
    if other := next((key for key in content if not isinstance(key, str)), None):
        raise ValueError(f"{path}: YAML reads the key {other!r} as {type(other).__name__}; write it in quotes")
    return content


class _UniqueKeys(_Loader):
    """Refuses a key that stands twice in one mapping, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        """The mapping, as PyYAML makes it."""
        lines: dict[str, int] = {}  # key -> its line; YAML's merge key `<<` is none
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.YAMLError(f"the key {key.value!r} of line {lines[key.value]} stands again in line {line}")
            lines[key.value] = line
        return super().construct_mapping(node, deep)
