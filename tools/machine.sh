#!/bin/bash
# Prints the Python to build with, or one line that says what this machine lacks and how to get it.
#   PYTHON=... forces one; otherwise the first of the usual names that is 3.11 or newer.
set -euo pipefail

lack() { echo "setup: $1" >&2; exit 1; }

python=
for name in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$name; break; fi
done
[[ -n $python ]] || lack "no Python 3.11 or newer among: ${PYTHON:-python3 python3.11 python3.12 python3.13}; run: sudo apt-get install python3 python3-venv python3-dev, or make setup PYTHON=/path/to/python"

"$python" -c 'import ensurepip, venv' 2>/dev/null || lack "$python cannot make a venv; run: sudo apt-get install python3-venv"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' \
  || lack "$python has no Python.h; run: sudo apt-get install python3-dev"
command -v "${CXX:-g++}" >/dev/null || lack "no C++ compiler \`${CXX:-g++}\`; run: sudo apt-get install g++, or make setup CXX=/path/to/compiler"

echo "$python"
