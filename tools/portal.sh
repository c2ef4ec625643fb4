#!/bin/bash
# Builds the web pages: platform/portal/web (TypeScript) into platform/portal/dist, which both wheels ship.
#   tools/portal.sh          build, if a source is newer than what was built
#   tools/portal.sh --force  build
# The network is asked by `npm ci` alone, and only when the lock file changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

web=platform/portal/web dist=platform/portal/dist scratch=build/portal
python=.venv/bin/python

if [[ ${1-} != --force && -e $dist/index.html ]]; then
  # Routes and contracts are sources, too: the pages' types are made of them.
  newer=$(find $web platform core/contracts tools/portal.sh \( -path $web/node_modules -o -path $dist -o -name __pycache__ -o -name schema.d.ts -o -path platform/tests \) -prune -o -type f -newer $dist/index.html -print -quit)
  [[ $newer ]] || { echo "portal: $dist is current"; exit 0; }
fi

command -v npm >/dev/null || { echo "tools/portal.sh: no npm; install node 20.19 or newer with npm, and run this again" >&2; exit 1; }
node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
  { echo "tools/portal.sh: node $(node --version) is too old; the build needs 20.19 or newer" >&2; exit 1; }
[[ -x $python ]] || { echo "tools/portal.sh: no .venv to ask the API's description of; run make setup" >&2; exit 1; }

if [[ ! -e $web/node_modules/.package-lock.json || $web/package-lock.json -nt $web/node_modules/.package-lock.json ]]; then
  # Without a network it should say so soon.
  npm ci --prefix $web --silent --fetch-retries 1 --fetch-retry-mintimeout 1000 --fetch-retry-maxtimeout 2000 >&2
  touch $web/node_modules/.package-lock.json
fi

"$python" -m mainspring.platform.portal.schema $scratch/openapi.json
for step in types check build; do
  npm run --silent --prefix $web $step >$scratch/$step.log 2>&1 || { cat $scratch/$step.log >&2; echo "tools/portal.sh: step $step failed" >&2; exit 1; }
done
echo "portal: $dist, $(find $dist -type f | wc -l) files, $(du -sk $dist | cut -f1) kB"
