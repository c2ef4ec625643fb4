#!/bin/bash
# No weak symbol may come out of a unit built for a newer CPU: the linker could keep that copy for everyone,
# and older CPUs would stop on it (SIGILL). Arguments: archives or objects; other files are passed over.
set -euo pipefail
checked=0
bad=0
for lib in "$@"; do
  [[ $lib == *.a || $lib == *.o ]] || continue
  checked=$((checked + 1))
  weak=$(nm -C "$lib" | awk 'NF >= 2 { kind = (NF == 2 || length($1) == 1) ? $1 : $2; if (kind ~ /^[WwVvu]$/) print }')
  if [[ -n $weak ]]; then
    echo "$lib has weak symbols, so it holds code that other units share:"
    echo "$weak"
    bad=1
  fi
done
if ((checked == 0)); then
  echo "nothing to check: pass the .a or .o files of the kernels"
  exit 1
fi
exit $bad
