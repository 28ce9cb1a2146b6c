#!/usr/bin/env bash
# From a clean checkout to the report. `./run_all.sh --help` lists the commands.
#
# This file finds a Python and keeps everything that tools write inside the checkout; workflow/cli.py does the rest.
# It runs under bash 3.2 (macOS) as well.
set -euo pipefail

TSEMBED_CALLER="$PWD"
here="${BASH_SOURCE[0]}"
while [ -L "$here" ]; do # a link to this file may stand anywhere; macOS has no readlink -f
  link="$(readlink "$here")"
  case "$link" in /*) here="$link" ;; *) here="$(dirname "$here")/$link" ;; esac
done
root="$(cd "$(dirname "$here")" && pwd -P)"
cd "$root"

usage() {
  cat <<'HELP'
Usage: ./run_all.sh [COMMAND] [OPTIONS]

  [PRESET] [--data PATH] [--only VARIANT,...] [--seeds N] [--jobs N] [--profile local|slurm]
                    the whole study: data, trainings, notebooks, HTML report (default preset: cpu); with --only the
                    variants that are named and what they start from, with --seeds fewer seeds: every page that these allow
  test [...]        the tests; what follows goes to pytest
  check             lint, format, types and the fast tests, in less than three minutes
  plan [PRESET] [--data PATH] [--only VARIANT,...] [--seeds N]
                    what would run and what is done, without running it
  status [PRESET]   every node: done, running, queued, failed or missing, with its time
  fetch [PRESET] [--data PATH] [--only VARIANT,...] [--seeds N]
                    download and prepare what the runs need, where their machines have no network (docs/cluster.md)
  verify [PRESET] [--all]
                    compare the finished runs with the committed ones of reports/reference/PRESET: verdicts, then gains,
                    with --all also single scores and items;
                    status 0: nothing moved, 1: something did, or not all could be compared, 2: there is nothing to compare
  paper PRESET [--reference]
                    write a finished study as a LaTeX folder, reports/PRESET/paper/, and as report.pdf where LaTeX is
                    installed; of the committed study where no run here is finished, or with --reference.
                    Without a preset behind it, `paper` is the preset of that name
  lab [...]         JupyterLab with the kernel of this environment; what follows goes to it
  clean [PRESET] [--yes]
                    delete runs/PRESET and reports/PRESET
  lock              write requirements.lock anew from pyproject.toml (needs a network)
  --help            this text

Each command builds the environment in .venv first, once; it needs only Python >= 3.11 with pip and venv.
uv is used if it is on PATH.

  --conda           use the active conda environment instead of .venv (also TSEMBED_ENV=conda)
  TSEMBED_PYTHON    the interpreter to build with, e.g. python3.12
  TSEMBED_ENV       venv (default), conda, or as-is: TSEMBED_PYTHON as it stands, nothing is installed
  TSEMBED_TORCH     cpu or default: which build of torch, where the machine that installs is not the one that trains
  TSEMBED_PRECISION fp32 or bf16: what `precision: auto` of a preset means, whatever the processor
  HF_HOME           where downloaded models are kept (default: .cache/huggingface)
  HF_TOKEN          a token of the hub, for restricted files; else that of `hf auth login`
HELP
}

fail() {
  echo "run_all.sh: $*" >&2
  exit 1
}

recent() { "$1" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Prints the interpreter that runs workflow/cli.py; one line on stderr and status 1 if there is none.
find_python() {
  local name path found=""
  if [ -n "${TSEMBED_PYTHON:-}" ]; then
    path="$(command -v "$TSEMBED_PYTHON" || true)"
    [ -n "$path" ] || fail "TSEMBED_PYTHON=$TSEMBED_PYTHON is not a program"
    recent "$path" || fail "TSEMBED_PYTHON=$TSEMBED_PYTHON is not Python 3.11 or newer: $("$path" --version 2>&1 | head -n 1)"
    echo "$path"
    return
  fi
  if [ -f .venv/tsembed-stamp ] && [ -x .venv/bin/python ]; then # the stamp is checked by cli.py
    echo "$root/.venv/bin/python"
    return
  fi
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    path="$(command -v "$name" || true)"
    [ -n "$path" ] || continue
    if recent "$path"; then
      echo "$path"
      return
    fi
    found="$found $name ($("$path" --version 2>&1 | head -n 1))"
  done
  fail "needs Python 3.11 or newer with venv; found${found:- none}. Install one, or set TSEMBED_PYTHON to its path"
}

case "${1:-}" in -h | --help | help) usage && exit 0 ;; esac

# A token of `hf auth login` stays where it is when the caches move.
home="${HF_HOME:-${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/huggingface}"
export HF_TOKEN_PATH="${HF_TOKEN_PATH:-$home/token}"

# Caches, settings and temporary files of every tool: in the checkout, not in the user's home.
cache="$root/.cache"
export TSEMBED_CALLER TSEMBED_ROOT="$root" PYTHONPATH="$root" PYTHONNOUSERSITE=1
export PYTHONUTF8=1 # files are UTF-8, whatever the locale says
unset PYTHONHOME PYTHONDONTWRITEBYTECODE
export XDG_CACHE_HOME="$cache" XDG_CONFIG_HOME="$cache/config" XDG_DATA_HOME="$cache/share" XDG_STATE_HOME="$cache/state"
export PIP_CACHE_DIR="$cache/pip" UV_CACHE_DIR="$cache/uv" UV_PYTHON_DOWNLOADS=never
export HF_HOME="${HF_HOME:-$cache/huggingface}" MTEB_CACHE="$cache/mteb" MPLCONFIGDIR="$cache/matplotlib"
export TORCH_HOME="$cache/torch" TORCHINDUCTOR_CACHE_DIR="$cache/inductor" TRITON_CACHE_DIR="$cache/triton"
export IPYTHONDIR="$cache/ipython" JUPYTER_CONFIG_DIR="$cache/jupyter/config" JUPYTER_DATA_DIR="$cache/jupyter/data"
export npm_config_cache="$cache/npm" # jupyter-lsp asks npm where its packages are
export JUPYTER_RUNTIME_DIR="$cache/jupyter/runtime" JUPYTER_PREFER_ENV_PATH=1 PLAYWRIGHT_BROWSERS_PATH="$cache/playwright"
if [ "${#cache}" -le 50 ]; then export TMPDIR="$cache/tmp"; fi # a socket's path below it may have 107 characters
export HF_HUB_DISABLE_TELEMETRY=1 DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 WANDB_MODE=disabled TOKENIZERS_PARALLELISM=false
mkdir -p "$cache/tmp" 2>/dev/null || fail "cannot write to $root"

python="$(find_python)"
exec "$python" -s workflow/cli.py "$@"
