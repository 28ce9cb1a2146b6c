"""The pages of a report, their groups and their order."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ... import paths
from ..notebook import mark_of

OVERVIEW, MOTE, TSEMBED, COST, CLAIMS, DATA = "Overview", "MoTE", "TSEmbed", "Cost", "Claims", "Data and runs"
GROUPS = (OVERVIEW, MOTE, TSEMBED, COST, CLAIMS, DATA)
GROUP_OF_NUMBER = {"2": MOTE, "3": TSEMBED, "4": COST, "9": CLAIMS}  # by the first digit of a notebook
DONE, UNFINISHED, FAILED, MISSING = "done", "not finished", "failed", "missing"


class Page(NamedTuple):
    """One page of a report."""

    href: str  # from the report's folder
    title: str
    label: str  # in the navigation
    group: str
    executed: Path | None = None  # the notebook that it shows
    parameters: dict[str, Any] | None = None  # None: the notebook has no mark, so it did not run to its end
    state: str = DONE
    fault: str = ""  # the error that ended the notebook

    @property
    def root(self) -> str:
        """From the page to the report's folder."""
        return "../" * self.href.count("/")


def fixed_pages(preset: str, *, with_runs: bool) -> list[Page]:
    """The pages that every report has, in their order, without the notebooks'."""
    pages = [
        Page("index.html", "Overview", OVERVIEW, OVERVIEW),
        Page("claims.html", "What holds: every claim and question", "Verdicts", CLAIMS),
        Page("figures.html", "Figures and tables", "Figures and tables", DATA),
        Page("runs.html", "Runs and what they cost", "Runs", DATA),
        Page("data.html", "Data", "Data", DATA),
        Page("provenance.html", "Provenance: code, versions, machine", "Provenance", DATA),
    ]
    return [page for page in pages if with_runs or page.href != "runs.html"]


def notebook_pages(preset: str, planned: Sequence[str], left_out: Iterable[str]) -> list[Page]:
    """A page per notebook that was executed or is planned, in the order of their numbers.

    Args:
        preset: A name in configs/presets.
        planned: Notebooks that read the preset's results; one of them that was not executed gets a page that says so.
        left_out: Notebooks that the preset no longer has; what an earlier run left of them is not shown.

    Raises:
        ValueError: If a notebook on disk is not valid JSON.
    """
    folder = paths.report_dir(preset) / "notebooks"
    names = {path.name.removesuffix(".ipynb").removesuffix(".failed") for path in folder.glob("[!.]*.ipynb")}
    return [_notebook_page(folder, name) for name in sorted({*names, *planned} - set(left_out))]


def _notebook_page(folder: Path, name: str) -> Page:
    executed, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    source = next((path for path in (executed, failed, paths.NOTEBOOKS / f"{name}.ipynb") if path.is_file()), None)
    label = re.sub(r"^\d+_", "", name).replace("_", " ").capitalize()
    group = GROUP_OF_NUMBER.get(name[:1], DATA)
    page = Page(f"notebooks/{name}.html", name, _LABELS.get(label, label), group, state=MISSING)
    if source:
        page = page._replace(title=_heading(source) or name)
    if failed.is_file():
        shown = executed if executed.is_file() else failed
        return page._replace(executed=shown, state=FAILED, fault=_fault(failed))
    if not executed.is_file():
        return page
    mark = mark_of(executed)
    parameters = json.loads(mark.read_text())["parameters"] if mark.is_file() else None
    return page._replace(executed=executed, parameters=parameters, state=DONE if mark.is_file() else UNFINISHED)


_LABELS = {"Tsembed": "TSEmbed", "Claims": "How sure the rule is", "Efficiency": "Time and memory"}


def run_page(executed: Path, href: str, title: str) -> Page:
    """The page of a single run.

    Raises:
        ValueError: If the notebook is not valid JSON.
    """
    _cells(executed)
    mark = mark_of(executed)
    parameters = json.loads(mark.read_text())["parameters"] if mark.is_file() else None
    return Page(href, title, title, DATA, executed, parameters, DONE if mark.is_file() else UNFINISHED)


def in_order(pages: Sequence[Page]) -> list[Page]:
    """The pages group by group; a group's own order is kept."""
    return [page for group in GROUPS for page in pages if page.group == group]


def _heading(notebook: Path) -> str | None:
    prose = "\n".join("".join(c["source"]) for c in _cells(notebook) if c["cell_type"] == "markdown")
    heading = re.search(r"^# +(.+)$", prose, re.M)
    return heading[1].strip() if heading else None


def _fault(notebook: Path) -> str:
    """Name and message of the error in a notebook; the last one, which ended it."""
    errors = [o for cell in _cells(notebook) for o in cell.get("outputs", []) if o.get("output_type") == "error"]
    return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else "The kernel gave no message."


def _cells(notebook: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(notebook.read_text())["cells"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{notebook} is not a notebook; delete it and run the same command again") from None
