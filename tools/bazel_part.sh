#!/bin/bash
# Prints what CI tests under Bazel for this commit: all of native's, tests' and tools', and of the other rooms' tests
# one in PARTS (8), drawn by the commit. pytest runs those on each commit, from the same sources; what only Bazel
# finds there is a file that no target declares, and the next commits find it where this one does not.
# All of them: `bazel test //...`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts=${PARTS:-8}
commit=$(git rev-parse HEAD 2>/dev/null || cksum <version.bzl)

# Patterns: a target that cannot be built here is left out of a pattern, and an error where it is named.
whole=(//native/... //tests/... //tools/...)
printf '%s\n' "${whole[@]}"
bazel query --noshow_progress --output=label "tests(//...) - tests(set(${whole[*]}))" 2>/dev/null | while read -r target; do
  sum=$(cksum <<<"$commit $target")
  ((${sum%% *} % parts)) || echo "$target"
done
