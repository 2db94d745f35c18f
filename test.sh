#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./test.sh: installs what the tests need, builds in build-test and runs every test, what takes least first; then the unit tests
# under the address, undefined-behaviour and thread sanitizers (under the last, the suites with threads); has clang-tidy and
# cppcheck look through the sources, and runs each fuzz target over its corpus and for $FUZZ_SECONDS, 10 unless that is set. Says what each part took.
# ./test.sh TEST...: these alone, as ./test.sh tests/oracle/tsk_tools.py
# The last line is "N passed, N failed". Can be run again at any time.
set -eu
cd "$(dirname "$0")"
jobs=$(nproc)
PATH=$PATH:/usr/sbin:/sbin
export PATH
times=""

# part NAME COMMAND...: a part of the whole that may fail; its tests' logs tell which did. Sets `amiss` if it failed.
part() {
    name=$1 amiss=""
    shift
    start=$(date +%s)
    echo "== $name"
    "$@" || amiss=yes
    [ -z "$amiss" ] || echo "not all is well: $name"
    times="$times$(printf '%6d s  %s' $(($(date +%s) - start)) "$name")
"
}

# configured FOLDER FLAGS CONFIGURE-OPTION...
configured() {
    folder=$1 flags=$2
    shift 2
    mkdir -p "$folder"
    (cd "$folder" && ../configure --quiet CXX="$compiler" CXXFLAGS="$flags" "$@")
}

# make for the tests' own programs: their code is compiled as it stands, for optimizing it takes twice as long and more, and nobody
# waits for it to run; and gold links each of some thirty that hold the whole library in a quarter of the time. What is installed is
# linked as ever: gold leaves more symbols visible.
make_tests() {
    if command -v ld.gold >/dev/null; then set -- "$@" LDFLAGS=-fuse-ld=gold; fi
    make -j"$jobs" "$@" CXXFLAGS="-g1 -O0 -U_FORTIFY_SOURCE"
}

# Warnings are errors in the plain build alone: g++ sees uninitialized variables where a sanitizer has rewritten the code.
build_all() {
    configured build-test "-g -O2" --enable-werror && make -C build-test -j"$jobs" &&
        make_tests -C build-test check TESTS=
}

check() { # TEST...: all of them if none is named
    make -C build-test -j$((jobs + 1)) -k check ${1:+TESTS="$*"} # some wait for others' daemons
}

# sanitized FOLDER OPTION TEST...: builds and runs these alone. make knows a test by the name of its log.
sanitized() {
    folder=$1 options=$2
    shift 2
    # shellcheck disable=SC2086 # the options are to be split
    configured "$folder" "-g1 -O1" $options --disable-hardening --disable-tsk-plugin --disable-nbdkit-plugin
    needed="" logs=""
    for test; do
        needed="$needed $test"
        logs="$logs $test.log"
    done
    # shellcheck disable=SC2086 # the names are to be split
    make -C "$folder" -j"$jobs" lib/libvdisk_all.la && make_tests -C "$folder" $needed &&
        make -C "$folder" -j"$jobs" -k $logs
}

fuzz() {
    rm -rf build-fuzz/results
    ./fuzz.sh "${FUZZ_SECONDS:-10}"
}

finish() {
    printf '== what each part took\n%s' "$times"
    tests/summary.sh "$@"
}

start=$(date +%s)
.ci/install-packages build run test
[ -x configure ] || ./autogen.sh
compiler=${CXX:-g++}
case $compiler in ccache*) ;; *) ! command -v ccache >/dev/null || compiler="ccache $compiler" ;; esac
times="$(printf '%6d s  packages' $(($(date +%s) - start)))
"

# Results of an earlier run are not this one's.
find . -path './build-test*' \( -name '*.trs' -o -path '*/tests/*.log' \) -delete
part "build" build_all
[ -z "$amiss" ] || { echo "the product or its tests could not be built"; exit 1; }
if [ $# -gt 0 ]; then
    part "tests" check "$@"
    finish build-test
    exit
fi
part "tests" check
part "address and undefined-behaviour sanitizers" sanitized build-test-asan "--enable-address-sanitizer --enable-undefined-sanitizer" \
    tests/unit_tests tests/allocation_test tests/read_faults_test
BOOST_TEST_RUN_FILTERS=image,index_cache,encryption,streams,readers,pbs TSAN_OPTIONS=second_deadlock_stack=1
export BOOST_TEST_RUN_FILTERS TSAN_OPTIONS
part "thread sanitizer" sanitized build-test-tsan --enable-thread-sanitizer tests/unit_tests
unset BOOST_TEST_RUN_FILTERS TSAN_OPTIONS
part "static analysis" make -C build-test check TESTS=tests/static_analysis.sh
part "fuzz targets" fuzz
[ -d build-fuzz/results ] || { echo "the fuzz targets could not be built"; exit 1; }
for folder in build-test-asan build-test-tsan; do
    [ -e $folder/tests/unit_tests.trs ] || { echo "the unit tests could not be built in $folder"; exit 1; }
done
finish build-test build-test-asan build-test-tsan build-fuzz
