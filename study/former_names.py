"""Variants and verdicts that had another name: run folders and references that were made under it are still read."""

from collections.abc import Mapping
from typing import Any

CURRENT = {
    "ic_warm": "ic_t006",
    "ic_topical": "ic_cluster_route",
    "mote_topical": "mote_cluster_route",
    "sem_c": "sem_classification",
    "sem_k": "sem_clustering",
    "sem_r": "sem_retrieval",
}
FORMER_PREFIX, PREFIX = "vl_moe", "vl_moe_lora"


def current_name(variant: str) -> str:
    """The name of today of a variant.

    >>> current_name("sem_k"), current_name("vl_moe_r4"), current_name("vl_moe_lora_r4"), current_name("mote")
    ('sem_clustering', 'vl_moe_lora_r4', 'vl_moe_lora_r4', 'mote')
    """
    if variant.startswith(FORMER_PREFIX) and not variant.startswith(PREFIX):
        return PREFIX + variant.removeprefix(FORMER_PREFIX)
    return CURRENT.get(variant, variant)


def former_name(variant: str) -> str:
    """The name that a variant had before; its own where it has not changed.

    >>> former_name("sem_clustering"), former_name("vl_moe_lora"), former_name("mote")
    ('sem_k', 'vl_moe', 'mote')
    """
    if variant.startswith(PREFIX):
        return FORMER_PREFIX + variant.removeprefix(PREFIX)
    return next((former for former, current in CURRENT.items() if current == variant), variant)


def current_negatives(negatives: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of weighted negatives by today's keys. The first stage once ended by another rule, with a tolerance.

    >>> current_negatives({"beta": 3.0, "first_stage": "settled", "tolerance": 0.25})
    {'beta': 3.0, 'first_stage': 'specialised'}
    """
    kept = {key: value for key, value in negatives.items() if key != "tolerance"}
    former = [key for key in ("first_stage", "stage_one") if kept.get(key) == "settled"]
    return kept | dict.fromkeys(former, "specialised")


FORMER_VERDICTS = {"inconclusive at this scale": "open"}
FORMER_VERDICTS_OF_OURS = {"reproduced": "supported", "contradicted": "refuted"}


def current_verdict(verdict: str, *, ours: bool) -> str:
    """The word of today for a verdict.

    Args:
        verdict: As a table has it.
        ours: Whether the claim is a question of our own: it had the words of the papers' claims.

    >>> current_verdict("inconclusive at this scale", ours=False), current_verdict("reproduced", ours=True)
    ('open', 'supported')
    """
    return FORMER_VERDICTS.get(verdict, FORMER_VERDICTS_OF_OURS.get(verdict, verdict) if ours else verdict)
