"""Tables as a paper takes them: CSV, LaTeX (booktabs) and HTML of one data frame."""

import html
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from ..figures.words import number
from ..style import MISSING, links, target_of

if TYPE_CHECKING:
    from IPython.display import HTML


_NUMERIC = re.compile(r"\s*(p\s*[<=]\s*)?[+−–-]?[\d.,]*([eE][+-]?\d+)?\s*(%|\*+)?\s*([\[±(].*)?")
_HYPHEN = re.compile(r"(?<![\w.)-])-(?=\.?\d)")  # before a number; none of top-2, 1e-4, 2025-08-16
_MINUS_ZERO = re.compile(r"−0(?=(?:\.0+)?(?![\d.]))")
COLUMN_CHARACTERS = 46  # of a table that fits one column of a two-column page in \small
PHRASE = 20  # characters of a cell from which a page does not squeeze its column to a word
LONG = 40  # characters of a cell from which its column is set as paragraphs
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "<": r"$<$",
    ">": r"$>$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "|": r"$|$",
    "‖": r"$\Vert$",
    "«": "``",
    "»": "''",
    "“": "``",
    "”": "''",
    "’": "'",
    "…": r"\ldots{}",
    "§": r"\S{}",
    "\N{NO-BREAK SPACE}": "~",
    "²": r"$^2$",
    "³": r"$^3$",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "θ": r"$\theta$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "τ": r"$\tau$",
    "\n": " ",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "✕": r"$\times$",
}


def save(frame: pd.DataFrame, name: str, *, preset: str, caption: str, raw: pd.DataFrame | None = None) -> "HTML":
    """Write reports/<preset>/tables/<name>.{csv,tex,html}; what a notebook's cell displays for it.

    Args:
        frame: Cells as they are to be read; the first column names the row. Plain floats get two digits.
        name: Letters, digits, `_`, `-`, `.`.
        preset: Whose report it is for.
        caption: Plain text; says what the interval is and how many seeds there are.
        raw: The numbers behind, for the CSV; `frame` itself by default.

    Raises:
        ValueError: If `name` has other characters, or the frame is empty.
    """
    from IPython.display import HTML

    if frame.empty:
        raise ValueError(f"table {name!r} has no row")
    target = target_of(preset, "tables", name)
    cells = [[_text(v) for v in row] for row in frame.itertuples(index=False)]
    head = [str(c) for c in frame.columns]
    numeric = [j > 0 and all(_NUMERIC.fullmatch(row[j]) for row in cells) for j in range(len(head))]
    (frame if raw is None else raw).to_csv(f"{target}.csv", index=False)
    with open(f"{target}.tex", "w") as file:
        file.write(_tex(head, cells, numeric, caption, f"tab:{name}"))
    table = _html(head, cells, numeric, caption)
    with open(f"{target}.html", "w") as file:
        file.write(table)
    files = links(target, ("csv", "tex"))
    return HTML(f'<div class="table-box" role="region" aria-label="Table" tabindex="0">{table}</div><p>{files}</p>')


def interval(mean: float, low: float, high: float, digits: int = 2) -> str:
    """A mean with its interval; alone where there is none (one seed), or where it is a point.

    >>> interval(1.234, 0.98, 1.5), interval(1.234, float("nan"), float("nan"))
    ('1.23 [0.98, 1.50]', '1.23')
    """
    return _with_bounds(mean, low, high, digits, number)


def gain(value: float, digits: int = 2) -> str:
    """A difference with its sign.

    >>> gain(1.234), gain(-0.06), gain(float("nan"))
    ('+1.23', '−0.06', '–')
    """
    if not math.isfinite(value):
        return MISSING
    text = number(value, digits)
    return text if text.startswith("−") or not float(text) else f"+{text}"


def gain_interval(mean: float, low: float, high: float, digits: int = 2) -> str:
    """A difference with its sign and interval; alone where there is none, or where it is a point.

    >>> gain_interval(1.234, -0.5, 2), gain_interval(1.234, 1.234, 1.234)
    ('+1.23 [−0.50, +2.00]', '+1.23')
    """
    return _with_bounds(mean, low, high, digits, gain)


def bounds(low: float, high: float, digits: int = 2) -> str:
    """An interval of a difference alone.

    >>> bounds(-0.5, 2), bounds(float("nan"), float("nan"))
    ('[−0.50, +2.00]', '–')
    """
    return f"[{gain(low, digits)}, {gain(high, digits)}]" if math.isfinite(low) and math.isfinite(high) else MISSING


def margin(value: float, digits: int = 2) -> str:
    """The size of a difference in either direction.

    >>> margin(1.234), margin(float("nan"))
    ('±1.23', '–')
    """
    return f"±{value:.{digits}f}" if math.isfinite(value) else MISSING


def _with_bounds(mean: float, low: float, high: float, digits: int, text: Callable[[float, int], str]) -> str:
    if not math.isfinite(mean):
        return MISSING
    known = math.isfinite(low) and math.isfinite(high) and not math.isclose(low, high, abs_tol=1e-9)
    return text(mean, digits) + (f" [{text(low, digits)}, {text(high, digits)}]" if known else "")


def _text(value) -> str:
    """A cell as it is read: a minus of its own, no minus before zero, the mark of a missing value.

    Text is mended, too, so that no cell depends on who formatted it; hyphens of names stay.

    >>> _text("-0.25 [-1.0, 2.0]"), _text("-0.00"), _text("nan"), _text("TLR, top-2"), _text("1e-4"), _text(None)
    ('−0.25 [−1.0, 2.0]', '0.00', '–', 'TLR, top-2', '1e-4', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or value == "nan":
        return MISSING
    if isinstance(value, float):
        return number(value, 2)
    return _MINUS_ZERO.sub("0", _HYPHEN.sub("−", str(value)))


def latex(text: str) -> str:
    r"""The text with LaTeX's special characters escaped.

    >>> latex("50 % ± 1_a")
    '50 \\% $\\pm$ 1\\_a'
    """
    return "".join(_LATEX.get(c, c) for c in text)


def _tex(head: list[str], cells: list[list[str]], numeric: list[bool], caption: str, label: str) -> str:
    r"""The table in a float, at most as wide as the text around it: what is wider is scaled down.

    A table that no column of a two-column page takes is a `table*`, which spans both. Long text is set as paragraphs.
    """
    longest = [max(len(row[j]) for row in [head, *cells]) for j in range(len(head))]
    float_ = "table" if sum(longest) + 2 * len(head) <= COLUMN_CHARACTERS else "table*"
    kinds = "".join(_kind(n, characters) for n, characters in zip(numeric, longest, strict=True))
    lines = [
        r"% needs \usepackage{array, booktabs, graphicx}",
        rf"\begin{{{float_}}}[t]",
        r"\centering\small\setlength{\belowcaptionskip}{5pt}",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{{label}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        _row(head),
        r"\midrule",
        *map(_row, cells),
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\end{{{float_}}}",
    ]
    return "\n".join(lines) + "\n"


def _kind(numeric: bool, characters: int) -> str:
    if numeric:
        return "r"
    return r">{\raggedright\arraybackslash}p{22em}" if characters > LONG else "l"


def _row(cells: list[str]) -> str:
    r"""The row's LaTeX; a `[` at its start would be read as the option of the `\\` before it."""
    text = " & ".join(map(latex, cells)) + r" \\"
    return "{[}" + text[1:] if text.startswith("[") else text


def _html_class(numeric: bool, characters: int) -> str:
    if numeric:
        return ' class="number"'
    return ' class="long"' if characters > LONG else ' class="phrase"' if characters > PHRASE else ""


def _html(head: list[str], cells: list[list[str]], numeric: list[bool], caption: str) -> str:
    longest = [max(len(row[j]) for row in cells) for j in range(len(head))]
    kinds = [_html_class(n, characters) for n, characters in zip(numeric, longest, strict=True)]
    top = "".join(f'<th scope="col"{k}>{html.escape(c)}</th>' for c, k in zip(head, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row"{kinds[0]}>{html.escape(row[0])}</th>'
        + "".join(f"<td{k}>{html.escape(c)}</td>" for c, k in zip(row[1:], kinds[1:], strict=True))
        + "</tr>\n"
        for row in cells
    )
    return (
        f'<table class="data"><caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table>\n"
    )
