"""Invariants of items and pictures:

- another reader finds our pixels in our PNGs, in all three colour types, also where they are longer than one block;
- its bytes depend on the pixels alone; transparency shows white; the picture is RGB whatever the file is;
- it stands upright, 16 bits are scaled, an animation is its first frame, and one of too many pixels is refused;
- bytes that are no whole picture are one error that says so; an item without a picture too;
- a picture over 200 times as wide as high, or as high as wide, is refused, and so is a text that spells a token of
  pictures;
- an item has a text or a picture, and a mark only with a picture.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tsembed.data.folder.images import ImageRow
from tsembed.data.schema import FORMATS, ImagePair, parse
from tsembed.inputs import PLACEHOLDERS, Input, check_image, check_text, encode_png, open_image


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_rgb(data):
    return np.asarray(open_image(Input("", data)))


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **{"format": "PNG"} | options)
    return file.getvalue()


def test_grey_indexed_and_rgb_pixels_are_read_back():
    grey, colours = noise(5, 7), noise(256, 3)
    assert np.array_equal(as_rgb(encode_png(grey)), np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal(as_rgb(encode_png(grey, colours)), colours[grey])
    rgb = noise(3, 4, 3)
    assert np.array_equal(as_rgb(encode_png(rgb)), rgb)
    assert open_image(Input("", encode_png(rgb))).size == (4, 3)  # width, height


def test_a_picture_longer_than_one_block_is_whole():
    large = noise(200, 150, 3)  # 90,200 bytes with the filter bytes: two stored blocks
    assert np.array_equal(as_rgb(encode_png(large)), large)
    assert len(encode_png(large)) > large.size  # uncompressed


def test_known_bytes():
    """One black pixel, assembled by hand after RFC 2083."""
    wanted = (
        "89504e470d0a1a0a"
        "0000000d49484452"
        "0000000100000001"
        "0800000000"
        "3a7e9b55"
        "0000000d49444154"
        "7801"
        "01"
        "0200"
        "fdff"
        "0000"
        "00020001"
        "f4e9cca9"
        "0000000049454e44ae426082"
    )
    made = encode_png(np.zeros((1, 1), np.uint8))
    assert made[:54] == bytes.fromhex(wanted)[:54]
    assert made[-12:] == bytes.fromhex(wanted)[-12:]
    assert made == encode_png(np.zeros((1, 1), np.uint8))


def test_transparency_shows_white_and_other_modes_become_rgb():
    layers = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    layers.putpixel((1, 0), (255, 0, 0, 255))
    assert as_rgb(saved(layers)).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert as_rgb(saved(Image.new("L", (1, 1), 9))).tolist() == [[[9, 9, 9]]]
    assert as_rgb(saved(Image.new("RGB", (8, 8), (10, 200, 30)), format="JPEG")).shape == (8, 8, 3)
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([1, 2, 3])
    assert as_rgb(saved(palette, transparency=0)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_stands_upright_as_its_orientation_says(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    drawn = noise(3, 5, 3)
    seen = {
        1: drawn,
        2: drawn[:, ::-1],
        3: drawn[::-1, ::-1],
        4: drawn[::-1],
        5: drawn.swapaxes(0, 1),
        6: np.rot90(drawn, -1),
        7: drawn[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(drawn),
    }
    assert np.array_equal(as_rgb(saved(Image.fromarray(drawn), exif=exif)), seen[turn])


def test_pixels_of_16_bits_and_floating_point_are_scaled():
    steps = np.array([[0, 257 * 3, 257 * 200, 65535]], np.uint16)
    assert as_rgb(saved(Image.fromarray(steps)))[0, :, 0].tolist() == [0, 3, 200, 255]
    assert as_rgb(saved(Image.fromarray(steps), format="TIFF"))[0, :, 1].tolist() == [0, 3, 200, 255]
    parts = np.array([[0, 0.2, 1]], np.float32)
    assert as_rgb(saved(Image.fromarray(parts), format="TIFF"))[0, :, 2].tolist() == [0, 51, 255]
    for values in (parts * 80, parts - 1, parts * np.nan):
        with pytest.raises(ValueError, match=r"mode F has values .* floating-point pixels in 0\.\.1"):
            as_rgb(saved(Image.fromarray(values), format="TIFF"))
    deep = Image.fromarray(np.array([[0, 70_000]], np.int32))
    with pytest.raises(ValueError, match=r"mode I has values from 0 to 70000; pixels in 0\.\.65535"):
        as_rgb(saved(deep, format="TIFF"))


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 2), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG"):
        data = saved(frames[0], format=kind, save_all=True, append_images=frames[1:])
        assert as_rgb(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("side", [8_001, 10_000, 20_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(side):
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")]
    body = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    with pytest.raises(ValueError, match="64,000,000"):
        check_image(b"\x89PNG\r\n\x1a\n" + b"".join(body))


@pytest.mark.parametrize(
    "data", [b"", b"no picture", encode_png(noise(9, 9))[:80], saved(Image.new("L", (99, 9)))[:-25]]
)
def test_bytes_that_are_no_whole_picture_are_an_error(data):
    with pytest.raises(ValueError, match=rf"not a readable image: .*\({len(data)} bytes\)"):
        open_image(Input("", data))


def test_a_wrong_checksum_is_an_error():
    data = bytearray(encode_png(noise(9, 9)))
    data[60] ^= 1
    with pytest.raises(ValueError, match="not a readable image"):
        open_image(Input("", bytes(data)))


def test_an_item_without_a_picture_cannot_be_opened():
    with pytest.raises(ValueError, match="the item has no image; its text is 'a text'"):
        open_image(Input("a text"))


GOOD = {"query": "Which? <image>", "query_image": b"x", "document": "red", "document_image": None, "group": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_image": None}, "'query': 1 marks <image> for 0 pictures"),
        ({"query": "<image> or <image>"}, "2 marks <image> for 1 pictures"),
        ({"document": " "}, "neither 'document' nor 'document_image': an item has a text or a picture"),
        ({"document": "\u200b\x00"}, "neither 'document' nor 'document_image': an item has a text or a picture"),
        ({"query": "<image>\ud83d"}, "'query': half a surrogate pair"),
        ({"document": None}, "'document' must be a text, empty or not, not None"),
        ({"query_image": b""}, "'query_image' must be the bytes of a picture, or None"),
        ({"query_image": "a.png"}, "'query_image' must be the bytes of a picture, or None, not 'a.png'"),
        ({"group": "7"}, "'group' must be an integer, not '7'"),
        ({"group": True}, "'group' must be an integer, not True"),
    ],
)
def test_the_rules_of_a_pair(change, message):
    assert vars(parse(ImagePair, GOOD)) == GOOD
    with pytest.raises(ValueError, match=message):
        parse(ImagePair, GOOD | change)


def test_an_optional_column_may_be_missing_none_or_empty():
    missing = parse(ImageRow, {"image": "a.png"})
    assert missing == parse(ImageRow, {"image": "a.png", "text": "", "keywords": [], "label": None, "image_side": ""})
    assert (missing.text, missing.keywords, missing.label, missing.views) == (None, None, None, {})
    assert parse(ImageRow, {"image": "a.png", "label": 0, "image_side": "b.png"}).views == {"image_side": "b.png"}
    assert parse(ImageRow, {"image": "a.png", "label": 0}).label == "0"
    for column in ("text", "image_side"):
        with pytest.raises(ValueError, match=f"'{column}' must be a text, not 3"):
            parse(ImageRow, {"image": "a.png", column: 3})


@pytest.mark.parametrize(("size", "good"), [((1, 201), (1, 200)), ((402, 2), (400, 2))])
def test_a_picture_far_longer_than_wide_is_refused(size, good):
    with pytest.raises(ValueError, match=rf"a picture of {size[1]} x {size[0]} pixels: no side may be over 200 times"):
        check_image(encode_png(np.zeros(size, np.uint8)))
    check_image(encode_png(np.zeros(good, np.uint8)))
    with pytest.raises(ValueError, match="not a readable image"):
        check_image(b"torn")


@pytest.mark.parametrize("token", PLACEHOLDERS)
def test_a_text_that_spells_a_token_of_pictures_is_refused(token):
    check_text("a <image> of <|im_end|> and of <| image_pad |>")
    with pytest.raises(ValueError, match=r"is a token of pictures to a backbone, and no text: 'what is .* here"):
        check_text(f"what is {token} here")
    bare = {"document": "a", "document_image": None, "query_image": None, "group": 1}
    for side in ("query", "document"):
        with pytest.raises(ValueError, match=f"'{side}': .* is a token of pictures"):
            parse(ImagePair, bare | {"query": "a", side: f"see {token}"})
    for table, row in (("queries", {"query": token, "candidates": [0], "positives": [0]}), ("candidates", {})):
        image = {"query_image": None} if row else {"image": None, "text": token}
        with pytest.raises(ValueError, match="is a token of pictures"):
            parse(FORMATS["ranking"][table], row | image)
