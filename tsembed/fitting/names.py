"""Names and defaults of `tsembed fit` and `tsembed mine`. Imports nothing, so that their help is there at once."""

NAMES = ("mote", "ic", "em", "moe_lora", "tsembed")  # variants, see `variants.variant`
FORMATS_OF_A_TABLE = ("pairs", "classification", "clustering")
MAX_TOKENS = 256  # of an input, where the model can take more and the user says nothing
PER_QUERY = 3  # mined negatives of a pair at most
MAX_RELATIVE_SCORE = 0.95  # of the positive's score, above which a candidate may be an answer that nobody marked
