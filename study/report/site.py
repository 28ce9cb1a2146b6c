"""The offline HTML site of a preset: `python -m study site PRESET` writes reports/<preset>/index.html.

It reads what is on disk and nothing else: executed notebooks, figures, tables, runs. What is missing, it names as
missing. The same inputs give the same bytes.
"""

import argparse
import base64
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from tsembed.files import write_text

from .. import paths
from ..analysis import claims, judgement, numerics
from ..analysis.overview import KINDS, kind_of
from ..notebooks import absent_from, analyses_of
from . import status
from .pages import first_page
from .pages.navigation import GROUPS, Page, fixed_pages, in_order, notebook_pages, run_page
from .pages.render import notebook_body
from .pages.safe_html import headings
from .style import COLUMN, STYLE
from .tables import claims as claim_tables

TEMPLATES = Path(__file__).parent / "templates"


def build(preset: str, *, into: Path | None = None, reference: dict[str, Any] | None = None) -> Path:
    """Write the site of a preset; its index.html.

    Args:
        preset: A name in configs/presets.
        into: A folder with the preset's figures/ and tables/; the report's own by default.
        reference: The content of reference.json, for the committed site: it says so, and leaves the pages of runs out.

    Raises:
        ValueError: If a notebook on disk is not valid JSON.
    """
    report = into or paths.report_dir(preset)
    report.mkdir(parents=True, exist_ok=True)
    planned, absent = _notebooks(preset)
    notebooks = notebook_pages(preset, planned, absent)
    pages = in_order([*fixed_pages(preset, with_runs=not reference), *notebooks])
    runs = {} if reference else _run_pages(preset)
    _remove_stale(report, {page.href for page in [*pages, *runs.values()]})
    write = _Writer(report, preset, pages, reference)
    for page in [*notebooks, *{run.href: run for run in runs.values()}.values()]:
        body = notebook_body(page.executed, preset) if page.executed else ""
        write(page, "notebook.html.j2", body=body, contents=headings(body))
    rows = status.runs(preset, {name: page.href for name, page in runs.items()})
    places = {Path(page.href).stem: page.href for page in notebooks}
    verdicts = numerics.collect(preset) if claims.claims() else None
    by_href = {page.href: page for page in pages}
    own = [row for row in rows if row["planned"]]
    left = {"absent": absent, "unfinished": [row for row in own if row["state"] != "done"]}
    overview = first_page.content(preset, report, verdicts, places)
    write(by_href["claims.html"], "claims.html.j2", claims=_claims(verdicts, places), tables=_tables(report))
    write(by_href["figures.html"], "figures.html.j2", figures=_figures(report), tables=_tables(report))
    if "runs.html" in by_href:
        write(by_href["runs.html"], "runs.html.j2", runs=rows, costs=status.costs(rows))
    write(by_href["data.html"], "data.html.j2", data=status.data(preset))
    write(by_href["provenance.html"], "provenance.html.j2", origins=status.origins(preset))
    # the last one: where it is, the report is whole
    write(
        by_href["index.html"], "index.html.j2", about=_about(preset), rows=own, notebooks=notebooks, **overview, **left
    )
    return report / "index.html"


class _Writer:
    """Writes pages, each with its navigation."""

    def __init__(self, report: Path, preset: str, pages: list[Page], reference: dict[str, Any] | None):
        self.report, self.pages, self.environment = report, pages, _environment()
        self.shared = {
            "preset": preset,
            "judged": claims.is_judged(preset),
            "reference": reference,
            "runs_text": status.runs_text(reference) if reference else "",
            "groups": [(name, [p for p in pages if p.group == name]) for name in GROUPS],
            **_assets(),
        }

    def __call__(self, page: Page, template: str, **content: Any) -> None:
        place = next((i for i, other in enumerate(self.pages) if other.href == page.href), None)
        around = {"before": None, "after": None}
        if place is not None:
            around["before"] = self.pages[place - 1] if place else None
            around["after"] = self.pages[place + 1] if place + 1 < len(self.pages) else None
        content = {"contents": []} | content
        text = self.environment.get_template(template).render(
            **self.shared, **around, **content, page=page, root=page.root
        )
        write_text(self.report / page.href, text)


def _remove_stale(report: Path, hrefs: set[str]) -> None:
    """Delete the pages of notebooks and runs that are gone."""
    for folder in ("notebooks", "runs"):
        for page in (report / folder).glob("*.html"):
            if f"{folder}/{page.name}" not in hrefs:
                page.unlink()


def _notebooks(preset: str) -> tuple[list[str], dict[str, str]]:
    """Notebooks that read the preset's results, and what it lacks for each other one; none if it is not in configs/."""
    from ..presets import load_preset

    if not (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file():
        return [], {}
    known = load_preset(preset)
    return analyses_of(known), absent_from(known)


def _run_pages(preset: str) -> dict[str, Page]:
    """`<variant>/seed<k>` -> the page of its 10_train; runs that share a process share it."""
    pages = {}
    for executed in sorted((paths.RUNS / preset).glob("*/seed*/10_train.ipynb")):
        variant, seed = executed.parent.parent.name, executed.parent.name
        page = run_page(executed, f"runs/{variant}-{seed}.html", f"Run {variant}, {seed[:4]} {seed[4:]}")
        pages |= {f"{member}/{seed}": page for member in status.variants_of_node(preset, variant, int(seed[4:]))}
    return pages


def _about(preset: str) -> str | None:
    import yaml

    path = paths.CONFIGS / "presets" / f"{preset}.yaml"
    return yaml.safe_load(path.read_text()).get("about") if path.is_file() else None


def _claims(verdicts: pd.DataFrame | None, pages: dict[str, str]) -> dict[str, Any]:
    """Every measured claim as a page shows it, kind by kind, and how many have which verdict."""
    if verdicts is None:
        return {"all": 0, "kinds": []}
    measured = verdicts[verdicts.difference.notna()]
    rows = claim_tables.table(measured).assign(page=measured.notebook.map(pages), notebook=measured.notebook)
    rows = rows.assign(
        kind=[kind_of(*row) for row in measured[["source", "quantity", "notebook"]].itertuples(index=False)]
    )
    rows = rows.astype(object).where(rows.notna(), None)
    return {
        "all": len(verdicts),
        "measured": len(rows),
        "kinds": [(kind, rows[rows.kind == kind].to_dict("records")) for kind in KINDS if (rows.kind == kind).any()],
        "counts": judgement.counts(verdicts),
        "reasons": judgement.open_reasons(verdicts),
        "decided": int((verdicts.scope != "").sum()),
        "surviving": int((verdicts.survives != "").sum()),
    }


def _figures(report: Path) -> list[dict[str, str]]:
    """The gallery: figures of the analyses, with the captions that their PNGs hold."""
    from PIL import Image

    gallery = []
    for path in sorted((report / "figures").glob("*.png")):
        with Image.open(path) as image:
            (width, height), caption = image.size, image.info.get("Description", path.stem)
        wide = width > 1.5 * COLUMN * STYLE["savefig.dpi"]
        gallery.append({"name": path.stem, "caption": caption, "width": width, "height": height, "wide": wide})
    return gallery


def _tables(report: Path) -> list[str]:
    return [p.stem for p in sorted((report / "tables").glob("*.csv"))]


def _assets() -> dict[str, str]:
    """Style and script of every page, and the policy that lets this one script run and nothing be loaded."""
    from pygments.formatters import HtmlFormatter

    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    code = HtmlFormatter(style="default").get_style_defs(".highlight")
    css = (TEMPLATES / "site.css").read_text()
    script = (TEMPLATES / "site.js").read_text()
    return {
        "css": f"{css}\n{code}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none }}",
        "script": script,
        "policy": content_security_policy(script),
    }


def content_security_policy(script: str) -> str:
    """The policy of a page with one inline script: no other runs, and nothing is loaded but the report's own pictures.

    Styles may stand in attributes, which notebooks write; they can load nothing either.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def main(arguments: list[str] | None = None) -> None:
    """`python -m study site`: write the report and print where its first page is."""
    parser = argparse.ArgumentParser(prog="python -m study site", description="Build a preset's HTML report.")
    parser.add_argument("preset", help="a name in configs/presets")
    print(build(parser.parse_args(arguments).preset))
