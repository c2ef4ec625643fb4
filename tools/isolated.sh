#!/bin/bash
# Runs a command in private network and process namespaces where the machine allows it: Ray binds to every
# interface, and whatever a test leaves behind ends with the namespace. Elsewhere it runs as it is, and says so.
set -euo pipefail
options=(--net --pid --fork --mount-proc --kill-child)
[[ $(id -u) == 0 ]] || options+=(--user --map-root-user)
if command -v unshare >/dev/null && command -v ip >/dev/null && unshare "${options[@]}" ip link set lo up 2>/dev/null; then
  exec unshare "${options[@]}" bash -c 'ip link set lo up && exec "$@"' isolated "$@"
fi
echo "isolated.sh: no private namespaces here; running without" >&2
exec "$@"
