"""JSONL files (plain or gzip) -> checked rows, with every fault named by file, line and rule."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import yaml

from tsembed.tasks import TEXT_TASKS

from ..schema import clean

MAX_FAULTS = 10
_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---\s*(?:\n|$)", re.DOTALL)
UNTITLED = "untitled_text"  # a column of no file: a corpus text as it stands, without its title


class Faults:
    """Collects faults; `stop` raises them, and so does the `MAX_FAULTS`-th."""

    def __init__(self, root: Path):
        self.root, self.lines = root, []

    def add(self, path: Path, line: int | None, rule: str) -> None:
        """Note a fault of a file; raises them all at the `MAX_FAULTS`-th.

        Args:
            path: Inside the root, or the root itself.
            line: Counted from 1; None where the fault is not of one line.
            rule: What does not hold.

        Raises:
            ValueError: With all faults, at the `MAX_FAULTS`-th.
        """
        place = path.relative_to(self.root) if path != self.root else path
        self.lines.append(f"  {place}{f':{line}' if line else ''}: {rule}")
        if len(self.lines) >= MAX_FAULTS:
            self.lines.append("  (there may be more)")
            self.stop()

    def names(self, path: Path) -> bool:
        """Whether a fault of this file is among them."""
        return any(line.startswith(f"  {path.relative_to(self.root)}:") for line in self.lines)

    def stop(self) -> None:
        """Go on if there are no faults.

        Raises:
            ValueError: With a line per fault.
        """
        if self.lines:
            text = "\n".join(self.lines)
            raise ValueError(f"{self.root} does not follow the layout of docs/data_layout.md:\n{text}")


def read(path: Path, types: dict[str, str], faults: Faults) -> Iterator[tuple[int, dict]]:
    """Line number and checked row of every good line; the others go to `faults`."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield number, clean(_titled(_parsed(line), types), types)
                except ValueError as error:
                    faults.add(path, number, str(error))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        faults.add(path, None, f"not a complete gzip file ({error})")


def _parsed(line: bytes) -> dict:
    if not line.strip():
        raise ValueError("an empty line; every line is one JSON object")
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(row, dict):
        raise ValueError(f"a line is one JSON object, not {row!r:.60}")
    return row


def _titled(row: dict, types: dict[str, str]) -> dict:
    """A corpus row with its title before its text, as MTEB joins them; `UNTITLED`, if wanted, is the text alone."""
    if UNTITLED in types:
        row = row | {UNTITLED: row.get("text")}
    title = row.get("title") if "doc_id" in types and isinstance(row.get("text"), str) else None
    if title is None:
        return row
    if not isinstance(title, str):
        raise ValueError(f"'title' must be a text, not {title!r:.60}")
    return row | {"text": f"{title} {row['text']}".strip()}


def provenance(folder: Path) -> tuple[str, str]:
    """Origin and licence from the sentences `Origin: …` and `Licence…: …` of a README.md, else "not stated"."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    found = []
    for key in ("Origin", "Licence"):
        match = re.search(rf"^.*?\b{key}[^:\n]*:[ \t]*(.+?)\.?(?=\s+[A-Z][A-Za-z ]*:\s|\n|$)", text, re.MULTILINE)
        found.append(match[1].strip() if match else "not stated")
    return found[0], found[1]


def stated_task(folder: Path, faults: Faults) -> str | None:
    """The training task that a set of pairs names: in `task.json`, or in the YAML front matter of its README.md."""
    file, readme = folder / "task.json", folder / "README.md"
    if file.is_file():
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            return faults.add(file, None, f"not JSON ({error})")
    elif readme.is_file() and (front := _FRONT_MATTER.match(readme.read_text(encoding="utf-8"))):
        file = readme
        try:
            content = yaml.safe_load(front[1])
        except yaml.YAMLError as error:
            return faults.add(file, None, f"its front matter is not YAML ({' '.join(str(error).split())})")
        if not isinstance(content, dict) or "task" not in content:
            return None
    else:
        return None
    task = content.get("task") if isinstance(content, dict) else None
    if task not in TEXT_TASKS:
        faults.add(file, None, f"'task' must be one of {', '.join(TEXT_TASKS)}, not {task!r:.60}")
    return task
