"""The one-page summary of the committed results, docs/RESULTS.md, and the README's lines about them.

`python -m study results` writes both. The page has the form of the ML Reproducibility Challenge; its sentences are
templates that verdicts and numbers fill, so a study that is frozen anew changes it and no hand does.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import yaml

from tsembed.files import write_text

from ... import paths
from ...analysis import claims as stated
from ...analysis import judgement, overview
from ...presets import SOURCES_WITHOUT_PATH, load_preset
from .. import status
from ..pages import answer_boxes
from . import finished

TEMPLATE = Path(__file__).with_name("summary.md.j2")
LINES = re.compile(r"(<!-- results: [^>]*-->\n).*?(<!-- end of results -->)", re.DOTALL)
MINUTES = re.compile(r"(<!-- minutes (\w+) -->).*?(<!-- -->)")


def write() -> list[Path]:
    """Write docs/RESULTS.md, and the README's lines; both paths."""
    page, readme = paths.ROOT / "docs" / "RESULTS.md", paths.ROOT / "README.md"
    write_text(page, results_page())
    write_text(readme, filled(readme.read_text()))
    return [page, readme]


def results_page() -> str:
    """The content of docs/RESULTS.md."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    current, earlier = _studies()
    every = stated.claims()
    return environment.from_string(TEMPLATE.read_text()).render(
        studies=[_study(study) for study in current],
        earlier=earlier,
        claims={source: sum(c.source == source for c in every) for source in ("mote", "tsembed", "ours")},
        central=[next(c for c in every if c.id == question.claims[0]) for question in answer_boxes.QUESTIONS],
        mote=_published("mote"),
        tsembed=_published("tsembed"),
        seeds=judgement.FEWEST_SEEDS,
        datasets=judgement.FEWEST_DATASETS,
        level=f"{100 * (1 - judgement.ALPHA):.0f} %",
    )


def filled(readme: str) -> str:
    """A README with its lines about the results, and its minutes, as the committed studies have them.

    Raises:
        ValueError: If it has no place for them.
    """
    if not LINES.search(readme):
        raise ValueError("README.md: the lines between '<!-- results: … -->' and '<!-- end of results -->' are missing")
    text = LINES.sub(lambda match: f"{match[1]}{_lines()}{match[2]}", readme)
    return MINUTES.sub(lambda match: f"{match[1]}{minutes(match[2]):.0f}{match[3]}", text)


def minutes(preset: str) -> float:
    """Minutes of training and evaluation of a committed study, with the runs side by side that its preset allows."""
    about = json.loads((paths.REPORTS / "reference" / preset / "reference.json").read_text())
    return sum(about["seconds"].values()) / 60 / load_preset(preset).parallel_runs


def _studies() -> tuple[list[finished.Finished], list[dict[str, Any]]]:
    """The committed studies that can be read, the longest first, and what is known of those of an earlier version.

    A preset whose results are not judged, as `smoke`, tests the machinery and answers nothing: it is neither.
    """
    current, earlier = [], []
    for path in sorted((paths.REPORTS / "reference").glob("*/reference.json")):
        if not stated.is_judged(path.parent.name):
            continue
        try:
            current.append(finished.committed(path.parent.name))
        except ValueError:
            about = json.loads(path.read_text())
            day = about["finished"][-1][:10]
            earlier.append(about | {"day": day, "commits": judgement.count_of(len(about["commits"]), "commit")})
    return sorted(current, key=lambda study: -minutes(study.preset)), earlier


def _study(study: finished.Finished) -> dict[str, Any]:
    """What the page says of one committed study."""
    about, verdicts = finished.about(study), finished.verdicts(study)
    known = finished.measured(verdicts)
    claims = {claim.id: claim for claim in stated.claims()}
    return {
        "name": study.preset,
        "scope": finished.scope(study),
        "machine": finished.machine(about),
        "embedded": load_preset(study.preset).data.source in SOURCES_WITHOUT_PATH,
        "runs": status.runs_text(about),
        "minutes": minutes(study.preset),
        "day": about["finished"][-1][:10],
        "commits": ", ".join(f"`{commit[:12]}`" for commit in about["commits"]),
        "answers": answer_boxes.answers(verdicts, claims, {}),
        "of_paper": _of_paper,
        "untrained": answer_boxes.untrained(finished.differences(study)),
        "kinds": overview.by_kind(verdicts).to_dict("records"),
        "measured": len(known),
        "all": len(verdicts),
        "open": int((known.verdict == judgement.OPEN).sum()),
        "reasons": ", ".join(f"“{reason}” ({n})" for reason, n in judgement.open_reasons(known).items()),
        "out_of_sight": stated.out_of_sight(known).claim.tolist(),
    }


def _published(paper: str) -> dict[str, Any]:
    return yaml.safe_load((paths.REFERENCES / f"{paper}.yaml").read_text())


def _lines() -> str:
    """What each committed study found: what is settled, training against none, what is not settled."""
    current, earlier = _studies()
    return "\n".join([*(_lines_of(_study(study)) for study in current), *map(_line_of_earlier, earlier)])


def _lines_of(study: dict[str, Any]) -> str:
    parts = [f"{part.datasets} datasets of {part.part}" for part in study["scope"]]
    report = f"reports/reference/{study['name']}/index.html"
    lines = [
        f"Preset `{study['name']}`, {study['runs']}, {study['minutes']:.0f} minutes of training and evaluation on "
        f"{study['machine']}; "
        f"{' and '.join(parts)} ([report]({report})):\n\n"
    ]
    settled = [answer for answer in study["answers"] if answer.tone != "open"]
    lines += [f"- **{a.question} {a.word}.** {a.found} {_number(a)}\n" for a in settled]
    if study["untrained"]:
        lines.append(f"- **Does training help at all?** {study['untrained'][0]}\n")
    still_open = [f"{a.question} ({a.number}, {a.interval})" for a in study["answers"] if a.tone == "open" and a.number]
    if still_open:
        lines.append(f"- **Not settled:** {' '.join(still_open)}\n")
    return "".join(lines)


def _line_of_earlier(about: dict[str, Any]) -> str:
    """What is to be known of a committed study of an earlier version, and whether a new one is under way."""
    place = f"reports/reference/{about['preset']}"
    text = (
        f"[`{place}`]({place}/index.html) holds an older study, {about['runs']} runs of an earlier version of this "
        f"code, finished on {about['day']}."
    )
    kept = paths.REPORTS / "kept" / about["preset"]
    return text + (f" A new one is under way (`reports/kept/{about['preset']}`).\n" if kept.is_dir() else "\n")


def _number(answer: answer_boxes.Answer) -> str:
    return f"({answer.number}, {answer.interval}; {_of_paper(answer)})"


def _of_paper(answer: answer_boxes.Answer) -> str:
    return answer.paper if answer.paper == answer_boxes.NOT_IN_PAPER else f"the paper: {answer.paper}"


def main(arguments: list[str] | None = None) -> None:
    """`python -m study results`: write docs/RESULTS.md and the README's lines, and say so."""
    parser = argparse.ArgumentParser(prog="python -m study results", description=__doc__)
    parser.parse_args(arguments)
    for path in write():
        print(path.relative_to(paths.ROOT))
