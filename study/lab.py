"""JupyterLab's way to the notebooks, for `./run_all.sh lab`: opening one does not mark it as changed.

When a kernel starts, JupyterLab writes what the kernel says of itself into the notebook: the exact version of Python,
and so on. A notebook that was kept without them counts as changed as soon as it is open, and is asked about when it is
closed. So the notebook gets them when it is read, and loses them again when it is written: the file has what all
machines have in common.
"""

from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelspec import get_kernel_dict
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

KERNEL = "python3"  # of the notebooks; another kernel's metadata are left alone
KEPT_LANGUAGE = {"name": "python"}


def kernel_metadata() -> dict[str, dict[str, Any]]:
    """The metadata that JupyterLab gives a notebook whose kernel is this interpreter's."""
    spec = get_kernel_dict()
    names = {"display_name": spec["display_name"], "language": spec["language"], "name": KERNEL}
    return {"kernelspec": names, "language_info": dict(IPythonKernel.language_info)}


class NotebookContents(AsyncLargeFileManager):
    """The files below the server's root; notebooks as a starting kernel leaves them."""

    async def get(self, path: str, content: bool = True, *args: Any, **more: Any) -> dict[str, Any]:
        """The model of a file or folder, as JupyterLab asks for it."""
        model = await super().get(path, content, *args, **more)
        if (metadata := _metadata(model)) is not None:
            metadata.update(kernel_metadata())
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """Write a file and return its model without content."""
        if (metadata := _metadata(model)) is not None:
            metadata.update(kernel_metadata() | {"language_info": KEPT_LANGUAGE})
        return await super().save(model, path)


def _metadata(model: dict[str, Any]) -> dict[str, Any] | None:
    """The metadata of a notebook that uses `KERNEL`; None of anything else, and of a model without content."""
    if model.get("type") != "notebook" or not isinstance(content := model.get("content"), dict):
        return None
    metadata = content.get("metadata", {})
    return metadata if metadata.get("kernelspec", {}).get("name") == KERNEL else None
