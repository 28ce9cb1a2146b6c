"""The paper's own tables: every cell that holds a number is a macro."""

from pathlib import Path

import pandas as pd

from tsembed.tasks import SEEN_TYPES, TASK_OF_IMAGE_TYPE, UNSEEN_TYPES

from ...analysis import claims as stated
from ...analysis import overview
from ...analysis.gains import EVERYTHING
from ..figures.words import words
from ..reference import finished
from ..style import MISSING
from ..tables.write import latex
from .macros import Macros, claim_macros, label, macro_name

GAINS = (("ic", "em"), ("mote", "em"), ("mote", "ic"))  # the columns: method, baseline
PLURALS = {
    "headline scores": "Headline scores",
    "similarity and gradients": "Similarity and gradients",
    "ablations": "Ablations",
    "TSEmbed": "TSEmbed",
    "our own questions": "Our own questions",
}


def gains(macros: Macros) -> str:
    """A row per task type: the multi-task model's score, three gains, and the paper's MoTE - IC; empty without any."""
    rows = [
        *[(kind, words(kind)) for kind in SEEN_TYPES],
        ("Seen", "all seen types"),
        *[(kind, words(kind)) for kind in UNSEEN_TYPES],
        ("Unseen", "all unseen types"),
        ("All", "all types"),
    ]
    lines = []
    for over, text in rows:
        names = [macro_name("em score", over), *(macro_name(m, "minus", b, over) for m, b in GAINS)]
        names.append(f"{macro_name('mote minus ic', over)}Paper")
        if not any(name in macros for name in names):
            continue
        count = macro_name("datasets", over)
        number = f" (\\{count}{{}})" if count in macros else ""
        cells = [f"{latex(text)}{number}", *(f"\\{n}{{}}" if n in macros else latex(MISSING) for n in names)]
        lines += [r"\addlinespace"] if over == UNSEEN_TYPES[0] and lines else []
        lines += [" & ".join(cells) + r" \\"]
    if not lines:
        return ""
    head = ["Task type (datasets)", f"{label('em')}, score"]
    head += [f"{label(method)} $-$ {label(baseline)}" for method, baseline in GAINS]
    head += ["the paper's"]
    return _tabular("lrrrrr", head, lines)


def images(macros: Macros, report: Path) -> str:
    """A row per method on images: its mean scores by meta-task, and over all datasets; empty without them."""
    path = report / "tables" / "tsembed_scores.csv"
    if not path.is_file():
        return ""
    scores = pd.read_csv(path)
    columns = [*TASK_OF_IMAGE_TYPE, EVERYTHING]
    lines = []
    for method, rows in scores.groupby("method", sort=False):
        means = rows.set_index("row")["mean"]
        numbers = [macros.put(macro_name("score", method, c), f"{means[c]:.1f}") for c in columns if c in means]
        if len(numbers) == len(columns):
            lines.append(" & ".join([label(method), *numbers]) + r" \\")
    head = ["Method", *(latex(words(column)) for column in columns)]
    return _tabular("l" + "r" * len(columns), head, lines) if lines else ""


def kinds(macros: Macros, verdicts: pd.DataFrame) -> str:
    """How many claims of each kind hold, are opposite, are open, or were not measured."""
    columns = ("claims", "holds", "opposite", "undecided", "unmeasured")
    lines = []
    for kind in overview.by_kind(verdicts).kind:
        cells = (f"\\{macro_name('kind', kind, column)}{{}}" for column in columns)
        lines.append(" & ".join([PLURALS[kind], *cells]) + r" \\")
    return _tabular("lrrrrr", ["Kind", "Claims", "Hold", "Opposite", "Open", "Not measured"], lines)


def claims(macros: Macros, verdicts: pd.DataFrame) -> str:
    """Every measured claim, kind by kind, as a table that breaks over pages."""
    known = finished.measured(verdicts)
    by_id = {claim.id: claim for claim in stated.claims()}
    kind_of = [overview.kind_of(*row) for row in zip(known.source, known.quantity, known.notebook, strict=True)]
    lines = []
    for kind in overview.KINDS:
        rows = known[[name == kind for name in kind_of]]
        if rows.empty:
            continue
        lines += [r"\addlinespace", rf"\multicolumn{{5}}{{l}}{{\emph{{{PLURALS[kind]}}}}} \\*"]
        for row in rows.itertuples():
            use = claim_macros(macros, row, by_id.get(row.id))
            said = use["verdict"] + (f" ({use['remark']})" if remark_of(macros, row.id) else "")
            lines.append(" & ".join([use["text"], use["value"], use["paper"], use["design"], said]) + r" \\")
    head = " & ".join(["Claim", "Difference", "The paper's", "Design", "Verdict"]) + r" \\"
    wide, narrow = (rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}" for share in ("0.31", "0.21"))
    return "\n".join(
        [
            rf"\begin{{longtable}}{{{wide}rrr{narrow}}}",
            r"\caption{Every claim that was measured. \resCaptionClaims{}}\label{tab:claims}\\",
            r"\toprule",
            head,
            r"\midrule\endfirsthead",
            r"\toprule",
            head,
            r"\midrule\endhead",
            r"\bottomrule\endfoot",
            *lines,
            r"\end{longtable}",
            "",
        ]
    )


def remark_of(macros: Macros, claim: str) -> str:
    """The text of a claim's remark; empty where it has none."""
    return macros.get(f"{macro_name('claim', claim)}Remark", "")


def _tabular(kinds_of_columns: str, head: list[str], lines: list[str]) -> str:
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{kinds_of_columns}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
