"""What a folder of sentence-transformers says of its model beside the weights: pooling, length, prompts.

A model that was trained with one pooling and read with another is a worse model without any error, so these settings
are taken over, and what cannot be is refused.
"""

from pathlib import Path
from typing import Any, NamedTuple

from ..mote.checkpoint import read_json

# Class of a module, without its package -> whether it can be taken over; any other one changes the embedding.
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize", "TaskRoutedTransformer")
POOLING = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # their name -> ours
_FLAG = "pooling_mode_"  # before the names in older folders
_FLAGS = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "lasttoken"}


class FolderSettings(NamedTuple):
    """Settings that stand beside the weights."""

    pooling: str  # "mean", "cls" or "last"
    max_tokens: int | None  # special tokens included; None: not said
    prompts: dict[str, str]  # name -> text before an input


def folder_settings(name: str) -> FolderSettings | None:
    """The settings of a sentence-transformers folder; None where the model is none.

    Args:
        name: A folder.

    Raises:
        ValueError: If a module of the folder cannot be taken over (Dense changes the embedding after pooling), or it
            pools in a way that there is not here, prompt excluded among them.
    """
    modules = _read(name, "modules.json")
    if modules is None:
        return None
    pooling = "mean"
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if kind not in KNOWN_MODULES:
            raise ValueError(
                f"{name}: its module {module['path'] or module['idx']} is a {kind}, which changes the embedding behind "
                f"the encoder; known: {', '.join(KNOWN_MODULES)}. Save the model without it"
            )
        if kind == "Pooling":
            pooling = _pooling(name, _read(name, f"{module['path']}/config.json") or {})
    first = _read(name, "sentence_bert_config.json") or {}
    about = _read(name, "config_sentence_transformers.json") or {}
    return FolderSettings(pooling, first.get("max_seq_length"), dict(about.get("prompts") or {}))


def _pooling(name: str, config: dict[str, Any]) -> str:
    """Our name of the pooling in a `1_Pooling/config.json` of any version."""
    chosen = config.get("pooling_mode")
    if chosen is None:
        flags = [key.removeprefix(_FLAG) for key, is_set in config.items() if key.startswith(_FLAG) and is_set]
        chosen = [_FLAGS.get(flag, flag) for flag in flags]
    modes = [chosen] if isinstance(chosen, str) else list(chosen)
    if len(modes) != 1 or modes[0] not in POOLING:
        raise ValueError(f"{name}: it pools by {' and '.join(modes) or 'nothing'}; known: one of {', '.join(POOLING)}")
    if config.get("include_prompt", True) is False:
        raise ValueError(f"{name}: it pools without the prompt's tokens (include_prompt: false), which is not known")
    return POOLING[modes[0]]


def _read(name: str, file: str) -> Any:
    """The JSON of a file of a folder; None where it is missing."""
    path = Path(name, file)
    return read_json(path) if path.is_file() else None
