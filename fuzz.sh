#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./fuzz.sh SECONDS [TARGET...]: builds the libFuzzer targets with clang++ under the address and undefined-behaviour sanitizers
# and runs each for that long, as many side by side as there are processors. What it finds stays in build-fuzz/findings, and its path is told; new
# inputs go into build-fuzz/corpus, not into the tree. How each target went is in build-fuzz/results, for tests/summary.sh.
set -eu
cd "$(dirname "$0")"
seconds=${1:?usage: ./fuzz.sh SECONDS [TARGET...]}
shift
processors=$(nproc)

[ -x configure ] || ./autogen.sh
mkdir -p build-fuzz/findings
cd build-fuzz
[ -f Makefile ] || ../configure CXX="${FUZZ_CXX:-clang++}" CXXFLAGS="-O2 -g1" --enable-fuzzing --enable-batches --enable-address-sanitizer \
    --enable-undefined-sanitizer --disable-hardening --disable-tsk-plugin --disable-nbdkit-plugin > configure.log
make -s -j"$processors" tests/fuzz/fuzz_targets
rm -rf results
mkdir results

[ $# -gt 0 ] || set -- $(ls ../tests/fuzz/corpus)
for target; do
    [ -d "../tests/fuzz/corpus/$target" ] || { echo "fuzz.sh: no target is called '$target'; there are: $(ls ../tests/fuzz/corpus | xargs)" >&2; exit 2; }
done
jobs=$((processors / $#)) # for each target
[ "$jobs" -ge 1 ] || jobs=1
printf '%s\n' "$@" | xargs -P "$processors" -I{} ../tests/fuzz/run_target.sh {} "$seconds" "$jobs"
