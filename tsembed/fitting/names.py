"""Names that `tsembed fit` takes. Imports nothing, so that the command's help is there at once."""

NAMES = ("mote", "ic", "em", "moe_lora", "tsembed")  # variants, see `variants.variant`
FORMATS_OF_A_TABLE = ("pairs", "classification", "clustering")
