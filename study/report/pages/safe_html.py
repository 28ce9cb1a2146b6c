"""HTML that notebooks wrote, made fit for a page: nothing that runs, tables that fit, a contents list.

Outputs hold texts of data sets. A page's content-security policy stops what runs; this takes it out before.
"""

import html
import re
from html.parser import HTMLParser
from typing import NamedTuple

# Elements that run, load or send something, or change what the page's own links mean. They become visible text.
REFUSED = frozenset(
    "script iframe frame frameset object embed applet form meta base link portal template noscript".split()
)
URLS = frozenset("href src action formaction xlink:href".split())
SAFE_URL = re.compile(r"(?:[^:/?#]*(?:[/?#]|$)|https?:|mailto:|data:image/(?:png|jpeg|gif|webp);)", re.I)
LONG_TABLE = 20  # rows of a table from which it is folded
_TABLE_BOX = re.compile(r'<div\b[^>]*class="table-box"[^>]*>\s*<table\b.*?</table>\s*</div>', re.S)
_HAS_VERDICTS = re.compile(r"<th[^>]*>Verdict</th>")
_CAPTION = re.compile(r"<caption>(.*?)</caption>", re.S)
_HEADING = re.compile(r'<h2\b[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', re.S)


class Heading(NamedTuple):
    """A heading of the second level."""

    anchor: str
    text: str


class _Cleaner(HTMLParser):
    """Writes what it reads; what may not stand in a page, as the text that it is."""

    def __init__(self):
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []

    def set_cdata_mode(self, elem: str, **options) -> None:
        if elem not in REFUSED:  # else a lone <script> would turn the rest of the page into its text
            super().set_cdata_mode(elem, **options)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)

    def _start(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = self.get_starttag_text() or ""
        if tag in REFUSED:
            self.parts.append(html.escape(raw, quote=False))
            return
        kept = [(name, value) for name, value in attrs if _is_safe(name, value or "")]
        if len(kept) == len(attrs):
            self.parts.append(raw)
            return
        listed = "".join(f' {name}="{html.escape(value or "")}"' for name, value in kept)
        self.parts.append(f"<{tag}{listed}>")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"&lt;/{tag}&gt;" if tag in REFUSED else f"</{tag}>")

    def handle_data(self, data: str) -> None:
        # A bracket that begins no element is text; a style sheet has its own.
        self.parts.append(data if self.cdata_elem == "style" else data.replace("<", "&lt;").replace(">", "&gt;"))

    def handle_entityref(self, name: str) -> None:
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.parts.append(f"&#{name};")


def _is_safe(name: str, value: str) -> bool:
    if name.startswith("on") or name == "srcdoc":
        return False
    return name not in URLS or SAFE_URL.match(re.sub(r"[\x00-\x20]", "", value)) is not None


def clean(body: str) -> str:
    """The HTML without what runs or loads: such elements as visible text, such attributes left out.

    >>> clean('<td onclick="x()">a &amp; b</td>'), clean("<script>alert(1)</script>")
    ('<td>a &amp; b</td>', '&lt;script&gt;alert(1)&lt;/script&gt;')
    >>> clean('<a href="java\\nscript:x()">a</a>'), clean('<a href="../figures/a.pdf#b">a</a>')
    ('<a>a</a>', '<a href="../figures/a.pdf#b">a</a>')
    """
    cleaner = _Cleaner()
    cleaner.feed(body)
    cleaner.close()
    return "".join(cleaner.parts)


def fold_long_tables(body: str) -> str:
    """The HTML with every table of `LONG_TABLE` rows or more behind its caption, to be opened.

    A table of verdicts is an answer, and stays open.
    """

    def folded(match: re.Match[str]) -> str:
        table = match[0]
        rows = table.count("<tr") - table.count("<thead")
        if rows < LONG_TABLE or _HAS_VERDICTS.search(table):
            return table
        caption = _CAPTION.search(table)
        name = caption[1] if caption else "A long table"
        return f'<details class="folded"><summary>{name} <span>({rows} rows)</span></summary>{table}</details>'

    return _TABLE_BOX.sub(folded, body)


def headings(body: str) -> list[Heading]:
    """The headings of the second level that have an anchor, for a contents list."""
    found = []
    for anchor, inner in _HEADING.findall(body):
        inner = re.sub(r'<a class="anchor-link".*?</a>', "", inner, flags=re.S)
        found.append(Heading(html.unescape(anchor), html.unescape(re.sub(r"<[^>]+>", "", inner)).strip()))
    return found
