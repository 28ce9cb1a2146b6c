"""What is known of the training that made a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..tasks import TASK_OF_TYPE


class Run(NamedTuple):
    """What a finished run's folder says about its model."""

    config: dict[str, Any]  # the settings, as in config.yaml
    env: dict[str, Any]
    scores: list[dict[str, Any]]
    manifest: dict[str, Any]  # of the data that it was trained on
    data: Path  # their folder
    untrained: Sequence[dict[str, Any]] = ()  # scores of the backbone as it was, where they were measured


def task_of_type(run: Run | None) -> dict[str, str]:
    """MTEB type -> task, as the run was evaluated."""
    return TASK_OF_TYPE | (run.config["variant"].get("task_of_type") or {} if run else {})
