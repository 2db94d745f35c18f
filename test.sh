#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ./test.sh: installs what the tests need, builds in build-test and runs every test; then builds the unit tests under the address,
# undefined-behaviour and thread sanitizers and runs those (under the last, the suites with threads), has clang-tidy and cppcheck look through the sources, and
# runs each fuzz target for $FUZZ_SECONDS, 60 unless that is set. The last line is "N passed, N failed". Can be run again at any time.
set -eu
cd "$(dirname "$0")"
jobs=$(nproc)
PATH=$PATH:/usr/sbin:/sbin
export PATH

.ci/install-packages build run test
[ -x configure ] || ./autogen.sh
compiler=${CXX:-g++}
if command -v ccache >/dev/null; then compiler="ccache $compiler"; fi

# build FOLDER FLAGS TESTS CONFIGURE-OPTION...: TESTS is what to run, empty for all. Warnings are errors in the plain build alone: g++ sees
# uninitialized variables where a sanitizer has rewritten the code.
build() {
    folder=$1 flags=$2 tests=$3
    shift 3
    mkdir -p "$folder"
    (cd "$folder" && ../configure --quiet CXX="$compiler" CXXFLAGS="$flags" "$@")
    make -C "$folder" -j"$jobs"
    make -C "$folder" -j"$jobs" -k check ${tests:+TESTS="$tests"} || echo "some tests in $folder failed"
}

find . -path "./build-test*" -name "*.trs" -delete # results of an earlier run are not this one's
build build-test "-O2 -g" "" --enable-werror
make -C build-test check TESTS=tests/static_analysis.sh || echo "static analysis has findings"
build build-test-asan "-O1 -g" "tests/unit_tests tests/allocation_test tests/read_faults_test tests/fuzz/corpus.sh" --enable-address-sanitizer --enable-undefined-sanitizer --disable-hardening \
    --disable-tsk-plugin --disable-nbdkit-plugin
BOOST_TEST_RUN_FILTERS=image,index_cache,encryption,streams,readers TSAN_OPTIONS=second_deadlock_stack=1 \
build build-test-tsan "-O1 -g" tests/unit_tests --enable-thread-sanitizer --disable-hardening --disable-tsk-plugin --disable-nbdkit-plugin
rm -rf build-fuzz/results
./fuzz.sh "${FUZZ_SECONDS:-60}" || echo "a fuzz target failed"
[ -d build-fuzz/results ] || { echo "the fuzz targets could not be built"; exit 1; }
tests/summary.sh build-test build-test-asan build-test-tsan build-fuzz
