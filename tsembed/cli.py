"""The library's commands: `tsembed fit DATA …` and `tsembed export FOLDER OUT`."""

import argparse
import sys
from pathlib import Path

from .fitting.names import FORMATS_OF_A_TABLE, NAMES

EXTRAS = "tsembed[train,mteb,export,peft,images]"


def main(arguments: list[str] | None = None) -> int:
    """Exit status of the command."""
    parser = argparse.ArgumentParser(prog="tsembed", description="Task experts in embedding models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_export(commands)
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
    fit.add_argument("data", type=Path, help="folder of sets (docs/data_layout.md), CSV, TSV, Parquet or JSONL file")
    fit.add_argument("--backbone", required=True, help="folder, or name on the hub, of the encoder to start from")
    fit.add_argument("--revision", help="commit of a backbone on the hub")
    fit.add_argument("--variant", choices=NAMES, default="mote", help="what is trained (default: %(default)s)")
    fit.add_argument("--out", type=Path, required=True, help="folder to write, which SentenceTransformer loads")
    fit.add_argument("--steps", type=_positive, help="default: one pass over the pairs, 100 to 1,000")
    fit.add_argument("--batch-size", type=_positive, help="pairs; default: the largest of 64, 32, 16, 8 that fits")
    fit.add_argument("--learning-rate", type=float, help="default: 3e-5, of adapters 1e-3")
    fit.add_argument("--max-tokens", type=_positive, help="where a text is cut; default: the model's limit or 256")
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
    fit.add_argument("--format", choices=FORMATS_OF_A_TABLE, help="of a table; by its columns if not given")
    fit.add_argument("--columns", nargs="+", type=_column, metavar="COLUMN=NAME", help="a table's own column names")
    fit.set_defaults(run=_fit)


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
