"""The LaTeX folder of a finished study: figures, tables, macros, and a main.tex that compiles.

main.tex      the paper; it holds no number of its own
results.tex   every number and computed sentence as a macro (`macros.py`)
figures/      PDF
tables/       booktabs: main_*.tex have macros for cells, the others are those of the notebooks
"""

import re
import shutil
from pathlib import Path

import yaml

from tsembed.files import write_text

from ... import paths
from ..reference import finished
from ..tables.write import latex
from . import figures, tables
from .macros import Macros, of_study

TEMPLATE = Path(__file__).with_name("main.tex.j2")
NOTEBOOK_TABLES = (  # those of the appendix, where the study has them
    *("table2", "table3", "inter_task_similarity", "table4", "table5", "table6", "table7", "averaging_loss"),
    *("gradient_conflict", "efficiency_size"),
)
MADE = ("figures", "tables", "main.tex", "results.tex", "report.pdf")


def write(study: finished.Finished) -> Path:
    """Write reports/<preset>/paper/ anew; the folder. Files of other names in it are left alone.

    Raises:
        ValueError: If two numbers have one macro's name.
    """
    folder = paths.report_dir(study.preset) / "paper"
    _empty(folder)
    macros = of_study(study)
    texts = _texts(study, macros)
    for name, text in texts.items():
        write_text(folder / name, text)
    for name in re.findall(r"\\includegraphics\{figures/([\w/.-]+)\.pdf\}", texts["main.tex"]):
        (folder / "figures" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(study.report / "figures" / f"{name}.pdf", folder / "figures" / f"{name}.pdf")
    for path in sorted((study.report / "tables").glob("*.tex")):
        (folder / "tables").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / "tables" / path.name)
    return folder


def _empty(folder: Path) -> None:
    for name in MADE:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _texts(study: finished.Finished, macros: Macros) -> dict[str, str]:
    """Path below the folder -> content."""
    verdicts = finished.verdicts(study)
    macros.put("resCaptionClaims", _caption_of_claims())
    own = {
        "gains": tables.gains(macros),
        "images": tables.images(macros, study.report),
        "kinds": tables.kinds(macros, verdicts),
        "claims": tables.claims(macros, verdicts),
    }
    main = (
        _environment()
        .from_string(TEMPLATE.read_text())
        .render(
            macros=macros,
            overview=figures.overview(study.report, macros),
            figures=figures.by_part(study.report, macros),
            own=own,
            notebook_tables=[n for n in NOTEBOOK_TABLES if (study.report / "tables" / f"{n}.tex").is_file()],
            references=_references(),
        )
    )
    texts = {f"tables/main_{name}.tex": text for name, text in own.items() if text}
    head = f"% Numbers of the study {study.preset}, written by ./run_all.sh paper {study.preset}. Do not edit.\n"
    return texts | {"main.tex": main, "results.tex": head + macros.definitions()}


def _caption_of_claims() -> str:
    return (
        "In brackets: interval for another training on these datasets. Design: seeds × datasets (texts, batches, "
        "layers). Differences are in points where no unit stands."
    )


def _references() -> list[dict[str, str]]:
    """The papers that CITATION.cff names, each as a key and its text."""
    cited = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())["references"]
    return [{"key": entry["abbreviation"].lower(), "text": latex(_reference(entry))} for entry in cited]


def _reference(entry: dict) -> str:
    first, *others = entry["authors"]
    listed = " ".join(filter(None, (first.get("given-names"), first["family-names"], "et al." if others else "")))
    where = entry["collection-title"]
    return f"{listed.removesuffix('.')}. {entry['title']}. {where}, {entry['year']}. {entry['url']}"


def _environment():
    from jinja2 import Environment, StrictUndefined

    return Environment(  # delimiters that LaTeX has no use for
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
