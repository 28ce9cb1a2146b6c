"""The kinds of columns that rows are made of: what a value must be, in the words of the error, and how it is stored.

A column of a row class is annotated with one of them (`Text`, `Label`, …); a value that breaks its rule is one error
with the column, the rule and the value.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PlainValidator, ValidationInfo

Stored = Literal["text", "int", "float", "texts", "floats", "bytes", "ints"]


class Kind(NamedTuple):
    """The kind of a column: how it is stored, and in words what it must be."""

    stored: Stored
    rule: str


def _column(check: Callable[[Any, str], Any], stored: Stored, rule: str) -> tuple[PlainValidator, Kind]:
    return PlainValidator(lambda value, info: check(value, _name(info))), Kind(stored, rule)


def _name(info: ValidationInfo) -> str:
    return info.field_name or ""


def _text(value: Any, name: str, rule: str = "a text") -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be {rule}, not {value!r:.60}")
    if not value.strip():
        raise ValueError(f"{name!r} is empty")
    return value


def _label(value: Any, name: str) -> str:
    return str(value) if type(value) is int else _text(value, name, "a text or an integer")


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name!r} must be a finite number, not {value!r:.60}")
    return float(value)


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


_binary = _holds("0 or 1", lambda value: type(value) is int and value in (0, 1))
_maybe = _holds("a text, empty or not", lambda value: isinstance(value, str))
_integer = _holds("an integer", lambda value: type(value) is int)
_image = _holds(
    "the bytes of a picture, or None", lambda value: value is None or (isinstance(value, bytes) and bool(value))
)
_places = _holds(
    "a list of at least one row number",
    lambda value: isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value),
)

Text = Annotated[str, *_column(_text, "text", "text")]
Label = Annotated[str, *_column(_label, "text", "text or integer")]
Binary = Annotated[int, *_column(_binary, "int", "0 or 1")]
Number = Annotated[float, *_column(_number, "float", "number")]
Texts = Annotated[list[str], *_column(_list_of(_text), "texts", "list of texts")]
Numbers = Annotated[list[float], *_column(_list_of(_number), "floats", "list of numbers")]
MaybeText = Annotated[str, *_column(_maybe, "text", "text, may be empty")]
Integer = Annotated[int, *_column(_integer, "int", "integer")]
Image = Annotated[bytes | None, *_column(_image, "bytes", "encoded picture, or none")]
Places = Annotated[list[int], *_column(_places, "ints", "row numbers of another table")]
OptionalText = Annotated[str | None, *_column(_optional(_text), "text", "text")]
OptionalLabel = Annotated[str | None, *_column(_optional(_label), "text", "text or integer")]
OptionalTexts = Annotated[list[str] | None, *_column(_optional(_list_of(_text)), "texts", "list of texts")]
