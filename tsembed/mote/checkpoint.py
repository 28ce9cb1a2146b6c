"""A MoTE checkpoint on disk: config.json, model.safetensors and mote.json, read strictly.

Exports carry a copy of this file beside `experts.py`; it needs nothing but torch, transformers and the huggingface_hub
that comes with it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]  # name of a weight -> its shape


def expert_of(name: str) -> tuple[str | None, str]:
    """The expert that owns a weight (None: shared) and the weight's name in the dense encoder.

    Examples:
        >>> expert_of("layers.0.mlp.experts.clustering.up_proj.weight")
        ('clustering', 'layers.0.mlp.up_proj.weight')
    """
    before, expert, after = name.partition(".experts.")
    owner, _, after = after.partition(".")
    return (owner, f"{before}.{after}") if expert else (None, name)


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder itself, or where the files of a model of the hub lie on this machine, downloaded if need be.

    Args:
        name: A folder, or "organisation/model" of the hub. A folder of that name takes precedence.
        revision: Branch, tag or commit on the hub.

    Raises:
        ValueError: If there is no such folder and no such model on the hub, or the hub cannot be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(name)):
        raise ValueError(f"{name}: no such folder, and no name of the hub (organisation/model)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), revision=revision))
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name}: no such folder, and not read from the hub: {reason}") from error


def check_files(folder: Path) -> None:
    """Check that the files of a model folder are whole: settings are JSON, weights as long as they say.

    Raises:
        ValueError: With the file, if one is no JSON, is cut off, or is a pointer that Git LFS leaves in its place.
    """
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors") and p.is_file()):
        with path.open("rb") as file:
            start = file.read(40)
        if start.startswith(b"version https://git-lfs.github.com/spec/"):
            raise ValueError(f"{path}: a pointer of Git LFS and not the file itself; `git lfs pull` fetches it")
        if path.suffix == ".json":
            read_json(path)
        else:
            _check_length(path, int.from_bytes(start[:8], "little"))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: With the file, if it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None


def _check_length(path: Path, header: int) -> None:
    """Check that a safetensors file has all bytes of its tensors: 8 of the header's length, the header, the data."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            file.seek(8)
            entries = json.loads(file.read(min(header, size)))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        wanted = 8 + header + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path}: no readable safetensors file ({size:,} bytes); it may be cut off") from None
    if size < wanted:
        raise ValueError(f"{path}: cut off: it has {size:,} of {wanted:,} bytes")


def read_settings(folder: Path) -> tuple[Any, dict[str, str], list[int]]:
    """The dense encoder's config, the routes (route -> expert) and the indices of the blocks with experts.

    Raises:
        ValueError: If a file is missing, or mote.json is not {"routes": {route: expert}, "blocks": [index]}.
    """
    from transformers import AutoConfig

    if missing := [n for n in ("mote.json", "config.json", "model.safetensors") if not (folder / n).is_file()]:
        raise ValueError(f"{folder}: no {' and no '.join(missing)}, so this is no MoTE checkpoint")
    check_files(folder)
    place = folder / "mote.json"
    mote = read_json(place)
    sound = (
        isinstance(mote, dict)
        and set(mote) == {"routes", "blocks"}
        and isinstance(mote["routes"], dict)
        and all(isinstance(expert, str) for expert in mote["routes"].values())
        and isinstance(mote["blocks"], list)
        and all(type(index) is int for index in mote["blocks"])
    )
    if not sound:
        rule = '{"routes": {route: expert}, "blocks": [index]}'
        raise ValueError(f"{place}: must be {rule}, got {json.dumps(mote):.200}")
    return AutoConfig.from_pretrained(folder, trust_remote_code=False), mote["routes"], mote["blocks"]


def check_weights(place: Path, found: Shapes, wanted: Shapes, *, model_type: str, blocks: str) -> None:
    """Check that a file's weights are those of the model that config.json and mote.json describe.

    Args:
        place: The file, for the message.
        found: Shape per weight of the file.
        wanted: Shape per weight of the model.
        model_type: As config.json has it, for the message.
        blocks: Name of the model's list of blocks.

    Raises:
        ValueError: One line that says what the weights are of instead: another task map, choice of blocks, family
            or size.
    """
    file_experts, named = _experts(found), _experts(wanted)
    if lacking := sorted(named - file_experts):
        raise ValueError(f"{place}: has no experts {lacking}, which mote.json names; it has {sorted(file_experts)}")
    if unnamed := sorted(file_experts - named):
        raise ValueError(f"{place}: has experts {unnamed}, which no route of mote.json names; it names {sorted(named)}")
    there, expected_blocks = _blocks(found, blocks), _blocks(wanted, blocks)
    if there and there != expected_blocks:
        raise ValueError(f"{place}: has experts in blocks {there}, mote.json says {expected_blocks}")
    if other := sorted(set(wanted) ^ set(found)):
        has = "has no" if other[0] in wanted else "has"
        raise ValueError(
            f"{place}: these are no weights of model_type {model_type!r}, as config.json says: {len(other)} names "
            f"differ; the file {has} {other[0]}"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ValueError(f"{place}: {name} has shape {found[name]}, by config.json it must be {shape}")


def _experts(names: Shapes) -> set[str]:
    return {owner for owner, _ in map(expert_of, names) if owner is not None}


def _blocks(names: Shapes, blocks: str) -> list[int]:
    """Indices of the blocks that have experts; none, if the model's blocks are called something else."""
    within = [
        name.removeprefix(f"{blocks}.") for name in names if ".experts." in name and name.startswith(f"{blocks}.")
    ]
    return sorted({int(name.partition(".")[0]) for name in within})


def shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape per weight."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights into the model, which stores each as it comes: bf16 stays bf16."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(weights[name].dtype)
    model.load_state_dict(weights)
    model.config.dtype = next(model.parameters()).dtype
