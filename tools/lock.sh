#!/bin/bash
# Writes requirements_lock.txt anew: what requirements.in resolves to in an empty venv.
#   tools/lock.sh [PYTHON]         resolve anew (make lock)
#   tools/lock.sh --freeze PYTHON  write down what PYTHON has installed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} == --freeze ]]; then
  python=$2
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  "${1:-python3}" -m venv "$scratch/venv"
  python=$scratch/venv/bin/python
  "$python" -m pip install --quiet --upgrade pip
  "$python" -m pip install --quiet --requirement requirements.in
fi

# A local label (torch 2.13.0+cpu) names one builder's file: the public version takes any of them.
pins=$("$python" -m pip freeze --all --exclude pip --exclude mainspring | sed -E 's/\+[A-Za-z0-9.]+$//' | LC_ALL=C sort -f)
if wrong=$(grep -vE '^[A-Za-z0-9._-]+==[^ ]+$' <<<"$pins"); then
  echo "tools/lock.sh: not a pin of a registry; install it by name and version: $wrong" >&2
  exit 1
fi
{
  echo "# Exact pins of one whole installation, for pip, for Bazel's local_pypi and for pip.parse."
  echo "# Made by \`make lock\` from requirements.in; not edited by hand."
  echo "$pins"
} >requirements_lock.txt
echo "requirements_lock.txt: $(wc -l <<<"$pins") pins"
