#!/bin/bash
# Each file named must be empty; what stands in it is what is wrong.
rc=0
for f in "$@"; do
  if [[ -s $f ]]; then
    echo "$f:"
    cat "$f"
    rc=1
  fi
done
exit $rc
