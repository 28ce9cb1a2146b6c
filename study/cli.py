"""One command for the study: `python -m study COMMAND …`. run_all.sh and the Snakefile call it.

A command's module is imported when it is called, so that none waits for the libraries of another.
"""

import errno
import importlib
import sys

from tsembed.files import FULL

COMMANDS = {  # name -> module with `main(arguments)`, and what it does
    "data": ("study.data.command", "prepare the data of a preset as Arrow tables and a manifest"),
    "fetch": ("study.fetch", "download the weights and benchmarks of a preset, for compute nodes without a network"),
    "run": ("study.runs.run", "train, save and evaluate one variant with one seed"),
    "train": ("study.runs.launch", "train one variant with one seed, on all GPUs of a job, without its scores"),
    "notebook": ("study.report.notebook", "execute a notebook with parameters; it is done only if every cell ran"),
    "site": ("study.report.site", "render a preset's finished notebooks as an offline HTML report"),
    "estimate": ("study.runs.estimate", "print how long a preset takes on a GPU, with what it is computed from"),
    "export": ("study.runs.export", "write a finished run as a folder that SentenceTransformer loads"),
    "keep": ("study.report.reference.keep", "copy the results of finished runs to reports/kept/, to be committed"),
    "restore": ("study.report.reference.restore", "put kept results back, so that their runs count as finished"),
    "freeze": ("study.report.reference.freeze", "copy a finished report to reports/reference/, to be committed"),
    "results": (
        "study.report.reference.summary",
        "write docs/RESULTS.md and the README's lines from the committed studies",
    ),
    "paper": (
        "study.report.paper.command",
        "write a finished study as a LaTeX folder and, where LaTeX is, a PDF",
    ),
    "verify": ("study.report.reference.verify", "compare finished runs with the committed ones"),
}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:10}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: python -m study COMMAND …",
            "",
            *lines,
            "",
            "`python -m study COMMAND --help` explains one. The whole study, with its environment: ./run_all.sh --help",
        ]
    )


def main(words: list[str] | None = None) -> int:
    """Exit status of the command; 2 for an unknown one."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] not in COMMANDS:
        print(f"study: {words[0]!r} is no command; commands: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return importlib.import_module(COMMANDS[words[0]][0]).main(words[1:]) or 0
    except OSError as error:
        if error.errno not in (*FULL, errno.EROFS):
            raise
        print(f"error: {error}; what is complete stays, and the same command goes on from there", file=sys.stderr)
        return 1
