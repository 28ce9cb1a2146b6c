"""An executed notebook as the body of a page: formulas as MathML, no script, tables that fit."""

import html
import re
from pathlib import Path

from .safe_html import clean, fold_long_tables


def notebook_body(executed: Path, preset: str) -> str:
    """The notebook's cells as HTML that runs nothing, with links to the report's own files."""
    return fold_long_tables(clean(_local_links(_converted(executed), preset)))


def _converted(executed: Path) -> str:
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
    body = _fit_tables(body)
    return body.replace('<pre class="', '<pre tabindex="0" class="').replace("<pre>", '<pre tabindex="0">')


def _mathml(formula: str, display: str) -> str:
    from latex2mathml.converter import convert

    return convert(html.unescape(formula), display=display)


def _local_links(body: str, preset: str) -> str:
    """Links to the report's files, relative to a page one folder below the index."""
    return re.sub(rf'href="(?:\.\./)*(?:[^":]*/)?reports/{re.escape(preset)}/(figures|tables)/', r'href="../\1/', body)


def _fit_tables(body: str) -> str:
    """Tables that `display` wrote, which have no box of their own, in one that scrolls."""
    box = '<div class="table-box" role="region" aria-label="Table" tabindex="0">'
    pattern = r'(<div\b[^>]*class="table-box"[^>]*>\s*)?(<table\b.*?</table>)'
    return re.sub(pattern, lambda m: m[0] if m[1] else f"{box}{m[2]}</div>", body, flags=re.S)
