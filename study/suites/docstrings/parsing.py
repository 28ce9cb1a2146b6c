"""From a raw docstring to natural language: summary, prose, and what is said about each parameter.

Three conventions are understood: numpydoc (underlined section titles), Google (`Args:` and an indented block) and
reStructuredText fields (`:param x:`). Everything that is not prose (examples, code, tables, formulas, lists of
parameters, references) is left out; a sentence with markup that cannot be turned into words is left out as a whole.
"""

import re
from functools import cache
from typing import NamedTuple

SENTENCE_WORDS = (3, 60)  # a shorter or longer sentence is not used
DESCRIPTION_LINES = 8  # of a parameter; the rest is not read
NATURAL = 0.7  # least share of a sentence's tokens that look like words

_PROSE = {"", "note", "notes", "description", "details", "extended summary", "summary", "overview"}
_PARAMETERS = {
    "parameters",
    "parameter",
    "args",
    "arguments",
    "other parameters",
    "keyword args",
    "keyword arguments",
    "params",
    "kwargs",
}
_TITLES = (
    _PROSE
    | _PARAMETERS
    | {
        "return",
        "returns",
        "yield",
        "yields",
        "raises",
        "raise",
        "warns",
        "warning",
        "warnings",
        "attributes",
        "methods",
        "example",
        "examples",
        "input",
        "inputs",
        "output",
        "outputs",
        "shape",
        "reference",
        "references",
        "see also",
        "usage",
        "tip",
        "todo",
        "caution",
        "properties",
        "class attributes",
        "variables",
        "side effects",
        "history",
    }
)
_GOOGLE = re.compile(r"([A-Z][A-Za-z ]{2,24}?)\s*::?")
_UNDERLINE = re.compile(r"([-=~^*#\"])\1{2,}")
_FIELD = re.compile(r":(\w+)(?:[ ]+([^:]+?))?:(?:\s+(.*)|$)")
_DIRECTIVE = re.compile(r"\.\.(?:\s+|$)(?:([\w:-]+?)::)?")
_KEPT_DIRECTIVES = {"note", "warning", "tip", "important", "caution", "hint", "attention", "admonition"}
_BULLET = re.compile(r"(?:[-*+•]|\(?(?:\d{1,2}|[a-z])[.)])\s+")
_RULED = re.compile(r"[\s=+|~^\"#*:.-]+|[|+].*")
_NUMPY_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?::\s*(.*))?")
_GOOGLE_ITEM = re.compile(r"[-*]?\s*[`*]{0,2}(\w+)[`*]{0,2}\s*(?:\((.*?)\))?\s*:(?:\s+(.*)|$)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|cf|vs|fig|figs|al|resp|eq|eqs|no|ref|refs|approx|incl|sec|dr|ch|p|pp)|\b[A-Z])\.$", re.I
)
_BETWEEN = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(\x00])")
_ASIDE = re.compile(
    r"(?i:todo|see |for (?:more|further) |refer to )|[A-Z]\. ?([A-Z]\. ?)?[A-Z][a-z]+,"
)  # says nothing itself
_WORDLIKE = re.compile(r"[(\"'\[]*[A-Za-z]+(?:[-'/][A-Za-z]+)*[)\"'\]]*[.,;:!?)\"'\]]*")
_REJECTED = re.compile(r"[\x00`\\|{}$<>^~@]|==|::|>>>|__|\w\(\w*[^)\s]*$|:\w+:")
_UNSAID = "\x00"  # stands for markup without words: its sentence is left out

_INLINE: tuple[tuple[re.Pattern, str], ...] = (
    (
        re.compile(
            r"</?(?:tip|br|p|img|a|div|code|b|i|em|li|ul|ol|pre|span|strong|h\d|frameworkcontent)\b[^<>]*>", re.I
        ),
        " ",
    ),
    (re.compile(r":math:`[^`]*`|\$[^$\n]+\$"), _UNSAID),
    (re.compile(r"\[`~?(?:[\w.]*\.)?(\w+)(?:\(\))?`\](?:\([^)]*\)|\[[^\]]*\])?"), r"\1"),
    (re.compile(r":[\w:+-]+:`~(?:[^`]*\.)?([^`.]+)`"), r"\1"),
    (re.compile(r":[\w:+-]+:`[.!]?(?:_\w+\.)?([^`<]+?)(?:\s*<[^`>]*>)?`"), r"\1"),
    (re.compile(r"``([^`\n]+?)``"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"\[([^\]\n]+)\]\(\s*[^)\s]+\s*\)"), r"\1"),
    (re.compile(r"\s*\[[\w*#:, +-]+\]_+(?!\w)"), ""),
    (re.compile(r"`[~.]?([^`\n]+?)`_{0,2}(?!\w)"), r"\1"),
    (re.compile(r"(?:https?|ftp)://\S+|\bwww\.\S+"), _UNSAID),
    (re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])"), r"\2"),
    (re.compile(r"(?<!\w)_([A-Za-z][^_\n]*[A-Za-z])_(?!\w)"), r"\1"),
    (re.compile(r"\|(\w+)\|"), r"\1"),
    (re.compile(r"\\ "), ""),
    (re.compile(r"\\([*_`'\"|])"), r"\1"),
    (re.compile(r"(?<=\w)\(\)"), ""),
    (re.compile(r"\b([A-Za-z]\w+)_(?=[\s.,;)]|$)"), r"\1"),
)

_MARKED = re.compile(r"[`*_\[<$|\\]|\(\)|://|www\.")  # without any of these, no pattern of _INLINE matches


class Text(NamedTuple):
    """What a docstring says: one sentence, the other sentences, and {parameter: description}, {parameter: type}."""

    summary: str
    body: tuple[str, ...]
    params: dict[str, str]
    types: dict[str, str]


def parse(docstring: str) -> Text:
    """Summary, prose and parameters of a raw docstring; the summary is "" where there is no natural first sentence.

    >>> parse("Add two numbers. Slowly.\\n\\nArgs:\\n    a (int): The number to start from.").params
    {'a': 'The number to start from.'}
    """
    params: dict[str, str] = {}
    types: dict[str, str] = {}
    prose: list[str] = []
    raw = docstring.expandtabs().splitlines()
    for title, lines in _sections(_dedent(raw)) if len(raw) > 1 else [("", raw)]:
        if title in _PROSE:
            prose += _paragraphs(lines)
        elif title in _PARAMETERS:
            for name, kind, described in _items(lines):
                if (description := _description(described)) and name not in params:
                    params[name] = description
                    types[name] = _inline(kind)
    first = sentences(prose[0], strict=False) if prose else [""]
    summary = first[0] if natural(first[0]) else ""
    body = [s for s in first[1:] if natural(s)] + [s for p in prose[1:] for s in sentences(p)]
    return Text(_finished(summary), tuple(map(_finished, body)), params, types)


@cache
def natural(sentence: str) -> bool:
    """Whether a cleaned sentence reads as language: no markup left, mostly words, not an announcement of code."""
    tokens = sentence.split()
    if _ASIDE.match(sentence):
        return False
    if not SENTENCE_WORDS[0] <= len(tokens) <= SENTENCE_WORDS[1]:
        return False
    if (
        _REJECTED.search(sentence)
        or sentence.endswith((":", "e.g.", "i.e.", "by."))
        or sentence.count("(") != sentence.count(")")
    ):
        return False
    return sum(1 for t in tokens if t.isalpha() or _WORDLIKE.fullmatch(t)) >= NATURAL * len(tokens)


def sentences(paragraph: str, strict: bool = True) -> list[str]:
    """The sentences of one cleaned paragraph; with `strict`, only the natural ones."""
    found: list[str] = []
    for part in _BETWEEN.split(paragraph) if _BETWEEN.search(paragraph) else [paragraph]:
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + part
        else:
            found.append(part)
    return [s for s in found if natural(s)] if strict else found


def _finished(sentence: str) -> str:
    return sentence if not sentence or sentence[-1] in ".!?" else sentence.rstrip(" ,;") + "."


def _dedent(lines: list[str]) -> list[str]:
    """Lines without the common indentation of all lines but the first (as PEP 257; the same on every Python)."""
    rest = [line for line in lines[1:] if line.strip()]
    margin = min((_indent(line) for line in rest), default=0)
    return [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])] if lines else []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(lines: list[str], start: int, indent: int) -> int:
    """Index after the block that begins at `start`: blank lines and lines indented deeper than `indent`."""
    while start < len(lines) and (not lines[start].strip() or _indent(lines[start]) > indent):
        start += 1
    return start


def _sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    """(lower-case title, lines) in order; the opening has the title ""; fields become parameter sections."""
    found: list[tuple[str, list[str]]] = [("", [])]
    i = 0
    while i < len(lines):
        line = lines[i].strip()
        underlined = i + 1 < len(lines) and 0 < len(line) < 50 and _UNDERLINE.fullmatch(lines[i + 1].strip())
        google = line.endswith(":") and _GOOGLE.fullmatch(line)
        field = line.startswith(":") and _FIELD.match(line)
        if underlined:
            found.append((line.lower().rstrip(":"), []))
            i += 2
        elif google and google[1].lower() in _TITLES and _indent(lines[i]) <= 4:
            end = _block(lines, i + 1, _indent(lines[i]))
            found += [(google[1].lower(), lines[i + 1 : end]), (found[-1][0], [])]
            i = end
        elif field:
            end = _block(lines, i + 1, _indent(lines[i]))
            if field[1] in ("param", "parameter", "arg", "keyword", "kwarg") and field[2]:
                *kind, name = field[2].split()
                item = f"{name.strip('*')} ({' '.join(kind)}): {field[3] or ''}"
                found += [("args", [item, *(" " + x for x in lines[i + 1 : end])]), (found[-1][0], [])]
            i = end
        else:
            found[-1][1].append(lines[i])
            i += 1
    return found


def _items(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """(name, documented type, lines of the description) of a parameter section of either convention."""
    filled = [_indent(line) for line in lines if line.strip()]
    base, found, i = min(filled, default=0), [], 0
    while i < len(lines):
        line, end = lines[i].strip(), _block(lines, i + 1, base)
        described = lines[i + 1 : end]
        google, numpy = _GOOGLE_ITEM.fullmatch(line), _NUMPY_ITEM.fullmatch(line)
        typed = numpy and (not google or re.match(r"\*{0,2}\w+\s+:", line))
        if typed and any(x.strip() for x in described):
            found.append((numpy[1], numpy[2] or "", described))
        elif google:
            found.append((google[1], google[2] or "", [google[3] or "", *described]))
        i = end
    return found


def _description(lines: list[str]) -> str:
    """The natural sentences of a parameter's description; "" if its first sentence is not one."""
    paragraphs = _paragraphs(_dedent(["", *lines[:DESCRIPTION_LINES]]))
    if not paragraphs or not natural(sentences(paragraphs[0], strict=False)[0]):
        return ""
    return " ".join(_finished(s) for p in paragraphs for s in sentences(p))


def _paragraphs(lines: list[str]) -> list[str]:
    """Cleaned paragraphs and list items of prose, without code, tables, directives and examples."""
    found: list[list[str]] = [[]]
    i = 0
    while i < len(lines):
        line, indent = lines[i].strip(), _indent(lines[i])
        directive = line.startswith("..") and _DIRECTIVE.match(line)
        if line.startswith(("```", "~~~")):
            _cut_open(found)
            closed = next((j for j in range(i + 1, len(lines)) if lines[j].strip().startswith(line[:3])), len(lines))
            found.append([])
            i = closed + 1
        elif line.startswith((">>>", "In [")):
            _cut_open(found)
            i = next((j for j in range(i, len(lines)) if not lines[j].strip()), len(lines))
        elif directive and directive[1] in _KEPT_DIRECTIVES:
            found.append([line[directive.end() :].strip()])
            i += 1
        elif directive:
            _cut_open(found)
            found.append([])
            i = _block(lines, i + 1, indent)
        elif line.startswith("!!!"):  # an admonition's title in Markdown
            found.append([])
            i += 1
        elif not line or (not line[0].isalnum() and _RULED.fullmatch(line)) or line.startswith("#"):
            found.append([])
            i += 1
        elif not found[-1] and _announced(found) and indent >= 2 and not _BULLET.match(line):
            _cut_open(found)
            i = _block(lines, i + 1, indent - 1)
        else:
            bullet = _BULLET.match(line)
            if bullet:
                found.append([])
            found[-1].append(line[bullet.end() :] if bullet else line)
            i += 1
    return [cleaned for part in found if (cleaned := _inline(" ".join(part)))]


def _cut_open(found: list[list[str]]) -> None:
    """Mark the last paragraph's last sentence as unsaid if it is unfinished, as it goes on in the block left out."""
    last = next((part for part in reversed(found) if part), None)
    if last and last[-1][-1] not in ".!?)":
        last[-1] += _UNSAID


def _announced(found: list[list[str]]) -> bool:
    """Whether the last paragraph ends with a colon, so that an indented block after it is code or a formula."""
    last = next((part for part in reversed(found) if part), None)
    return bool(last) and last[-1].rstrip(_UNSAID).endswith(":")


def _inline(text: str) -> str:
    if _MARKED.search(text):
        for pattern, replacement in _INLINE:
            text = pattern.sub(replacement, text)
    return " ".join(text.split())
