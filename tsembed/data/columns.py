"""The kinds of columns that rows are made of: what a value must be, in the words of the error, and how it is stored.

A column of a row class is annotated with one of them (`Text`, `Label`, …); a value that breaks its rule is one error
with the column, the rule and the value.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PlainValidator, ValidationInfo

from ..texts import check_unicode, is_blank

Stored = Literal["text", "int", "float", "texts", "floats", "bytes", "ints"]

LARGEST_NUMBER = 1e15  # of a score; squares and sums of scores stay finite
HIGHEST_GRADE = 1000  # of a relevance judgement: the metrics of MTEB keep a table with a place per grade


class Kind(NamedTuple):
    """The kind of a column: how it is stored, and in words what it must be."""

    stored: Stored
    rule: str


def _column(check: Callable[[Any, str], Any], stored: Stored, rule: str) -> tuple[PlainValidator, Kind]:
    return PlainValidator(lambda value, info: check(value, _name(info))), Kind(stored, rule)


def _name(info: ValidationInfo) -> str:
    return info.field_name or ""


def text_of(value: Any, name: str, rule: str = "a text") -> str:
    """The value, if it is a text of which something can be seen.

    Args:
        value: Of a row.
        name: Of its column.
        rule: What it must be, in the words of the error.

    Raises:
        ValueError: With the column and the rule.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be {rule}, not {value!r:.60}")
    _unicode(value, name)
    if is_blank(value):
        raise ValueError(f"{name!r} is empty")
    return value


def _unicode(value: str, name: str) -> None:
    try:
        check_unicode(value)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None


def _maybe(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be a text, empty or not, not {value!r:.60}")
    _unicode(value, name)
    return value


def _label(value: Any, name: str) -> str:
    return str(value) if type(value) is int else text_of(value, name, "a text or an integer")


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or value != value or abs(value) == math.inf:
        raise ValueError(f"{name!r} must be a finite number, not {value!r:.60}")
    if abs(value) > LARGEST_NUMBER:
        raise ValueError(f"{name!r} must be a number of at most {LARGEST_NUMBER:.0e}, not {value!r:.60}")
    return float(value)


def _grade(value: Any, name: str) -> float:
    number = _number(value, name)
    if not number.is_integer() or abs(number) > HIGHEST_GRADE:
        raise ValueError(f"{name!r} must be a whole number from -{HIGHEST_GRADE} to {HIGHEST_GRADE}, not {value!r:.60}")
    return number


def _binary(value: Any, name: str) -> int:
    written = {"0": 0, "1": 1}
    if isinstance(value, str) and value.strip() in written:
        return written[value.strip()]
    if type(value) is not int or value not in (0, 1):
        raise ValueError(f"{name!r} must be 0 or 1, not {value!r:.60}")
    return value


def _holds(rule: str, holds: Callable[[Any], bool]) -> Callable[[Any, str], Any]:
    def check(value: Any, name: str) -> Any:
        if not holds(value):
            raise ValueError(f"{name!r} must be {rule}, not {value!r:.60}")
        return value

    return check


def _list_of(check: Callable[[Any, str], Any]) -> Callable[[Any, str], list]:
    def checked(value: Any, name: str) -> list:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{name!r} must be a list with at least one item, not {value!r:.60}")
        return [check(item, f"{name}[{i}]") for i, item in enumerate(value)]

    return checked


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value in (None, "", []) else check(value, name)


_integer = _holds("an integer", lambda value: type(value) is int)
_image = _holds(
    "the bytes of a picture, or None", lambda value: value is None or (isinstance(value, bytes) and bool(value))
)
_places = _holds(
    "a list of at least one row number",
    lambda value: isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value),
)

Text = Annotated[str, *_column(text_of, "text", "text")]
Label = Annotated[str, *_column(_label, "text", "text or integer")]
Id = Annotated[str, *_column(_label, "text", "text or integer")]
Binary = Annotated[int, *_column(_binary, "int", "0 or 1")]
Number = Annotated[float, *_column(_number, "float", "number")]
Grade = Annotated[float, *_column(_grade, "float", f"whole number up to {HIGHEST_GRADE}")]
Texts = Annotated[list[str], *_column(_list_of(text_of), "texts", "list of texts")]
Numbers = Annotated[list[float], *_column(_list_of(_number), "floats", "list of numbers")]
MaybeText = Annotated[str, *_column(_maybe, "text", "text, may be empty")]
Integer = Annotated[int, *_column(_integer, "int", "integer")]
Image = Annotated[bytes | None, *_column(_image, "bytes", "encoded picture, or none")]
Places = Annotated[list[int], *_column(_places, "ints", "row numbers of another table")]
OptionalText = Annotated[str | None, *_column(_optional(text_of), "text", "text")]
OptionalLabel = Annotated[str | None, *_column(_optional(_label), "text", "text or integer")]
OptionalTexts = Annotated[list[str] | None, *_column(_optional(_list_of(text_of)), "texts", "list of texts")]
