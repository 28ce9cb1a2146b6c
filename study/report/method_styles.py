"""How every method and task is drawn: one label, colour and marker each, in all figures and tables."""

from typing import NamedTuple

from tsembed.tasks import TEXT_TASKS


class Look(NamedTuple):
    """How a method is drawn, everywhere. The colours differ in lightness too, so that they survive a grey print."""

    label: str
    colour: str
    marker: str


METHODS: dict[str, Look] = {
    "base": Look("Untrained", "#B0B0B0", "x"),
    "em": Look("EM", "#000000", "o"),
    "sem": Look("SEM", "#E3B505", "v"),
    "sem_c": Look("SEM-c", "#E3B505", "v"),
    "sem_k": Look("SEM-k", "#E3B505", "<"),
    "sem_r": Look("SEM-r", "#E3B505", ">"),
    "ic": Look("IC", "#0B4A8F", "s"),
    "mote": Look("MoTE", "#D1603D", "D"),
    "mote_eob": Look("MoTE-EOB", "#C58BBE", "P"),
    "mote_static": Look("MoTE-static", "#4B1D5B", "p"),
    "mote_shared": Look("MoTE-shared", "#F2A07B", "h"),
    "tlr": Look("TLR", "#166E4F", "^"),
    "ea": Look("EA", "#62B6CB", "X"),
    "ic_homogeneous": Look("one dataset, 0.03", "#4C8BD1", "<"),
    "ic_heterogeneous": Look("mixed, 0.03", "#0B4A8F", "s"),
    "ic_warm": Look("mixed, 0.06", "#E3B505", ">"),
    "ic_topical": Look("IC, clustering route", "#6FA0DC", "d"),
    "mote_topical": Look("MoTE, clustering route", "#F9C3AA", "8"),
    # TSEmbed's rows look alike on pictures and on text …
    "vl_base": Look("Base, zero-shot", "#B0B0B0", "x"),
    **dict.fromkeys(("vl_lora", "lora"), Look("LoRA", "#000000", "o")),
    **dict.fromkeys(("vl_lora_wide", "lora_wide"), Look("LoRA, 4 r", "#62B6CB", "v")),
    "lora_wide_slow": Look("LoRA, 4 r, 0.3 x rate", "#62B6CB", "<"),
    **dict.fromkeys(("vl_moe", "moe_lora"), Look("MoE-LoRA", "#0B4A8F", "s")),
    **dict.fromkeys(("tsembed", "tsembed_text"), Look("TSEmbed", "#D1603D", "D")),
    **dict.fromkeys(("tsembed_one_stage", "tsembed_text_one_stage"), Look("TSEmbed, one stage", "#F2A07B", "h")),
    **dict.fromkeys(("vl_moe_task", "moe_lora_task"), Look("MoE-LoRA, by task", "#166E4F", "^")),
    # … and their ablations like the row that they change
    **{f"vl_moe_{n}": Look(f"{n} expert{'s' * (n > 1)}", "#0B4A8F", "s") for n in (1, 2, 8)},
    **{f"vl_moe_top{k}": Look(f"top-{k}", "#0B4A8F", "s") for k in (1, 2)},
    **{f"vl_moe_r{r}": Look(f"r {r}", "#0B4A8F", "s") for r in (4, 32)},
    "vl_moe_sequence": Look("routed by sequence", "#0B4A8F", "s"),
    "vl_moe_balanced": Look("load balancing", "#0B4A8F", "s"),
    **{f"tsembed_beta{b}": Look(f"beta {b}", "#D1603D", "D") for b in (3, 30)},
    "tsembed_deviation": Look("beta 1 per deviation", "#D1603D", "D"),
    "tsembed_deviation_random": Look("permuted, per deviation", "#D1603D", "D"),
    "tsembed_centered": Look("centered, per deviation", "#D1603D", "D"),
    "tsembed_text_deviation": Look("TSEmbed, per deviation", "#8C2F1B", "P"),
    "tsembed_text_centered": Look("TSEmbed, centered", "#8C2F1B", "v"),
    "tsembed_top8": Look("8 nearest", "#D1603D", "D"),
    "tsembed_kl": Look("KL", "#D1603D", "D"),
    "tsembed_last": Look("last token", "#D1603D", "D"),
    "tsembed_hardness": Look("by embedding", "#D1603D", "D"),
    "tsembed_random": Look("permuted", "#D1603D", "D"),
    "tsembed_quarter": Look("stage 1: 25 %", "#D1603D", "D"),
    "tsembed_half": Look("stage 1: 50 %", "#D1603D", "D"),
}
TASK_COLOURS = dict(zip(TEXT_TASKS, ("#0B4A8F", "#D1603D", "#E3B505"), strict=True))
