#!/bin/bash
# Formats Starlark, Python and C++ in the source tree; with --check it only reports, and lints too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check=
[[ ${1-} == --check ]] && check=yes
bin=.venv/bin
failed=0

# What git tracks or would track, and still exists.
sources() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [[ -f $f ]] && echo "$f"; done; }
try() { echo "+ $1 ${2-} ${3-} ..."; "$@" || failed=1; }

if [[ $check ]]; then
  try "$bin/ruff" check --quiet .
  try "$bin/ruff" format --quiet --check .
else
  try "$bin/ruff" check --quiet --fix .
  try "$bin/ruff" format --quiet .
fi

if [[ $check ]]; then try "$bin/python" tools/reference --check; else try "$bin/python" tools/reference; fi

mapfile -t cpp < <(sources '*.cc' '*.h' '*.cu' '*.cuh')
if ((${#cpp[@]})); then
  if [[ $check ]]; then try "$bin/clang-format" --dry-run --Werror "${cpp[@]}"; else try "$bin/clang-format" -i "${cpp[@]}"; fi
fi

# -warnings=all is also the readiness test for Bazel 8 and 9: a rule used without its load() shows up
# here. Only the stand-ins for Bazel 4 may name native rules.
if buildifier=$(tools/buildifier.sh 2>/dev/null); then
  mapfile -t starlark < <(sources '*.bzl' '*.bazel' WORKSPACE WORKSPACE.bzlmod '*/BUILD' '*.BUILD')
  mapfile -t ours < <(printf '%s\n' "${starlark[@]}" | grep -vE '^third_party/(bazel4/|googletest.BUILD)')
  if [[ $check ]]; then
    try "$buildifier" -mode=check "${starlark[@]}"
    try "$buildifier" -mode=check -lint=warn -warnings=all "${ours[@]}"
  else
    try "$buildifier" -mode=fix "${starlark[@]}"
  fi
else
  echo "skipped: buildifier is not here and npm cannot bring it"
fi
exit $failed
