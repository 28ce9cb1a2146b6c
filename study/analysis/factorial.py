"""The 2 x 2 of instruction and experts: main effects, simple effects and interaction as contrasts of four methods.

                one model      an expert per route
no prefix       em             mote_plain
a prefix        ic             mote
"""

from .contrasts import Weights, difference

INSTRUCTION, EXPERTS, INTERACTION = "instruction, mean of both", "experts, mean of both", "interaction"

# A main effect is the mean of two simple effects; the interaction is what experts add with an instruction less what
# they add without one, which is the same as what an instruction adds to experts less what it adds to one model.
EFFECTS: dict[str, Weights] = {
    INSTRUCTION: {"ic": 0.5, "mote": 0.5, "em": -0.5, "mote_plain": -0.5},
    "instruction alone (IC − EM)": difference("ic", "em"),
    "instruction, with experts (MoTE − experts)": difference("mote", "mote_plain"),
    EXPERTS: {"mote_plain": 0.5, "mote": 0.5, "em": -0.5, "ic": -0.5},
    "experts alone (experts − EM)": difference("mote_plain", "em"),
    "experts, with instruction (MoTE − IC)": difference("mote", "ic"),
    INTERACTION: {"mote": 1.0, "mote_plain": -1.0, "ic": -1.0, "em": 1.0},
    "both (MoTE − EM)": difference("mote", "em"),
}
CELLS = ("em", "ic", "mote_plain", "mote")
