"""Settings that take nothing they do not know: their base, and how their faults are said."""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """Base of all settings: unknown keys, numbers that are not finite and later changes are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def renamed(default: Any, name: str, former: str) -> Any:
    """A field that is also read under its former name, so that configurations saved with results still load."""
    return Field(default, validation_alias=AliasChoices(name, former))


def check(model: type[Strict], content: Any, place: str):
    """Validate with one line per fault: place, key, rule, value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc'])) or '(all)'}: {e['msg']} (got {e['input']!r:.80})" for e in error.errors()
        ]
        raise ValueError(f"{place}: " + "; ".join(faults)) from None
