#!/bin/bash
# bazel run -c opt //native:develop: puts the extension that Bazel built beside its .pyi, for pytest
# and editors in a checkout. In minutes saved, this is `pip install -e .` with an incremental build.
set -euo pipefail
native=${BUILD_WORKSPACE_DIRECTORY:?run me with bazel run}/native
# Python prefers the name with the ABI tag, which is the one that pip left.
rm -f "$native"/_native.*.so
install -m 755 "$1" "$native/_native.so"
echo "native/_native.so is Bazel's"
