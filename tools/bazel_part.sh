#!/bin/bash
# Prints the tests that CI runs under Bazel for this commit: all of native's, tests' and tools', and of the other
# rooms' one in PARTS (4), drawn by the commit. pytest runs those on each commit, from the same sources; what only
# Bazel finds there is a file that no target declares, and the next commits find it where this one does not.
# All of them: `bazel test //...`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
parts=${PARTS:-4}
commit=$(git rev-parse HEAD 2>/dev/null || cksum <version.bzl)

bazel query --noshow_progress --output=label 'tests(//...)' 2>/dev/null | while read -r target; do
  case $target in
    //native* | //tests* | //tools*) echo "$target" ;;
    *)
      sum=$(cksum <<<"$commit $target")
      ((${sum%% *} % parts)) || echo "$target"
      ;;
  esac
done
