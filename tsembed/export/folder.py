"""An encoder as a folder for others, with a model card: whole and verified, or not there at all.

One route, the average of the experts, or a dense model: Transformer, Pooling, Normalize, without code of ours. All
experts: the folder carries some files of tsembed/mote/, and is loaded with `trust_remote_code=True`; a text takes the
expert of its prompt. Adapters are merged into the backbone (`dense.py`); a model of images becomes a plain folder of
transformers, which `encoder.build.load` reads too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..encoder.image import ImageEncoder
from ..encoder.text import Encoder
from ..files import write_folder
from . import dense
from .model_card import model_card
from .run import Run
from .sentence_transformers import Prompts, prompts_of, verify, verify_images, write


def export_encoder(
    encoder: Encoder,
    out: Path,
    *,
    source: Path | str = "the model",
    route: str | None = None,
    average: bool = False,
    run: Run | None = None,
    gates: Mapping[str, Tensor] | None = None,
    measure: Callable[[Encoder], list[dict[str, Any]]] | None = None,
) -> None:
    """Write the encoder to `out`.

    Args:
        encoder: It stays as it is.
        out: Must not exist, or be empty. It appears when all is written and its embeddings are the model's own.
        source: What it is called in messages.
        route: Export the dense model of this route.
        average: Export the dense model of the averaged experts; of learned routers, at the given gates.
        run: What is known of its training, for the card.
        gates: Of learned routers: adapted layer -> mean gate of every expert (`moe_lora.merge.mean_gates`).
        measure: Scores of an encoder that is no longer the trained one, for the card.

    Raises:
        ValueError: If it has no such route or no experts, or if `out` is not empty.
    """
    must_be_free(out)
    trained, measured = encoder, None
    if dense.has_adapters(encoder):
        dense.check(encoder, source, route, average, gates is not None)
        encoder = dense.merged(encoder, route, gates)
        if average:  # of a learned router: no longer the trained model
            trained, measured = encoder, measure(encoder) if measure else None
    else:
        encoder = trained = dense.choose(encoder, source, route, average)
    images = isinstance(encoder, ImageEncoder)
    prompts = Prompts({}, None) if images else prompts_of(encoder, route, run)
    tokens = run.config["evaluation"]["max_tokens"] if run else encoder.max_tokens
    with write_folder(out) as partial:
        if images:
            encoder.save(partial)
        else:
            write(encoder, partial, prompts, tokens)
        card = model_card(encoder, run, prompts, tokens, out.name, route, average, measured)
        (partial / "README.md").write_text(card, encoding="utf-8")
        (verify_images if images else verify)(trained, partial, route, tokens)


def must_be_free(out: Path) -> None:
    """That nothing would be overwritten.

    Raises:
        ValueError: If `out` is a file, or a folder with something in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty: nothing was written; name another folder")
