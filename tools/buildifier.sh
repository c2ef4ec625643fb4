#!/bin/bash
# Prints the path of buildifier: the one on PATH, else the pinned one from npm in .tools/ (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=8.2.1
if command -v buildifier; then exit 0; fi
case $(uname -sm) in
  "Linux x86_64") platform=linux_amd64 ;;
  "Linux aarch64") platform=linux_arm64 ;;
  "Darwin arm64") platform=darwin_arm64 ;;
  *) echo "tools/buildifier.sh: no binary for $(uname -sm) in @bazel/buildifier $VERSION; install buildifier by hand" >&2; exit 1 ;;
esac
binary=.tools/buildifier-$VERSION/node_modules/@bazel/buildifier/buildifier-$platform
if [[ ! -e $binary ]]; then
  command -v npm >/dev/null || { echo "tools/buildifier.sh: no npm to fetch @bazel/buildifier with" >&2; exit 1; }
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix ".tools/buildifier-$VERSION" "@bazel/buildifier@$VERSION" >&2
  chmod +x "$binary"
fi
echo "$PWD/$binary"
