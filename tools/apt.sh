#!/bin/bash
# Installs what a bare Debian 12 lacks for .ci/run: Bazel 4.2.3 with its offline rules, googletest, qemu
# for old CPUs, and the few tools that tests call. Does nothing when all of it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  bazel-bootstrap bazel-platforms bazel-rules-java bazel-rules-proto bazel-skylib
  binutils  # nm, for the one-definition test
  chromium # the portal's tests look at its pages
  fonts-dejavu-core
  g++
  git
  googletest
  iproute2  # network namespaces
  libnghttp2-dev # HTTP/2 of the native front; its library is loaded where it is there
  make
  postgresql-15 # the control database of production; tests start one of their own
  procps
  prometheus # promtool checks the alerting rules that are exported
  prometheus-alertmanager
  qemu-user # CPUs without AVX
  redis-server # a peer of the online table
  util-linux
)
# Only where the machine does not bring its own.
command -v npm >/dev/null || packages+=(npm)
tools/machine.sh >/dev/null 2>&1 || packages+=(python3 python3-dev python3-venv)

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || { echo "apt: nothing is missing"; exit 0; }

as_root=()
((EUID)) && as_root=(sudo)
echo "apt: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
