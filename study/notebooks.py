"""Which notebooks read the results of a preset: the graph runs them, the reference has them, the site shows them."""

from . import paths
from .presets import Preset
from .variant_rows import load_variants

WORDINGS = ("no_prefix", "swapped", "paraphrase_1", "paraphrase_2")
CLAIMS = "90_claims"  # reads what the other notebooks found
EFFICIENCY = "40_efficiency"  # measures the preset's own backbone, with texts
ANALYSES = "[2349]*.ipynb"  # 00 and 10 read no results
# Notebook -> the experiments, under `experiments` of a preset, and the variants whose runs it is about. A preset that
# lacks one does not have the notebook, so no cell asks whether there is anything to show. A notebook that is not here
# is part of every preset.
NEEDS: dict[str, tuple[str, ...]] = {
    "20_specialization": ("em", "ic", "mote"),
    "21_task_aware_training": ("mote_static", "ic_homogeneous", "ic_heterogeneous", "ic_t006"),
    "22_routing": ("mote", "tlr"),
    "23_block_placement": ("mote", "mote_eob"),
    "24_expert_averaging": ("em", "ic", "mote", "ea"),
    "25_inter_task_similarity": ("ic", "mote"),
    "26_conflict_and_drift": ("base", "em", "ic", "mote"),
    "27_scale": ("two_blocks", "three_blocks"),
    "28_instruction_and_experts": ("em", "ic", "mote", "mote_plain"),
    "28_wording": ("mote_plain", *(f"{model}_{words}" for model in ("ic", "mote") for words in WORDINGS)),
    "29_recipes": (
        *(f"{model}_{recipe}" for model in ("em", "ic", "mote") for recipe in ("labels", "both", "fast", "half")),
        *("sem_mean", "sem_mean_base", "mote_two", "mote_last", "mote_last_half"),
    ),
    "30_tsembed": ("images", "vl_lora_wide", "vl_moe_lora"),
    "31_expert_routing": ("images", "vl_moe_lora"),
    "32_text_adapters": ("text_adapters",),
    "33_specialised_experts": ("images_mixed", "vl_lora_wide", "vl_lora_wide_mixed", "tsembed_mixed"),
}


def analyses_of(preset: Preset) -> list[str]:
    """Names of the notebooks that read results and whose runs the preset has, in the order of their numbers."""
    names = sorted(path.stem for path in paths.NOTEBOOKS.glob(ANALYSES))
    absent = absent_from(preset)
    return [name for name in names if name not in absent]


def absent_from(preset: Preset) -> dict[str, str]:
    """Notebook -> the experiments and variants that it is about and that the preset does not have, as text."""
    variants = load_variants()
    present = {*preset.experiments, *(v for each in preset.all_experiments.values() for v in each.variants)}
    missing = {name: [need for need in needs if need not in present] for name, needs in NEEDS.items()}
    absent = {  # without an experiment its variants are missing, too: it says enough
        name: ", ".join([need for need in lacking if need not in variants] or lacking)
        for name, lacking in missing.items()
        if lacking
    }
    if len(absent) == len(NEEDS):  # a part of a preset in which nothing is compared, as `--only mote`
        absent[CLAIMS] = "two methods that a claim compares"
    if all(variants[name].of_images for name in preset.variants):
        absent[EFFICIENCY] = "a backbone of text"
    return absent


def experiments_of(notebook: str, preset: Preset) -> set[str]:
    """The preset's experiments that a notebook names in `NEEDS`."""
    return {need for need in NEEDS.get(notebook, ()) if need in preset.experiments}
