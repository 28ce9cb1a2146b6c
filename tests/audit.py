"""Asks whether a pinned package has a known vulnerability: `python -m tests.audit`, with a network.

pip-audit looks every line of requirements.lock up, in an environment of its own; it installs none of them. Status 1: at
least one has a known vulnerability. Where advisories cannot be had, one line says so and the status is 0: pip-audit
itself says "no known vulnerabilities" also where an index knows packages and no advisories.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
TOOL = "pip-audit==2.10.1"
OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")  # the lock is whole


def verdict(report: str, errors: str) -> tuple[int, list[str]]:
    """Status and lines to print for what pip-audit wrote.

    >>> verdict('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', "")
    (0, ['dependencies: 1 of 1 audited, no known vulnerability'])

    Args:
        report: Its JSON; "" where it gave up.
        errors: What it said besides.
    """
    if not report.strip():
        why = (errors.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return 0, [f"dependencies: not audited, {why}"]
    packages = json.loads(report)["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return 0, ["dependencies: not audited, the index that can be reached here has no advisories"]
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package in audited
        for fault in package["vulns"]
    ]
    share = f"dependencies: {len(audited)} of {len(packages)} audited"
    return int(bool(found)), [
        f"{share}, {len(found) or 'no'} known {'vulnerabilities' if len(found) > 1 else 'vulnerability'}",
        *found,
    ]


def main() -> int:
    """Install pip-audit in a temporary folder, and print what it finds in the lock."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", TOOL]
        if subprocess.run(install, capture_output=True).returncode:
            print(f"dependencies: not audited, {TOOL} cannot be installed here")
            return 0
        audit = [python, "-m", "pip_audit", "--requirement", LOCK, *OPTIONS]
        done = subprocess.run(audit, capture_output=True, text=True)
    status, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
