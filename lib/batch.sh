#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lib/batch.sh COUNT BATCH FILE...: writes BATCH, a source that includes those of the .cpp FILEs, relative to this tree, whose place
# in the list modulo COUNT is the number in BATCH's name. (--enable-batches) The registry is in none: tests/toy_format.py links
# another in its place.
set -eu
count=$1 batch=$2
shift 2
tree=$(cd "$(dirname "$0")/.." && pwd)
number=${batch##*_}
number=${number%.cpp}
printf '%s\n' "$@" | grep '\.cpp$' |
    awk -v tree="$tree" -v count="$count" -v number="$number" 'NR % count == number && $0 != "lib/open/registry.cpp" { print "#include \"" tree "/" $0 "\"" }' > "$batch"
