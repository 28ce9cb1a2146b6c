"""A LaTeX engine, if this machine has one, and report.pdf."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ENGINES = ("pdflatex", "tectonic")  # in the order of choice
PASSES = 3  # of pdflatex: references, then the widths of the table that breaks over pages
INSTALL = (
    "apt-get install --no-install-recommends texlive-latex-recommended texlive-fonts-recommended "
    "(Debian, Ubuntu), brew install tectonic (macOS)"
)


def found() -> str | None:
    """The first of `ENGINES` on PATH."""
    return next((name for name in ENGINES if shutil.which(name)), None)


def compile(folder: Path, engine: str, *, finished: str) -> Path:
    """Compile main.tex of a folder to report.pdf in it; the same folder gives the same pages.

    Args:
        folder: As `folder.write` made it.
        engine: One of `ENGINES`.
        finished: Day of the results, YYYY-MM-DD: the date of the PDF.

    Raises:
        ValueError: With the engine's first error, if the paper does not compile.
    """
    with tempfile.TemporaryDirectory() as place:
        command = {
            "pdflatex": ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={place}"],
            "tectonic": ["tectonic", "--outdir", place],
        }[engine]
        for _ in range(PASSES if engine == "pdflatex" else 1):
            answer = subprocess.run(
                [*command, "main.tex"],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env=os.environ | {"SOURCE_DATE_EPOCH": _epoch(finished), "FORCE_SOURCE_DATE": "1"},
            )
            if answer.returncode:
                raise ValueError(
                    f"{folder / 'main.tex'} does not compile: {_first_error(answer.stdout + answer.stderr)}"
                )
        shutil.copyfile(Path(place) / "main.pdf", folder / "report.pdf")
    return folder / "report.pdf"


def _epoch(day: str) -> str:
    from datetime import UTC, datetime

    return str(int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()))


def _first_error(log: str) -> str:
    """The line of LaTeX's first error.

    >>> _first_error("This is pdfTeX\\n! Undefined control sequence.\\nl.9 \\\\resX\\n")
    '! Undefined control sequence. l.9 \\\\resX'
    """
    lines = log.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith(("!", "error:"))), None)
    if first is None:
        return lines[-1] if lines else "no output"
    place = next((line for line in lines[first:] if line.startswith("l.")), "")
    return f"{lines[first]} {place}".strip()
