"""`python -m study paper PRESET`: the LaTeX folder of a finished study, and report.pdf where LaTeX is installed."""

import argparse
import sys

from ... import paths
from ..reference import finished
from . import engine, folder


def main(arguments: list[str] | None = None) -> None:
    """Write reports/<preset>/paper/ and say what was written.

    Raises:
        SystemExit: With the reason, if there is no finished study or the paper does not compile.
    """
    parser = argparse.ArgumentParser(prog="python -m study paper", description=__doc__)
    parser.add_argument("preset", help="a name in configs/presets, or of a folder in reports/reference")
    parser.add_argument(
        "--reference", action="store_true", help="of the committed study, also where a run of this checkout is finished"
    )
    options = parser.parse_args(arguments)
    try:
        study = (finished.committed if options.reference else finished.latest)(options.preset)
        written = folder.write(study)
        print(f"{written.relative_to(paths.ROOT)}: from {study.report.relative_to(paths.ROOT)}")
        name = engine.found()
        if name is None:
            print(f"report.pdf is left out, for there is no {' or '.join(engine.ENGINES)}: {engine.INSTALL}")
            return
        pdf = engine.compile(written, name, finished=finished.about(study)["finished"][-1][:10])
        print(f"{pdf.relative_to(paths.ROOT)}: {pdf.stat().st_size / 1e6:.1f} MB, by {name}")
    except ValueError as error:
        sys.exit(f"paper: {error}")
