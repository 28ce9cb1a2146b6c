"""The offline HTML site of a preset: `python -m study site PRESET` writes reports/<preset>/index.html.

It reads what is on disk and nothing else: executed notebooks, figures, tables, runs. What is missing, it names as
missing. The same inputs give the same bytes.
"""

import argparse
import html
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from tsembed.files import write_text

from .. import paths
from ..analysis import claims, judgement, numerics
from ..notebooks import absent_from
from . import status
from .notebook import mark_of
from .style import COLUMN, STYLE
from .tables import claims as claim_tables

TEMPLATES = Path(__file__).parent / "templates"


class Page(NamedTuple):
    """One executed notebook as a page, at depth 1 below the index."""

    href: str
    title: str
    executed: Path
    parameters: dict[str, Any] | None  # None: the notebook has no mark, so it did not run to its end


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
    notebooks = _notebook_pages(preset)
    runs = {} if reference else _run_pages(preset)
    pages = {page.href: page for page in [*notebooks, *runs.values()]}
    for folder in ("notebooks", "runs"):
        for stale in (report / folder).glob("*.html"):
            if f"{folder}/{stale.name}" not in pages:
                stale.unlink()
    shared = {
        "preset": preset,
        "judged": claims.is_judged(preset),
        "notebooks": notebooks,
        "reference": reference,
        **_assets(),
    }
    template = _environment().get_template
    for page in pages.values():
        body = _local_links(_body(page.executed), preset)
        text = template("notebook.html.j2").render(**shared, page=page, body=body, root="../")
        write_text(report / page.href, text)
    rows = status.runs(preset, {k: v.href for k, v in runs.items()})
    index = template("index.html.j2").render(
        **shared,
        page=None,
        root="",
        about=_about(preset),
        headline=_headline(report),
        claims=_claims(preset, {page.executed.stem: page.href for page in notebooks}),
        figures=_figures(report),
        tables=_tables(report),
        runs=rows,
        costs=status.costs(rows),
        origins=status.origins(preset),
        data=status.data(preset),
    )
    write_text(report / "index.html", index)
    return report / "index.html"


def _notebook_pages(preset: str) -> list[Page]:
    """Pages of the executed notebooks, without one left over from a time when the preset had its runs."""
    left_over = _absent_notebooks(preset)
    executed = sorted((paths.report_dir(preset) / "notebooks").glob("[!.]*.ipynb"))
    executed = [p for p in executed if not p.name.endswith(".failed.ipynb") and p.stem not in left_over]
    return [_page(p, f"notebooks/{p.stem}.html") for p in executed]


def _absent_notebooks(preset: str) -> dict[str, str]:
    """Notebook -> the experiment that the preset lacks for it; empty for a preset that is not in configs/."""
    from ..presets import load_preset

    known = (paths.CONFIGS / "presets" / f"{preset}.yaml").is_file()
    return absent_from(load_preset(preset)) if known else {}


def _run_pages(preset: str) -> dict[str, Page]:
    """`<variant>/seed<k>` -> the page of its 10_train; runs that share a process share it."""
    pages = {}
    for executed in sorted((paths.RUNS / preset).glob("*/seed*/10_train.ipynb")):
        variant, seed = executed.parent.parent.name, executed.parent.name
        page = _page(executed, f"runs/{variant}-{seed}.html")
        page = page._replace(title=f"Run {variant}, {seed[:4]} {seed[4:]}")
        pages |= {f"{member}/{seed}": page for member in status.variants_of_node(preset, variant, int(seed[4:]))}
    return pages


def _page(executed: Path, href: str) -> Page:
    try:
        cells = json.loads(executed.read_text())["cells"]
    except (ValueError, KeyError):
        raise ValueError(f"{executed} is not a notebook; delete it and run the same command again") from None
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    heading = re.search(r"^# +(.+)$", prose, re.M)
    mark = mark_of(executed)
    parameters = json.loads(mark.read_text())["parameters"] if mark.is_file() else None
    return Page(href, heading[1].strip() if heading else executed.stem, executed, parameters)


def _body(executed: Path) -> str:
    """The notebook's cells as HTML, without scripts from elsewhere and with formulas as MathML."""
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class MathML(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return _mathml(body, "inline")

        def block_math(self, body: str) -> str:
            return _mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return _mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    class Exporter(HTMLExporter):
        def default_filters(self):
            yield from super().default_filters()
            yield "markdown2html", lambda source: MarkdownWithMath(renderer=MathML(escape=False)).render(source)

    exporter = Exporter(
        template_name="basic",
        embed_images=True,
        mathjax_url="",
        require_js_url="",
        mermaid_js_url="",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in ("application/javascript", "application/vnd.jupyter.widget-view+json"):
                output.get("data", {}).pop(kind, None)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'<table(?: border="1")?(?: class="dataframe")?>', '<table class="data">', body)
    body = re.sub(r"(<div class=\"[^\"]*output_(?:html|text)[^\"]*\")", r'\1 tabindex="0"', body)
    return body.replace('<pre class="', '<pre tabindex="0" class="').replace("<pre>", '<pre tabindex="0">')


def _mathml(formula: str, display: str) -> str:
    from latex2mathml.converter import convert

    return convert(html.unescape(formula), display=display)


def _local_links(body: str, preset: str) -> str:
    """Links to the report's files, relative to a page one folder below the index."""
    return re.sub(rf'href="(?:\.\./)*(?:[^":]*/)?reports/{re.escape(preset)}/(figures|tables)/', r'href="../\1/', body)


def _about(preset: str) -> str | None:
    import yaml

    path = paths.CONFIGS / "presets" / f"{preset}.yaml"
    return yaml.safe_load(path.read_text()).get("about") if path.is_file() else None


def _headline(report: Path) -> str | None:
    path = report / "tables" / "headline.html"
    return path.read_text() if path.is_file() else None


def _claims(preset: str, pages: dict[str, str]) -> dict[str, Any]:
    """Every measured claim as the index shows it, with the page of its notebook, and how many have which verdict."""
    if not (paths.REFERENCES / "claims.yaml").is_file():
        return {"all": 0, "rows": []}
    verdicts = numerics.collect(preset)
    measured = verdicts[verdicts.difference.notna()]
    rows = claim_tables.table(measured).assign(page=measured.notebook.map(pages), notebook=measured.notebook)
    rows = rows.astype(object).where(rows.notna(), None)
    return {
        "all": len(verdicts),
        "rows": rows.to_dict("records"),
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
    from pygments.formatters import HtmlFormatter

    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    code = HtmlFormatter(style="default").get_style_defs(".highlight")
    css = (TEMPLATES / "site.css").read_text()
    return {
        "css": f"{css}\n{code}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none }}",
        "script": (TEMPLATES / "site.js").read_text(),
    }


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
