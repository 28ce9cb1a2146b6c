"""What is derived from a docstring record: its role by the leading verb, readable names, questions, parameter types."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from ..words import normalised, words
from .packages import Record
from .parsing import natural, sentences

# Role -> the verbs that give it where they open the summary. A verb has one role.
ROLES: dict[str, tuple[str, ...]] = {
    "return": ("return", "get", "yield", "give", "retrieve", "fetch", "obtain"),
    "compute": ("compute", "calculate", "evaluate", "estimate", "count", "solve", "fit", "predict"),
    "create": ("create", "construct", "build", "make", "generate", "produce", "initialize", "instantiate", "prepare"),
    "check": ("check", "test", "validate", "verify", "determine", "ensure", "assert"),
    "convert": ("convert", "transform", "cast", "translate", "encode", "decode", "normalize", "wrap"),
    "run": ("run", "perform", "apply", "execute", "call", "process", "start", "launch"),
    "set": ("set", "update", "reset", "configure", "change", "modify", "replace", "enable", "override"),
    "add": ("add", "register", "append", "insert", "attach", "merge", "join", "concatenate", "combine"),
    "remove": ("remove", "delete", "drop", "clear", "discard", "strip", "close", "clean", "unload"),
    "find": ("find", "search", "select", "extract", "filter", "locate", "infer", "resolve", "choose", "split"),
    "read": ("load", "read", "parse", "open", "import", "download", "deserialize", "receive"),
    "write": ("save", "write", "dump", "export", "store", "serialize", "send", "upload", "push"),
    "show": ("draw", "plot", "render", "show", "display", "print", "format", "visualize"),
}
_IRREGULAR = {
    "return": {"given", "gave", "got"},
    "create": {"built", "made", "making"},
    "run": {"ran"},
    "find": {"found", "chosen", "chose"},
    "show": {"drawn", "drew", "shown"},
    "write": {"wrote", "written", "sent"},
}
_NOUN_BEFORE = {"of", "is", "are", "was", "for", "with", "that", "which", "in", "on", "to", "as", "and", "or"}

# Documented type (its first alternative, lower case) -> class of parameter.
_TYPES: tuple[tuple[str, re.Pattern], ...] = (
    ("boolean", re.compile(r"bool(ean)?")),
    ("integer", re.compile(r"(positive |non-?negative )?int(eger)?")),
    ("number", re.compile(r"float|scalar|real|number|numeric|floating")),
    ("text", re.compile(r"str(ing)?")),
    ("callable", re.compile(r"callable.*|function|func")),
    ("array", re.compile(r"(array([_-]?like)?|(np\.)?ndarray|(torch\.)?\w*tensor)( of .*)?|\{?array-like")),
    ("mapping", re.compile(r"dict.*|mapping.*")),
    ("sequence", re.compile(r"(list|sequence|tuple|iterable)(\[.*| of .*|-like)?")),
)
_TYPE_WORDS = set(
    words("bool boolean booleans int integer integers float floats number numbers str string strings callable function")
    + words("functions array arrays ndarray tensor tensors dict dictionary mapping list lists tuple sequence iterable")
)


def forms(verb: str) -> set[str]:
    """The verb's inflected forms, and some that do not exist: they only find and exclude words.

    >>> {"get", "gets", "getting"} <= forms("get") and {"copies", "copied"} <= forms("copy")
    True
    """
    stem = verb[:-1] if verb[-1] in "ey" else verb
    regular = {stem + ending for ending in (("ies", "ied", "ying") if verb[-1] == "y" else ("es", "ed", "ing"))}
    return {verb, verb + "s", verb + verb[-1] + "ing", verb + verb[-1] + "ed"} | regular


_FORMS = {role: set().union(*map(forms, verbs)) | _IRREGULAR.get(role, set()) for role, verbs in ROLES.items()}
_OPENINGS = {opening: role for role, verbs in ROLES.items() for v in verbs for opening in (v, v + "s", v + "es")}


def role(record: Record) -> tuple[str, str] | None:
    """(role, summary without its verb), or None if the summary does not open with a verb of `ROLES`.

    The verb is cut off, and a summary that has another form of any verb of the same role is not used: the text never
    contains the word that gave the label.
    """
    opening, _, rest = record.summary.partition(" ")
    role_of_opening = _OPENINGS.get(opening.lower())
    tokens = words(rest)
    if (
        role_of_opening is None
        or len(tokens) < 3
        or tokens[0] in _NOUN_BEFORE
        or _FORMS[role_of_opening].intersection(tokens)
    ):
        return None
    return role_of_opening, rest


def readable(record: Record) -> str:
    """The object's name in words: `pkg.GraphMatcher.is_match` is "is match of graph matcher"."""
    parts = [_spaced(part) for part in record.qualname.split(".") if part != "__init__"]
    return " of ".join(part for part in reversed(parts[-2:]) if part)


def _spaced(name: str) -> str:
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)).lower()


def question(record: Record, parameter: str) -> str:
    """`What is the parameter {parameter} of {readable name}?`, both names split into words."""
    return f"What is the parameter {_spaced(parameter) or parameter} of {readable(record)}?"


def parameter_type(documented: str) -> str | None:
    """The class of a documented type, by its first alternative; None if it is none of the eight classes.

    >>> parameter_type("int, default 0"), parameter_type("list[str], *optional*"), parameter_type("Graph")
    ('integer', 'sequence', None)
    """
    kind = documented.lower().replace("optional[", "").strip()
    kind = re.split(r",|;| or | default| optional|\||\(", kind)[0].strip(" ]'\"")
    return next((name for name, pattern in _TYPES if pattern.fullmatch(kind)), None)


def says_type(text: str) -> bool:
    """Whether a description names a type, so that it would answer the question of its class."""
    return not _TYPE_WORDS.isdisjoint(words(text))


def first_words(sentences: Iterable[str], most: int) -> str:
    """Whole sentences from the start, joined, up to `most` words; "" if the first is longer."""
    words_so_far, count = [], 0
    for sentence in sentences:
        count += len(sentence.split())
        if count > most:
            break
        words_so_far.append(sentence)
    return " ".join(words_so_far)


@cache
def description(text: str, most: int = 40) -> str:
    """A parameter's description as used: whole sentences up to `most` words; "" if that is fewer than five words."""
    shortened = first_words([s for s in sentences(text, strict=False) if natural(s)], most)
    return shortened if len(shortened.split()) >= 5 else ""


def masked(records: list[Record]) -> dict[str, str]:
    """Masked summary -> role, without texts that are left over from two roles."""
    labels: dict[str, set[str]] = defaultdict(set)
    texts: dict[str, str] = {}
    for record in records:
        if labelled := role(record):
            label, text = labelled
            labels[normalised(text)].add(label)
            texts.setdefault(normalised(text), text)
    return {text: min(labels[k]) for k, text in texts.items() if len(labels[k]) == 1}
