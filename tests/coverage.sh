#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/coverage.sh [TEST...]: builds with counters in build-coverage, runs the fuzz corpora, then all tests (or these), and prints how
# many lines and branches of each folder the corpora and all of it went through; branches of exceptions are left out. What no test went
# through is listed in build-coverage/uncovered. Wants gcovr. Half an hour.
set -eu
cd "$(dirname "$0")/.."
command -v gcovr >/dev/null || { echo "gcovr is missing (Debian: gcovr)" >&2; exit 2; }
jobs=$(nproc)
[ -x configure ] || ./autogen.sh
mkdir -p build-coverage
cd build-coverage
# The counters are written when a program ends.
VDISK_SANDBOX=off
export VDISK_SANDBOX
[ -f Makefile ] || ../configure --quiet CXXFLAGS="-O0 --coverage -fprofile-update=atomic" CFLAGS="-O0" LDFLAGS="--coverage" --disable-hardening --enable-batches
# gcov wants the sources where they are.
make -s -j"$jobs" PREFIX_CXXFLAGS=
make -s -j"$jobs" check TESTS= PREFIX_CXXFLAGS=
find . -name '*.gcda' -delete

table() { # FILE: of what ran until now
    gcovr -j "$jobs" -r .. --exclude-throw-branches --exclude-unreachable-branches -f '../lib/' -f '../tools/' -f '../tsk_plugin/' -f '../nbdkit/' \
        --json-summary "$1" ${2:+--txt "$2"} . >gcovr.log 2>&1 || { tail -5 gcovr.log; exit 1; }
}
make -s check TESTS=tests/fuzz/corpus.sh >corpus.log 2>&1 || { tail -20 corpus.log; exit 1; }
table corpora.json
make -s -k -j"$jobs" check ${1:+TESTS="$*"} >check.log 2>&1 || echo "not all tests passed, see build-coverage/check.log"
table all.json uncovered
python3 - corpora.json all.json <<'END'
import collections
import json
import os
import sys

COUNTS = ("line_covered", "line_total", "branch_covered", "branch_total")


def folders(path):
    sums = collections.defaultdict(collections.Counter)
    for file in json.load(open(path))["files"]:
        for key in COUNTS:
            sums[os.path.dirname(file["filename"])][key] += file[key]
            sums["all of it"][key] += file[key]
    return sums


def share(sums, what):
    return f"{100 * sums[what + '_covered'] / sums[what + '_total']:.0f} %" if sums[what + "_total"] else "-"


corpora, all_of_it = map(folders, sys.argv[1:])
print("| folder | lines | corpora | tests | branches | corpora | tests |\n|---|---|---|---|---|---|---|")
for folder, sums in sorted(all_of_it.items(), key=lambda item: (item[0] == "all of it", item[0])):
    other = corpora[folder]
    print(f"| {folder} | {sums['line_total']} | {share(other, 'line')} | {share(sums, 'line')} | {sums['branch_total']} | {share(other, 'branch')} | {share(sums, 'branch')} |")
END
