"""What is embedded: an `Input`, a text, a picture, or both; and PNGs whose bytes every machine makes alike."""

import io
import struct
import zlib
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from .texts import check_unicode

if TYPE_CHECKING:
    from PIL import Image


MARK = "<image>"  # where the picture stands in the text; without it the picture stands before the text
# Tokens of Qwen2-VL that stand for a picture or a video, or beside one. Its tokenizer makes them of a text that spells
# them, whatever it is asked, and the model then looks for pixels there.
PLACEHOLDERS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
LONGEST_SIDE = 200  # of a picture, times the other side: Qwen2-VL's image processor refuses more
MOST_PIXELS = 64_000_000  # of a picture: 192 MB in RGB
_ORIENTATION = 0x0112  # the EXIF tag
_BLOCK = 65535  # bytes of one stored deflate block


class Input(NamedTuple):
    """One query, document or candidate.

    Attributes:
        text: With `MARK` at most once; "" for a picture alone.
        image: An encoded PNG or JPEG, or None.
    """

    text: str
    image: bytes | None = None


def as_list(inputs: Any, types: tuple[type, ...]) -> list[Any]:
    """Inputs by position, each of a type that an encoder embeds.

    Raises:
        ValueError: If they are no sequence, or one of them is of another type or no text; names its position.
    """
    expected = " or an ".join("text" if kind is str else kind.__name__ for kind in types)
    sequence = hasattr(inputs, "__len__") and hasattr(inputs, "__iter__")
    if not sequence or isinstance(inputs, Mapping | Set | bytes | bytearray):
        raise ValueError(f"inputs must be a {expected}, or a sequence of them, got {type(inputs).__name__}")
    listed: list[Any] = list(inputs)
    for position, item in enumerate(listed):
        if not isinstance(item, types):
            raise ValueError(f"input {position} must be a {expected}, got {type(item).__name__} {item!r:.60}")
        try:
            check_unicode(text if isinstance(text := listed[position], str) else text.text)
        except ValueError as error:
            raise ValueError(f"input {position}: {error}") from None
    return listed


def open_image(item: Input) -> "Image.Image":
    """The item's picture in RGB; what is transparent shows white.

    Raises:
        ValueError: If the item has no picture, if its bytes cannot be read as one, or if it is too long for its width.
    """
    if item.image is None:
        raise ValueError(f"the item has no image; its text is {item.text!r:.60}")
    image = decode(item.image)
    _check_sides(image)
    return image


def decode(data: bytes) -> "Image.Image":
    """The whole picture in RGB, from encoded bytes: the one gate of training, evaluation and preparation.

    It stands upright as its EXIF orientation says. What is transparent shows white. Pixels of 16 bits, and
    floating-point ones in 0..1, are scaled to 8 bits. Of an animation it is the first frame.

    Raises:
        ValueError: If the bytes are no whole picture in a format that Pillow reads, if it has more than `MOST_PIXELS`
            pixels, or values that cannot be scaled.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                size = f"{image.width} x {image.height}"
                raise ValueError(f"{size} pixels are more than the {MOST_PIXELS:,} that a picture may have")
            upright = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
            if upright.mode.startswith(("I", "F")):
                return _in_8_bits(upright).convert("RGB")
            if upright.has_transparency_data:
                layers = upright.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
            return upright.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"not a readable image: more than the {MOST_PIXELS:,} pixels that one may have") from None
    except UnidentifiedImageError:
        raise ValueError(f"not a readable image: no known format ({len(data)} bytes)") from None
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"not a readable image: {error} ({len(data)} bytes)") from None


def _in_8_bits(image: "Image.Image") -> "Image.Image":
    """A grey picture of integers in 0..65535, or of numbers in 0..1, in 0..255."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    largest, rule = (1.0, "floating-point pixels in 0..1") if image.mode == "F" else (65535.0, "pixels in 0..65535")
    if not (values.min() >= 0 and values.max() <= largest):
        raise ValueError(
            f"mode {image.mode} has values from {values.min():g} to {values.max():g}; {rule} can be scaled"
        )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = largest
    return Image.fromarray(np.round(values * (255 / largest)).astype(np.uint8))


def check_image(data: bytes) -> None:
    """Go on if these are the bytes of a picture that backbones take.

    Raises:
        ValueError: If they are no whole picture, or if one side is more than `LONGEST_SIDE` times the other.
    """
    _check_sides(decode(data))


def _check_sides(image: "Image.Image") -> None:
    width, height = image.size
    if max(width, height) > LONGEST_SIDE * min(width, height):
        raise ValueError(f"a picture of {width} x {height} pixels: no side may be over {LONGEST_SIDE} times the other")


def check_text(text: str) -> None:
    """Go on if the text spells none of `PLACEHOLDERS`.

    Raises:
        ValueError: With the token.
    """
    if token := next((token for token in PLACEHOLDERS if token in text), None):
        at = text.index(token)
        near = text[max(0, at - 20) : at + len(token) + 20]
        raise ValueError(f"{token} is a token of pictures to a backbone, and no text: {near!r}")


def check_item(item: Input) -> None:
    """Go on if the item's text spells none of `PLACEHOLDERS`, and its mark stands for its picture.

    Raises:
        ValueError: With the token, or the number of marks.
    """
    check_text(item.text)
    marks, pictures = item.text.count(MARK), int(item.image is not None)
    if marks > pictures:
        raise ValueError(f"{marks} marks {MARK} for {pictures} pictures: {item.text!r:.60}")


def encode_png(
    pixels: UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    palette: UInt8[np.ndarray, "colours 3"] | None = None,
) -> bytes:
    """A PNG of the pixels, uncompressed, so that its bytes do not depend on the machine's zlib.

    Args:
        pixels: Grey values, indices into `palette`, or RGB.
        palette: At most 256 colours, for two-dimensional pixels.
    """
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0 if palette is None else 3  # colour type of the PNG header
    lines = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each line opens with its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    colours = b"" if palette is None else _chunk(b"PLTE", palette.tobytes())
    body = _chunk(b"IDAT", _stored(lines.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + colours + body + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _stored(data: bytes) -> bytes:
    """A zlib stream of stored blocks (RFC 1950, RFC 1951 §3.2.4)."""
    parts = [b"\x78\x01"]
    for start in range(0, len(data), _BLOCK):
        part = data[start : start + _BLOCK]
        last = start + _BLOCK >= len(data)
        parts += [struct.pack("<BHH", last, len(part), len(part) ^ 0xFFFF), part]
    return b"".join([*parts, struct.pack(">I", zlib.adler32(data))])
