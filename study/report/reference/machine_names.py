"""What a file would tell about the machine that wrote it: paths, host names, package indexes."""

import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlparse

from ... import paths

# An absolute path of a usual place; not a part of an address or of a longer path.
PATH = re.compile(r"(?<![\w./:-])/(?:home|Users|root|tmp|work|mnt|opt|srv|data|private|var|scratch)/[\w.+-]+")
WINDOWS = re.compile(r"\b[A-Z]:\\\\?Users\\")
EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=\s]+")
INDEXES = ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "DEFAULT_INDEX", "INDEX")
PUBLIC_INDEXES = ("pypi.org", "pythonhosted.org", "pytorch.org")  # say nothing about a machine
TEXT = (".html", ".csv", ".tex", ".json", ".yaml", ".svg", ".md")


def traces(path: Path, names: list[str]) -> list[str]:
    """What a file holds of the names, and in a text any absolute path.

    Args:
        path: By its suffix a text; of any other file the bytes are searched.
        names: As `machine_names` gives them.
    """
    content = path.read_bytes().decode("utf-8" if path.suffix in TEXT else "latin-1")
    content = EMBEDDED.sub("", content)
    matches = [name for name in names if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", content)]
    if path.suffix in TEXT:
        matches += [m[0] for pattern in (PATH, WINDOWS) for m in pattern.finditer(content)]
    return list(dict.fromkeys(matches))


def machine_names() -> list[str]:
    """Folders, host name and package indexes of this machine.

    A host name that is an ordinary word tells nothing, and is left out.
    """
    folders = {str(paths.ROOT), str(paths.ROOT.resolve()), str(Path.home()), sys.prefix, tempfile.gettempdir()}
    names = {folder for folder in folders if folder.count("/") > 1 or (len(folder) > 4 and folder != "/root")}
    host = socket.gethostname()
    if re.search(r"[\d.-]", host) and host != "localhost":
        names.add(host)
    return sorted(names | _index_hosts())


def _index_hosts() -> set[str]:
    """Hosts of the package indexes that pip and uv are told to use, but for the public one."""
    values = [os.environ.get(f"{tool}_{key}", "") for tool in ("PIP", "UV") for key in INDEXES]
    hosts = {
        urlparse(word).hostname for word in re.findall(r"https?://[^\s'\"]+", " ".join([*values, _pip_settings()]))
    }
    return {host for host in hosts if host and not f".{host}".endswith(tuple(f".{name}" for name in PUBLIC_INDEXES))}


@functools.cache
def _pip_settings() -> str:
    """What pip's own files say; empty where there is no pip."""
    return subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
