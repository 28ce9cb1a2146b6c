"""Texts to token ids, in memory that does not grow with the part of a text that is cut off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 32  # that are tokenized of a long text for each token that is wanted; a token has about five


def token_ids(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], max_tokens: int | None = None
) -> list[list[int]]:
    """Token ids per text, special tokens included, cut at `max_tokens` if given.

    Of a text that is long for so many tokens the beginning is enough: tokenizers take nearly 200 bytes of memory for
    each byte of a text, and a word's tokens do not depend on what follows later. Where that is too short after all, as
    of words that become one unknown token, the whole text is tokenized, and no other text beside it.
    """
    if max_tokens is None or tokenizer.truncation_side != "right":
        return _whole(tokenizer, texts, max_tokens)
    found = _whole(tokenizer, [_beginning(text, max_tokens) for text in texts], max_tokens)
    for i, text in enumerate(texts):
        if len(found[i]) < max_tokens and len(text) > CHARACTERS_PER_TOKEN * max_tokens:
            found[i] = _whole(tokenizer, [text], max_tokens)[0]
    return found


def _whole(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], max_tokens: int | None) -> list[list[int]]:
    encoded = tokenizer(
        list(texts),
        truncation=max_tokens is not None,
        max_length=max_tokens,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return encoded["input_ids"]


def _beginning(text: str, tokens: int) -> str:
    """What is tokenized of a text for so many tokens, up to a space where there is one."""
    most = CHARACTERS_PER_TOKEN * tokens
    if len(text) <= most:
        return text
    space = text.rfind(" ", 0, most)
    return text[: space if space > 0 else most]
