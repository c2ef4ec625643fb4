#!/bin/bash
# Prints the folder of the OpenID provider that tests log in at: oidc-provider from npm, pinned, in .tools/ (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=9.13.3
folder=.tools/oidc-provider-$VERSION
if [[ ! -e $folder/node_modules/oidc-provider/package.json ]]; then
  command -v npm >/dev/null || { echo "tools/oidc_provider.sh: no npm to fetch oidc-provider with" >&2; exit 1; }
  # Without a network it should say so soon.
  npm install --fetch-retries 1 --fetch-retry-mintimeout 1000 --fetch-retry-maxtimeout 2000 --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "oidc-provider@$VERSION" >&2
fi
echo "$PWD/$folder"
