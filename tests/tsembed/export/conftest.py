"""Where transformers copies the code that a model carries to: not the user's own cache."""

import pytest


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory):
    """The folder of carried code; one for all tests, for Python imports the package inside it once."""
    from transformers import dynamic_module_utils

    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(folder)
        yield folder
