"""Strict execution of a notebook: `python -m study notebook NOTEBOOK OUT.ipynb -p name value …`.

papermill executes; this wrapper is strict where papermill is not. Unknown or ill-typed parameters are errors before
a kernel starts, a dead kernel or a time-out is a failure, and `OUT.done` is written last.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tsembed.files import write_text

from .. import paths
from ..process import launcher, run_supervised

__all__ = ["NotebookError", "check_parameters", "execute", "mark_of", "parameters_of", "run_supervised"]

_LAST_LINES = 12  # of a cell's traceback in the message
_SOCKET_PATH = 70  # characters of the folder; a unix socket's path may have 107, and zmq appends a port number


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names the cell."""


def execute(
    notebook: Path, output: Path, parameters: dict[str, Any], *, kernel: str = "python3", timeout: float | None = None
) -> None:
    """Execute a notebook with parameters; write the executed copy, then the mark `<output>.done`.

    The kernel is this interpreter, in the notebook's folder as under JupyterLab; another `kernel` is looked up among
    the installed ones. A failed run leaves `<stem>.failed.ipynb` beside the output, and no mark.

    Args:
        notebook: The source, with one cell tagged `parameters`.
        output: Written by rename when every cell has run.
        parameters: New values of names in the `parameters` cell.
        kernel: "python3" is this interpreter; another name must be installed.
        timeout: Seconds that one cell may take; None: no limit.

    Raises:
        ValueError: If a parameter is unknown or has another type than its default, the notebook is none, or a path
            cannot be used; no kernel was started.
        NotebookError: If a cell raises, takes too long, or the kernel dies.
    """
    notebook, output = notebook.resolve(), output.resolve()
    check_parameters(notebook, parameters)
    if {"{", "}"} & set(f"{notebook}{output}"):
        raise ValueError(f"{notebook}, {output}: papermill fills in what stands in braces of a path; take them out")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{output}: its folder cannot be made ({error.strerror})") from None

    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    mark, running = mark_of(output), output.with_name(f".{output.stem}.running.ipynb")
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    mark.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    started, at = time.monotonic(), {}

    def remember(cell, cell_index):
        at.update(cell=cell, index=cell_index)

    def fail(fault: str) -> NotebookError:
        os.replace(running, failed)
        return NotebookError(f"{notebook.name}: {_cell(failed, at)}: {fault}\nnotebook so far: {failed}")

    short = len(tempfile.gettempdir()) < _SOCKET_PATH
    folder = Path(tempfile.mkdtemp(prefix="tsembed-", dir=None if short else "/tmp"))
    try:
        papermill.execute_notebook(
            notebook,
            running,
            parameters,
            kernel_name=kernel,
            language="python",
            cwd=notebook.parent,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            execution_timeout=timeout,
            kernel_manager_class=_kernel_manager(folder),
            on_cell_start=remember,
        )
    except DeadKernelError:
        raise fail("the kernel died; probably out of memory") from None
    except CellTimeoutError:
        raise fail(f"took longer than {timeout:g} s") from None
    except KeyboardInterrupt:
        running.unlink(missing_ok=True)
        raise
    except PapermillExecutionError as error:
        lines = _plain("\n".join(error.traceback)).splitlines() or [f"{error.ename}: {error.evalue}"]
        raise fail("failed\n" + "\n".join(lines[-_LAST_LINES:])) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _forget_paths(running, notebook, output)
    os.replace(running, output)
    content = {
        "notebook": hashlib.sha256(notebook.read_bytes()).hexdigest(),
        "parameters": parameters,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_text(mark, json.dumps(content, indent=1, sort_keys=True) + "\n")


def mark_of(output: Path) -> Path:
    """The file that says that `output` is complete."""
    return output.with_name(f"{output.name}.done")


def parameters_of(notebook: Path) -> dict[str, Any]:
    """Names and default values in the cell tagged `parameters`.

    Raises:
        ValueError: If there is not exactly one such cell, or a default is not a literal.
    """
    cells = [c for c in _cells(notebook) if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{notebook}: {len(cells)} cells have the tag 'parameters'; there must be one")
    defaults = {}
    for node in ast.parse("".join(cells[0]["source"])).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        for target in targets:
            try:
                defaults[target.id] = ast.literal_eval(node.value)
            except (ValueError, AttributeError):
                raise ValueError(
                    f"{notebook}: parameters cell, line {node.lineno}: {ast.unparse(node)!r}: "
                    "a parameter is one name with a literal default"
                ) from None
    return defaults


def _cells(notebook: Path) -> list[dict]:
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{notebook}: no notebook: not valid JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        version = content.get("nbformat") if isinstance(content, dict) else None
        raise ValueError(f"{notebook}: no notebook with cells, as nbformat 4 has them, but one of nbformat {version!r}")
    return content["cells"]


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Nothing, if every parameter is known and has the type of its default.

    An int may stand for a float. A default of None accepts any value.

    Raises:
        ValueError: With notebook, parameter, value, rule and the known names.
    """
    if not notebook.is_file():
        raise ValueError(f"{notebook}: there is no such notebook")
    defaults = parameters_of(notebook)
    listed = ", ".join(f"{n}: {type(v).__name__} = {v!r}" for n, v in defaults.items()) or "none"
    for name, value in parameters.items():
        if name not in defaults:
            raise ValueError(f"{notebook}: parameter {name!r} (value {value!r}) is unknown; known: {listed}")
        default = defaults[name]
        if default is None or type(value) is type(default) or (type(default), type(value)) == (float, int):
            continue
        raise ValueError(
            f"{notebook}: parameter {name!r} has the value {value!r}, of type {type(value).__name__}; "
            f"its default {default!r} asks for {type(default).__name__}; known: {listed}"
        )


def _kernel_manager(folder: Path):
    """A kernel manager class: this interpreter, ipc sockets and IPython's files in `folder`, killed with this process.

    ipc, because ipykernel warns at every start over tcp that it is not encrypted.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from traitlets import default

    same_code = os.pathsep.join(filter(None, [str(Path(paths.__file__).parent.parent), os.environ.get("PYTHONPATH")]))

    class ThisInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            if kernel_name != "python3":
                return super().get_kernel_spec(kernel_name)
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(
                argv=launcher("exec", *command),
                display_name="Python 3",
                language="python",
                env={"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": same_code},
            )

    class IpcKernelManager(AsyncKernelManager):
        @default("transport")
        def _transport(self):
            return "ipc"

        @default("ip")
        def _ip(self):
            return str(folder / "k")

        @default("connection_file")
        def _connection_file(self):
            return str(folder / "kernel.json")

        @default("kernel_spec_manager")
        def _specs(self):
            return ThisInterpreter(parent=self)

    return IpcKernelManager


def _cell(executed: Path, at: dict) -> str:
    """Which cell it was, counted as in the source notebook, with its first line."""
    if not at:
        return "before the first cell"
    cells = json.loads(executed.read_text())["cells"][: at["index"] + 1]
    injected = sum("injected-parameters" in c["metadata"].get("tags", []) for c in cells)
    first = next((line for line in at["cell"].source.splitlines() if line.strip()), "")
    return f"cell {at['index'] + 1 - injected} ({first.strip():.60})"


def _forget_paths(executed: Path, notebook: Path, output: Path) -> None:
    """Replace the machine's paths that papermill notes in the metadata by names."""
    content = json.loads(executed.read_text())
    content["metadata"]["papermill"] |= {"input_path": notebook.name, "output_path": output.name}
    executed.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _value(text: str) -> Any:
    """A command line's value: a Python literal if it is one, else the text itself.

    >>> _value("3"), _value("1e-4"), _value("cpu"), _value("None")
    (3, 0.0001, 'cpu', None)
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 the notebook failed, 2 a parameter was rejected."""
    parser = argparse.ArgumentParser(prog="python -m study notebook", description=execute.__doc__.split("\n")[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--timeout", type=float, help="seconds that one cell may take")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        execute(
            options.notebook, options.output, {n: _value(v) for n, v in options.parameters}, timeout=options.timeout
        )
    except (ValueError, NotebookError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        print(f"{options.notebook.name}: interrupted", file=sys.stderr)
        return 130
    return 0
