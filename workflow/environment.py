"""Builds the environment of the checkout, once. Standard library only: it runs before there is an environment.

The environment is whole when its stamp is there: the hash of the lock, the platform and the Python, and the hash of
pyproject.toml, written last. A killed installation has no stamp and is removed by the next call.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from study.process import launcher
from tsembed.files import write_text

ROOT = Path(os.environ["TSEMBED_ROOT"])
PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"
NEEDED_GB = {"cpu": 4, "default": 14}  # the environment and the installer's cache
CUDA = re.compile(r"(nvidia|cuda|triton)[-_.]?", re.IGNORECASE)
_NO_NETWORK = re.compile(
    r"name resolution|NewConnectionError|Connection refused|Max retries|Name or service|failed to lookup|dns error"
    r"|tcp connect error|error sending request|Network is unreachable|timed out|ConnectTimeout|ProxyError"
)


class Failed(Exception):
    """The message is the one line that the user reads."""


def ready() -> Path:
    """The environment's interpreter, after building the environment if it is not whole.

    Raises:
        Failed: With cause and remedy.
    """
    kind = os.environ.get("TSEMBED_ENV") or "venv"
    if kind == "as-is":
        return Path(sys.executable)
    if kind == "conda":
        if not os.environ.get("CONDA_PREFIX"):
            raise Failed("--conda needs an active conda environment (CONDA_PREFIX is not set)")
        folder = Path(os.environ["CONDA_PREFIX"])
    elif kind == "venv":
        folder = ROOT / ".venv"
    else:
        raise Failed(f"TSEMBED_ENV={kind} is not one of venv, conda, as-is")
    python = folder / "bin" / "python"
    if _stamp(folder) == _expected_stamp(python if kind == "conda" else None):
        return python
    if sys.prefix != sys.base_prefix and Path(sys.prefix) == folder:  # leave what is about to be removed
        base = getattr(sys, "_base_executable", "")
        os.execv(base, [base, "-s", *sys.orig_argv[sys.orig_argv.index("-s") + 1 :]])
    waiting = "Another call is building the environment; waiting for it."
    with locked(ROOT / ".cache" / "environment.lock", waiting=waiting):
        if _stamp(folder) != _expected_stamp(python if kind == "conda" else None):
            _build(folder, conda=kind == "conda")
    return python


def lock(python: Path) -> int:
    """Write requirements.lock from pyproject.toml with uv; versions already in it are kept where they still fit."""
    uv = shutil.which("uv")
    if uv is None:
        folder = ROOT / ".cache" / "uv-tool"
        _install([str(python), "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(folder), "uv"], "uv")
        uv = str(folder / "bin" / "uv")
    target, draft = ROOT / "requirements.lock", ROOT / ".cache" / "requirements.txt"
    if target.is_file():
        shutil.copy(target, draft)
    _install(
        [
            uv,
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            "3.11",
            "--all-extras",
            "--no-annotate",
            "--no-header",
            "--output-file",
            str(draft),
            "pyproject.toml",
        ],
        "the packages of pyproject.toml",
    )
    pins = [line for line in draft.read_text(encoding="utf-8").splitlines() if not CUDA.match(line)]
    header = [
        "# Generated from pyproject.toml by: ./run_all.sh lock",
        "# All packages of all extras, for Python >= 3.11 on Linux and macOS. torch's CUDA packages are not here: on a",
        "# machine without an NVIDIA GPU none is installed, elsewhere torch itself pins them.",
    ]
    target.write_text("\n".join([*header, *pins]) + "\n")
    print(f"{target.name}: {len(pins)} packages")
    return 0


@contextlib.contextmanager
def locked(path: Path, *, waiting: str | None = None) -> Iterator[bool]:
    """Whether this process holds the lock file; the system frees it when the process ends, however it ends.

    Args:
        path: The lock file; it stays when the lock is free.
        waiting: Printed before waiting for another process; None: do not wait, the answer is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                yield False
                return
            print(waiting, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield True


def _expected_stamp(python: Path | None) -> dict[str, str]:
    """The stamp of a whole environment; `python` is asked for its version if it is not this one."""
    version = platform.python_version()
    if python is not None and python.is_file():
        version = subprocess.run([python, "-V"], capture_output=True, text=True).stdout.split()[-1]
    packages = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    for part in (sys.platform, platform.machine(), version, os.environ.get("TSEMBED_TORCH", "")):
        packages.update(f"\0{part}".encode())
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode())
    return {"packages": packages.hexdigest(), "project": project.hexdigest()}


def _stamp(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / "tsembed-stamp").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _build(folder: Path, *, conda: bool) -> None:
    expected, present, began = (
        _expected_stamp(folder / "bin" / "python" if conda else None),
        _stamp(folder),
        time.monotonic(),
    )
    python, uv = folder / "bin" / "python", shutil.which("uv")
    torch = _torch_build()
    install = [uv, "pip", "install", "--python", str(python), "--compile-bytecode"] if uv else None
    install = install or [str(python), "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    if present.get("packages") != expected["packages"]:
        free, needed = shutil.disk_usage(ROOT).free / 1e9, NEEDED_GB[torch]
        needed = float(os.environ.get("TSEMBED_NEEDED_GB") or needed)
        if free < needed:
            raise Failed(f"the environment needs {needed:g} GB of disk; {ROOT} has {free:.1f} GB free")
        kind = {"cpu": "CPU build of torch", "default": "ordinary build of torch"}[torch]
        print(f"Building the environment with {'uv' if uv else 'pip'} (Python {platform.python_version()}, {kind}):")
        (folder / "tsembed-stamp").unlink(missing_ok=True)
        if not conda:
            _make_venv(folder, uv)
        _install_packages(install, torch)
        if torch == "cpu":
            _assert_no_cuda(python)
    (folder / "tsembed-stamp").unlink(missing_ok=True)
    _install([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], "this package")
    _put_study_on_the_path(python)
    _kernel(folder)
    write_text(folder / "tsembed-stamp", json.dumps(expected) + "\n")
    print(f"The environment is ready after {time.monotonic() - began:.0f} s.", flush=True)


def _torch_build() -> str:
    """ "cpu" on Linux without a working NVIDIA GPU, else "default"."""
    build = os.environ.get("TSEMBED_TORCH")
    if build:
        if build not in NEEDED_GB:
            raise Failed(f"TSEMBED_TORCH={build} is not one of {', '.join(NEEDED_GB)}")
        return build
    if sys.platform != "linux":
        return "default"
    smi = shutil.which("nvidia-smi")
    return "default" if smi and subprocess.run([smi, "-L"], capture_output=True).returncode == 0 else "cpu"


def _make_venv(folder: Path, uv: str | None) -> None:
    if folder.exists() or folder.is_symlink():
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    if uv is None:
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError as error:
            version = ".".join(platform.python_version_tuple()[:2])
            raise Failed(
                f"{sys.executable} has no module {error.name}; on Debian and Ubuntu: apt install python{version}-venv"
            ) from None
        _install([sys.executable, "-m", "venv", str(folder)], "the virtual environment")
    else:
        _install([uv, "venv", "--python", sys.executable, str(folder)], "the virtual environment")


def _install_packages(install: list[str], torch: str) -> None:
    """torch first, so that its build is decided here, then the lock."""
    version = re.search(r"^torch==([\d.]+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)[1]
    if torch == "default":
        _install([*install, f"torch==={version}"], f"torch {version}")  # === : never 2.13.0+cpu of a local wheel folder
        _install([*install, "-r", "requirements.lock"], "the packages of requirements.lock")
        return
    wheel = [*install, "--no-deps", f"torch=={version}+cpu"]
    try:  # the user's own index or wheel folder first: nothing waits for a host that is not needed
        _install(wheel, f"torch {version}+cpu", quiet=True)
    except Failed:
        option = "--default-index" if "--compile-bytecode" in install else "--index-url"
        once = [] if "--compile-bytecode" in install else ["--retries=1", "--timeout=15"]
        _install([*wheel, *once, option, PYTORCH_CPU], f"torch {version}+cpu from {PYTORCH_CPU}")
    # The lock names everything that is needed, so dependencies are not resolved again: no CUDA package can come in.
    _install([*install, "--no-deps", "-r", "requirements.lock"], "the packages of requirements.lock")


def _install(command: list[str], subject: str, quiet: bool = False) -> None:
    """Run an installer; its output goes to .cache/install.log."""
    log, began = ROOT / ".cache" / "install.log", time.monotonic()
    print(f"  {subject} …", end="", flush=True)
    variables = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_HTTP_TIMEOUT": "60"}
    for pip, uv in (("PIP_FIND_LINKS", "UV_FIND_LINKS"), ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")):
        if pip in os.environ and uv not in os.environ:  # uv does not read pip's settings
            variables[uv] = os.environ[pip]
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(launcher("exec", *command), cwd=ROOT, env=variables, stdout=sink, stderr=sink)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code == 0:
        print(f" {time.monotonic() - began:.0f} s", flush=True)
        return
    print(" not there" if quiet else " failed", flush=True)
    text = log.read_text(errors="replace")
    raise Failed(f"cannot install {subject}: {_cause(text)} (log: .cache/install.log)")


def _cause(text: str) -> str:
    if "No space left on device" in text:
        return "no space left on the disk"
    if missing := re.search(r"ResolutionImpossible|Because .*|No matching distribution found for \S+", text):
        if not _NO_NETWORK.search(text):
            return missing[0].strip()
    if _NO_NETWORK.search(text):
        return "no network, or the package index cannot be reached"
    lines = [line for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "rror" in line), (lines or ["no output"])[-1]).strip()[:300]


def _assert_no_cuda(python: Path) -> None:
    listing = "import importlib.metadata as m; print('\\n'.join(d.name for d in m.distributions()))"
    names = subprocess.run([python, "-I", "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    if cuda := sorted(n for n in names if CUDA.match(n)):
        raise Failed(f"CUDA packages came into the CPU environment: {', '.join(cuda)}")


def _put_study_on_the_path(python: Path) -> None:
    """Make `python -m study` work from any folder: the wheel has no study, so the checkout itself goes on the path."""
    ask = [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    (packages / "tsembed-study.pth").write_text(f"{ROOT}\n")


def _kernel(folder: Path) -> None:
    """A named kernel inside the environment, for JupyterLab's launcher."""
    target = folder / "share" / "jupyter" / "kernels" / "tsembed"
    target.mkdir(parents=True, exist_ok=True)
    argv = [str(folder / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "tsembed", "language": "python", "metadata": {"debugger": True}}
    (target / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n")
