"""A tiny random Qwen2-VL with its tokenizer and image processor, and pictures for it."""

import numpy as np

from tsembed.encoder.build import make
from tsembed.encoder.tiny_qwen import random_parts
from tsembed.inputs import Input, encode_png
from tsembed.settings import Backbone
from tsembed.tasks import IMAGE_ROUTES

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 230), "white": (250, 250, 250)}
TEXTS = [f"which colour is the picture {name}" for name in COLOURS]
BACKBONE = Backbone(name="random:qwen2-vl", pooling="last", patch_size=4, num_layers=1)


def parts(seed=0):
    """Model, tokenizer and image processor."""
    return random_parts(BACKBONE, TEXTS, seed)


def image_encoder(seed=0, **settings):
    """An encoder of images without adapters, in evaluation mode."""
    return make(parts(seed), pooling="last", routes=IMAGE_ROUTES, **settings)


def picture(colour, size=(16, 16), seed=0):
    """PNG bytes of a noisy picture of one colour, (height, width) in pixels."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-25, 5, (*size, 3))
    return encode_png(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def mosaic(seed, cells=(2, 2), cell=8):
    """PNG bytes of a picture of cells in random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (*cells, 3)).astype(np.uint8)
    return encode_png(colours.repeat(cell, 0).repeat(cell, 1))


def item(text="", colour=None, **of_picture):
    """A text, a picture, or both."""
    return Input(text, picture(colour, **of_picture) if colour else None)
