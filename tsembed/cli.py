"""The library's commands: `tsembed fit DATA …`, `mine DATA …`, `export FOLDER OUT` and `push FOLDER NAME`."""

import argparse
import sys
from pathlib import Path

from .fitting.names import FORMATS_OF_A_TABLE, MAX_RELATIVE_SCORE, MAX_TOKENS, NAMES, PER_QUERY
from .training.trackers import NAMES as TRACKERS

EXTRAS = "tsembed[train,mteb,export,peft,images]"


def main(arguments: list[str] | None = None) -> int:
    """Exit status of the command."""
    parser = argparse.ArgumentParser(prog="tsembed", description="Task experts in embedding models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_mine(commands)
    _add_export(commands)
    _add_push(commands)
    options = vars(parser.parse_args(arguments))
    command, run = options.pop("command"), options.pop("run")
    try:
        run(**options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"tsembed {command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"tsembed {command} needs {error.name}: pip install '{EXTRAS}'", file=sys.stderr)
        return 1
    return 0


def _add_fit(commands) -> None:
    about = "train task experts in an encoder on your own data"
    fit = commands.add_parser("fit", help=about, description=f"{about[0].upper()}{about[1:]}.")
    _add_data(fit)
    fit.add_argument("--backbone", required=True, help="folder, or name on the hub, of the encoder to start from")
    fit.add_argument("--variant", choices=NAMES, default="mote", help="what is trained (default: %(default)s)")
    fit.add_argument("--out", type=Path, required=True, help="folder to write, which SentenceTransformer loads")
    fit.add_argument("--steps", type=_positive, help="default: one pass over the pairs, 100 to 1,000")
    fit.add_argument("--batch-size", type=_positive, help="pairs; default: the largest of 64, 32, 16, 8 that fits")
    fit.add_argument("--learning-rate", type=float, help="default: 3e-5, of adapters 1e-3")
    fit.add_argument(
        "--max-tokens", type=_positive, help=f"where a text is cut; default: the model's limit or {MAX_TOKENS}"
    )
    fit.add_argument("--seed", type=int, default=0, help="of batches, held-out pairs and new weights")
    fit.add_argument(
        "--eval",
        dest="evaluate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="score test parts and held-out pairs before and after (default: yes)",
    )
    fit.add_argument("--resume", action="store_true", help="go on with an interrupted training")
    fit.add_argument("--experts", action="store_true", help="also write OUT/experts/<route>, a dense model per route")
    fit.add_argument("--half-way", action="store_true", help="mean of trained and untrained weights: forgets less")
    fit.add_argument("--hard-negatives", type=_count, help="of a pair at most; default: all that the data have")
    fit.add_argument(
        "--matryoshka", type=_dims, default=(), metavar="DIM,DIM", help="shorter embeddings that are good too: 192,96"
    )
    fit.add_argument("--push-to-hub", metavar="NAME", help="upload OUT to this repository of the Hugging Face hub")
    fit.add_argument("--private", action="store_true", help="make that repository a private one")
    fit.add_argument("--log-with", choices=TRACKERS, help="also follow the training with this package")
    fit.set_defaults(run=_fit)


def _add_mine(commands) -> None:
    about = "find hard negatives for your own pairs with an encoder"
    mine = commands.add_parser("mine", help=about, description=f"{about[0].upper()}{about[1:]}.")
    _add_data(mine)
    mine.add_argument("--backbone", required=True, help="encoder: folder, trained or not, or name on the hub")
    mine.add_argument("--out", type=Path, required=True, help="folder to write, which tsembed fit reads")
    mine.add_argument(
        "--per-query", type=_positive, default=PER_QUERY, help="negatives of a pair at most (default: %(default)s)"
    )
    mine.add_argument(
        "--max-relative-score",
        type=float,
        default=MAX_RELATIVE_SCORE,
        help="skip what scores above this share of the positive's score (default: %(default)s)",
    )
    mine.add_argument("--margin", type=float, help="skip what scores above the positive's score minus this")
    mine.add_argument(
        "--max-tokens", type=_positive, default=MAX_TOKENS, help="where a text is cut (default: %(default)s)"
    )
    mine.set_defaults(run=_mine)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data", type=Path, help="folder of sets (docs/data_layout.md), CSV, TSV, Parquet or JSONL file"
    )
    command.add_argument("--revision", help="commit of a backbone on the hub")
    command.add_argument("--format", choices=FORMATS_OF_A_TABLE, help="of a table; by its columns if not given")
    command.add_argument("--columns", nargs="+", type=_column, metavar="COLUMN=NAME", help="a table's own column names")


def _add_push(commands) -> None:
    about = "upload a finished folder to the Hugging Face hub"
    push = commands.add_parser("push", help=about, description=f"{about[0].upper()}{about[1:]}.")
    push.add_argument("folder", type=Path, help="what tsembed fit or tsembed export wrote")
    push.add_argument("name", help="of the repository: NAME or ORGANISATION/NAME")
    push.add_argument("--private", action="store_true", help="make it a private one")
    push.set_defaults(run=_push)


def _add_export(commands) -> None:
    export = commands.add_parser(
        "export",
        help="write a saved encoder as a folder that SentenceTransformer loads",
        description="Write a saved encoder as a folder that SentenceTransformer loads, with all its experts or dense.",
    )
    export.add_argument("model", type=Path, help="a folder that Encoder.save wrote")
    export.add_argument("out", type=Path, help="the folder to write; it must not exist, or be empty")
    dense = export.add_mutually_exclusive_group()
    dense.add_argument("--route", help="write the dense model of this route")
    dense.add_argument("--average", action="store_true", help="write the dense model of the averaged experts")
    export.set_defaults(run=_export)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {number}")
    return number


def _dims(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _column(text: str) -> tuple[str, str]:
    column, is_given, name = text.partition("=")
    if not (column and is_given and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=NAME, such as anchor=question")
    return column, name


def _fit(columns: list[tuple[str, str]] | None, **options) -> None:
    from transformers.utils import logging

    from .fitting.fit import fit

    logging.disable_progress_bar()
    fit(options.pop("data"), options.pop("out"), columns=dict(columns or {}), **options)


def _mine(columns: list[tuple[str, str]] | None, **options) -> None:
    from transformers.utils import logging

    from .fitting.mining import mine

    logging.disable_progress_bar()
    mine(options.pop("data"), options.pop("out"), columns=dict(columns or {}), **options)


def _push(folder: Path, name: str, private: bool) -> None:
    from .export.hub import push_to_hub

    print(push_to_hub(folder, name, private=private))


def _export(model: Path, out: Path, route: str | None, average: bool) -> None:
    export_folder(model, out, route, average)
    print(f"{out}: its README.md says how to load it")


def export_folder(model: Path, out: Path, route: str | None, average: bool) -> None:
    """Write the encoder saved in `model` to `out`.

    Raises:
        ValueError: If `model` is no saved encoder, if it has no such route, or if `out` is not empty.
    """
    from .export.folder import must_be_free

    must_be_free(out)
    if (model / "done.json").is_file() and not (model / "tsembed.json").is_file():
        raise ValueError(f"{model} is a run of the study; its encoder is in {model / 'model'}")
    from transformers.utils import logging

    from .encoder.build import load
    from .export.folder import export_encoder

    logging.disable_progress_bar()
    export_encoder(load(model), out, source=model, route=route, average=average)


if __name__ == "__main__":
    sys.exit(main())
