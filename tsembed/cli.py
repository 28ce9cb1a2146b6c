"""The library's command: `tsembed export FOLDER OUT`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Exit status of the command."""
    parser = argparse.ArgumentParser(prog="tsembed", description="Task experts in embedding models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
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
    options = parser.parse_args(arguments)
    try:
        export_folder(options.model, options.out, options.route, options.average)
    except (ValueError, OSError) as error:
        print(f"tsembed export: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"tsembed export needs {error.name}: pip install 'tsembed[export,peft]'", file=sys.stderr)
        return 1
    print(f"{options.out}: its README.md says how to load it")
    return 0


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
