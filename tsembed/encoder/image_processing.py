"""Pictures as a backbone takes them: how many tokens one has, its pixel inputs, and features kept between passes."""

import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..inputs import Input, open_image

MOST_THREADS = 8  # of one process that read pictures
PIECE = 4  # pictures of one call: it copies the pixels of all of them once more, and of few that is quicker
LARGE = 8000  # bytes of an encoded picture, in the mean: what smaller ones cost is Python's, and it lets nobody work


class ImageFamily(NamedTuple):
    """How a family of models reads pictures.

    Attributes:
        processor: module:class of its image processor that needs Pillow alone (no torchvision).
        tokens: What stands before a picture, for each of its features, and after it.
        tower: The module that makes the features.
    """

    processor: str
    tokens: tuple[str, str, str]
    tower: str = "visual"


_QWEN_TOKENS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
_QWEN_PROCESSOR = "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil"
IMAGE_FAMILIES: dict[str, ImageFamily] = {  # by config.model_type
    "qwen2_vl": ImageFamily(_QWEN_PROCESSOR, _QWEN_TOKENS),
    "qwen2_5_vl": ImageFamily(_QWEN_PROCESSOR, _QWEN_TOKENS),
}


class Picture(NamedTuple):
    """One picture in patches."""

    pixels: Tensor  # (patches, values)
    grid: Tensor  # (3,): time, height, width in patches
    tokens: int  # features that the tower makes of it


class Pictures:
    """The pictures of a chunk, in the order of its sequences; a frozen tower's features are kept after the first pass.

    So the second pass of a gradient cache does not compute them again.
    """

    def __init__(self, pictures: Sequence[Picture]):
        self.pixels = torch.cat([p.pixels for p in pictures])  # (patches, values)
        self.grids = torch.stack([p.grid for p in pictures])  # (pictures, 3)
        self._features: Sequence[Tensor] | None = None

    def features(self, model: Any, *, frozen: bool) -> Any:
        """What the model's tower makes of them, as its `mm_encoder_outputs` wants it.

        Args:
            model: With `get_image_features`.
            frozen: Whether the tower gets no gradient; then its features are kept.
        """
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        if self._features is None:
            device = next(model.parameters()).device
            with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
                output = model.get_image_features(self.pixels.to(device), self.grids.to(device), return_dict=True)
            if not frozen:
                return output
            self._features = [feature.detach() for feature in output.pooler_output]
        return BaseModelOutputWithPooling(
            pooler_output=self._features  # type: ignore[arg-type]  # the models' towers give a tensor per picture
        )


def image_processor(model_type: str, folder: str | None = None, **settings: Any):
    """The family's image processor: of a folder, or with the settings alone.

    Args:
        model_type: One of `IMAGE_FAMILIES`.
        folder: To read the settings from; None: the class's own.
        settings: Bounds on the size, as `min_pixels` and `max_pixels`, and what else the class takes.
    """
    module, _, kind = IMAGE_FAMILIES[model_type].processor.partition(":")
    processor = getattr(importlib.import_module(module), kind)
    return processor(**settings) if folder is None else processor.from_pretrained(folder, **settings)


def read_pictures(processor: Any, items: Sequence[Input]) -> list[Picture]:
    """The pictures of items in patches; large ones by several threads, for Pillow and numpy let others work meanwhile.

    There are as many threads as torch has, which is one in a data loader's worker.

    Args:
        processor: As `image_processor` returns it.
        items: Each with a picture.

    Raises:
        ValueError: If a picture cannot be read.
    """

    def read(piece: Sequence[Input]) -> list[Picture]:
        return pixels_of(processor, [open_image(item) for item in piece])

    if sum(len(item.image or b"") for item in items) < LARGE * len(items):
        return read(items)
    pieces = [items[start : start + PIECE] for start in range(0, len(items), PIECE)]
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), MOST_THREADS))) as pool:
        return [picture for pictures in pool.map(read, pieces) for picture in pictures]


def pixels_of(processor: Any, images: Sequence[Any]) -> list[Picture]:
    """The pictures in patches.

    Attributes:
        processor: As `image_processor` returns it.
        images: PIL images in RGB.
    """
    if not images:
        return []
    output = processor(images=list(images), return_tensors="np")
    grids = torch.from_numpy(np.asarray(output["image_grid_thw"]))  # (pictures, 3)
    sizes = grids.prod(1)
    pixels = torch.from_numpy(np.asarray(output["pixel_values"])).split(sizes.tolist())
    merged = (sizes // processor.merge_size**2).tolist()
    return [Picture(p, grid, count) for p, grid, count in zip(pixels, grids, merged, strict=True)]
