#!/bin/bash
# Builds the site of docs/ into build/docs; a link, a heading or a page that is not there fails it. What builds it is pinned in
# tools/docs_requirements.txt and has an environment of its own in .tools/, which git ignores: its pins and the platform's never
# meet. With the environment there it needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pins=tools/docs_requirements.txt
environment=.tools/docs-$(sha256sum "$pins" | cut -c1-12)
if [[ ! -x $environment/bin/mkdocs ]]; then
  python=$(tools/machine.sh)
  rm -rf "$environment"
  "$python" -m venv "$environment"
  "$environment/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --requirement "$pins" >&2 || { rm -rf "$environment"; exit 1; }
fi
# Its makers' words on what comes after MkDocs (docs/adr/0052-the-docs-are-a-site-and-are-run.md).
export NO_MKDOCS_2_WARNING=1
"$environment/bin/mkdocs" build --quiet --strict --clean "$@"
if fetched=$(grep -rlE '<(script|img|iframe)[^>]* src="?(https?:)?//|<link[^>]* href="?(https?:)?//' --include='*.html' build/docs); then
  echo "tools/docs.sh: these pages fetch something from elsewhere; keep it in docs/assets: $fetched" >&2
  exit 1
fi
echo "build/docs/index.html"
