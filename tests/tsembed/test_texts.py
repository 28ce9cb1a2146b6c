"""Invariants of texts:

- a text of which nothing can be seen is blank, whatever its characters; one visible character is enough for a text;
- texts that differ in case, white space, composition, width or invisible characters have one key, others do not;
- half a surrogate pair is named with its place; whole pairs and all of Unicode's other characters pass.
"""

import random
import unicodedata

import pytest

from tsembed.texts import check_unicode, is_blank, same_key, visible

INVISIBLE = [
    "\u00ad",
    "\u2063",
    "\ufeff",
    "\u202e",
    "\x07",
    "\x7f",
    "\u180c",
    "\ufe0f",
    "\u3164",
    "\u115f",
    "\U000e0041",
]


@pytest.mark.parametrize("character", INVISIBLE)
def test_a_text_of_invisible_characters_alone_is_blank(character):
    assert is_blank(f" {character}\n{character}\u3000")
    assert not is_blank(f"{character}.{character}")
    assert visible(f"le{character}af") == "leaf"
    assert same_key(f"le{character}af") == same_key("leaf") != same_key("le af")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zu\u0308rich", "z\u00fcrich"),
        ("\uff21\uff22\uff23 \uff11", "abc 1"),
        ("e\ufb03cient", "Efficient"),
        ("two\u2003\twords ", "two words"),
        ("stra\u00dfe", "STRASSE"),
        ("\u1e9b\u0323", "\u1e69"),
    ],
)
def test_texts_that_differ_in_form_alone_have_one_key(one, other):
    assert same_key(one) == same_key(other)


def test_other_texts_keep_their_own_keys():
    keys = [same_key(text) for text in ("no", "\u00f1o", "n o", "n\u0336o", "1", "\u2460\u2460", "\u05d0", "\u5b57")]
    assert len(set(keys)) == len(keys)


def test_a_key_is_the_key_of_every_form_of_its_text():
    rng = random.Random(0)
    drawn = [chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(30_000)]
    texts = ["".join(drawn[i : i + 3]) for i in range(0, len(drawn), 3)]
    for text in texts:
        key = same_key(text)
        assert same_key(key) == key, ascii(text)
        for form in ("NFC", "NFD", "NFKD"):
            assert same_key(unicodedata.normalize(form, text)) == key, ascii(text)
    assert sum(same_key(text) != text for text in texts) > 100


def test_half_a_surrogate_pair_is_named_with_its_place():
    check_unicode("a whole one \U0001f642, and \x00 \ufffe")
    with pytest.raises(ValueError, match=r"half a surrogate pair, \\ude42, stands at character 4"):
        check_unicode("odd\ude42 end")
