"""The base of the probed adapters."""

import pytest

from tests.tiny_images import image_encoder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    image_encoder().save(folder)
    return folder
