#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_target.sh TARGET SECONDS JOBS, in a folder that fuzz.sh has built in: runs a target and notes how it went. Fails on a finding.
set -eu
name=$1 seconds=$2 jobs=$3
build=$PWD tree=$(dirname "$0")/../..
tree=$(cd "$tree" && pwd)
log=$build/results/$name.log
dictionary=$tree/tests/fuzz/$name.dict
fixtures=$tree/tests/fixtures/${name#fuzz_}

mkdir -p "corpus/$name" "run/$name"
cd "run/$name" # libFuzzer writes files into the current folder
rm -f fuzz-*.log
set -- "$build/corpus/$name" "$tree/tests/fuzz/corpus/$name"
[ ! -d "$fixtures" ] || set -- "$@" "$fixtures"
[ ! -f "$dictionary" ] || set -- "$@" "-dict=$dictionary"
if [ "$jobs" -gt 1 ]; then set -- "$@" "-jobs=$jobs" "-workers=$jobs"; else set -- "$@" -reload=0; fi
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm # for the targets that have files
# What is rare enough for libFuzzer to weigh inputs by it: at its usual 255 it looks through thousands of features for each that an input has.
rare=-entropic_feature_frequency_threshold=4
outcome=PASS
VDISK_FUZZ_TARGET=$name "$build/tests/fuzz/fuzz_targets" "$@" "$rare" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len="$("$tree/tests/fuzz/longest.sh" "$name")" -artifact_prefix="$build/findings/$name-" \
    -print_final_stats=1 > "$log" 2>&1 || outcome=FAIL
[ "$jobs" -eq 1 ] || cat fuzz-*.log >> "$log"
[ "$outcome" = PASS ] || echo "FAILED (failures=1): $name" >> "$log"
echo "Ran 1 test" >> "$log"
echo ":test-result: $outcome" > "${log%.log}.trs"

echo "== $name: $outcome"
grep -E 'cov: |stat::number_of_executed_units|ERROR|SUMMARY|Test unit written' "$log" | tail -n 5
[ "$outcome" = PASS ]
