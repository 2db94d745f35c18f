#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./test.sh: installs what the tests need, builds in build-test, runs every test, has clang-tidy and cppcheck look through the
# sources, builds what is for Windows in build-test-windows and tests it under Wine unless VDISK_SKIP_WINDOWS=1 or 45 minutes have
# gone ($VDISK_WINDOWS_WITHIN seconds), and runs each fuzz target over its corpus and for $FUZZ_SECONDS, 6 unless that is set. Beside
# all that it builds and runs the unit tests under the address, undefined-behaviour and thread sanitizers (under the last, those with
# threads). Says what each part took.
# ./test.sh TEST...: these alone, as ./test.sh tests/oracle/tsk_tools.py
# The last line is "N passed, N failed". Can be run again at any time.
set -eu
cd "$(dirname "$0")"
jobs=$(nproc)
PATH=$PATH:/usr/sbin:/sbin
export PATH
with_threads=""
exec 3>&1 # what is told of the parts, wherever the rest of their output goes

# part NAME COMMAND...: a part of the whole that may fail; its tests' logs tell which did. Sets `amiss` if it failed.
part() {
    name=$1 amiss=""
    shift
    begun=$(date +%s)
    echo "== $name" >&3
    "$@" || amiss=yes
    took "$name" "$begun"
    [ -z "$amiss" ] || echo "not all is well: $name" >&3
}

took() { # NAME BEGIN
    printf '%6d s  %s\n' $(($(date +%s) - $2)) "$1" | tee -a build-test/times >&3
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
    make "$@" CXXFLAGS="-g1 -O0 -U_FORTIFY_SOURCE"
}

# Warnings are errors in the plain build alone: g++ sees uninitialized variables where a sanitizer has rewritten the code.
build_all() {
    configured build-test -O2 --enable-werror --enable-batches && make -C build-test -j"$jobs" &&
        make_tests -C build-test -j"$jobs" check TESTS=
}

check() { # JOBS TEST...: all of them if none is named
    at_once=$1
    shift
    make -C build-test -j"$at_once" -k check ${1:+TESTS="$*"}
}

# sanitized FOLDER OPTION TEST...: builds and runs these alone; of the unit tests the sources in $with_threads if that is set. make
# knows a test by the name of its log.
sanitized() {
    folder=$1 options=$2
    shift 2
    # shellcheck disable=SC2086 # the options are to be split
    configured "$folder" "-g1 -O1" $options --enable-batches --disable-hardening --disable-tsk-plugin --disable-nbdkit-plugin
    needed="" logs=""
    for test; do
        needed="$needed $test"
        logs="$logs $test.log"
    done
    # shellcheck disable=SC2086 # the names are to be split
    make -C "$folder" -j"$jobs" lib/libvdisk_all.la &&
        make_tests -C "$folder" -j"$jobs" $needed ${with_threads:+unit_tests="$with_threads"} &&
        make -C "$folder" -j"$jobs" -k $logs ${with_threads:+unit_tests="$with_threads"}
}

fuzz() {
    rm -rf build-fuzz/results
    ./fuzz.sh "${FUZZ_SECONDS:-6}"
}

# For the most part one long test after the other, each on one processor: the rest has the other ones.
beside_the_rest() {
    part "address and undefined-behaviour sanitizers" sanitized build-test-asan \
        "--enable-address-sanitizer --enable-undefined-sanitizer" tests/unit_tests tests/allocation_test tests/read_faults_test
    with_threads=$(printf 'tests/unit/%s_test.cpp ' image index_cache encryption expanded_blocks stream stream_readers readers pbs)
    TSAN_OPTIONS=second_deadlock_stack=1
    export TSAN_OPTIONS
    part "thread sanitizer" sanitized build-test-tsan --enable-thread-sanitizer tests/unit_tests
}

finish() {
    echo "== what each part took"
    cat build-test/times
    tests/summary.sh "$@"
}

start=$(date +%s)
.ci/install-packages build run test
[ -x configure ] || ./autogen.sh
compiler=${CXX:-g++}
case $compiler in ccache*) ;; *) ! command -v ccache >/dev/null || compiler="ccache $compiler" ;; esac
mkdir -p build-test
: > build-test/times
took packages "$start"

# Results of an earlier run are not this one's.
find . -path './build-test*' \( -name '*.trs' -o -path '*/tests/*.log' \) -delete
part "build" build_all
[ -z "$amiss" ] || { echo "the product or its tests could not be built"; exit 1; }
if [ $# -gt 0 ]; then
    part "tests" check $((jobs + 1)) "$@" # some wait for others' daemons
    finish build-test
    exit
fi
beside_the_rest > build-test/beside.log 2>&1 &
part "tests" check "$jobs"
part "static analysis" make -C build-test tests/static_analysis.log
# The whole has to end in time on a slow machine, too.
windows_within=${VDISK_WINDOWS_WITHIN:-2700}
if [ $(($(date +%s) - start)) -le "$windows_within" ]; then part "Windows, under Wine" make -C build-test tests/windows.log
else echo "skipped: Windows, under Wine: what came before took more than $windows_within seconds (VDISK_WINDOWS_WITHIN=SECONDS)"; fi
part "fuzz targets" fuzz
wait
[ -d build-fuzz/results ] || { echo "the fuzz targets could not be built"; exit 1; }
for folder in build-test-asan build-test-tsan; do
    [ -e $folder/tests/unit_tests.trs ] || { cat build-test/beside.log; echo "the unit tests could not be built in $folder"; exit 1; }
done
finish build-test build-test-asan build-test-tsan build-fuzz
