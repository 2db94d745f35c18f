#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./fuzz.sh SECONDS [TARGET...]: builds the libFuzzer targets with clang++ under the address and undefined-behaviour sanitizers
# and runs each for that long. What it finds stays in build-fuzz/findings; new inputs go into build-fuzz/corpus, not into the tree.
set -eu
cd "$(dirname "$0")"
seconds=${1:?usage: ./fuzz.sh SECONDS [TARGET...]}
shift
jobs=$(nproc)

[ -x configure ] || ./autogen.sh
mkdir -p build-fuzz/findings
cd build-fuzz
[ -f Makefile ] || ../configure CXX="${FUZZ_CXX:-clang++}" CXXFLAGS="-O1 -g" --enable-fuzzing --enable-address-sanitizer \
    --enable-undefined-sanitizer --disable-hardening --disable-tsk-plugin > configure.log
make -s -j"$jobs" fuzz-targets

failed=0
for target in ${*:-$(make -s list-fuzz-targets)}; do
    name=$(basename "$target")
    mkdir -p "corpus/$name" "../tests/fuzz/corpus/$name"
    dictionary=../tests/fuzz/$name.dict
    fixtures=../tests/fixtures/${name#fuzz_}
    echo "== $name"
    "tests/fuzz/$name" "corpus/$name" "../tests/fuzz/corpus/$name" $([ -d "$fixtures" ] && echo "$fixtures") -max_total_time="$seconds" -jobs="$jobs" -workers="$jobs" \
        -timeout=20 -rss_limit_mb=2048 -max_len=262144 -artifact_prefix="findings/$name-" -print_final_stats=1 \
        $([ -f "$dictionary" ] && echo "-dict=$dictionary") > "$name.log" 2>&1 || failed=1
    grep -h -E 'cov: |stat::number_of_executed_units|ERROR|SUMMARY' "$name.log" fuzz-*.log 2> /dev/null | tail -n 4
    rm -f fuzz-*.log
done
ls findings
exit $failed
