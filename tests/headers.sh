#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the headers of lib/base bring into a file: every source includes some of them, so their size is everybody's compile time.
# What errors are made of is there in any case, how long it is depends on the compiler; nothing brings much more than that.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
lines_of() { # SOURCE
    printf '%s\n' "$1" | ${CXX:-g++} -std=c++20 -Ilib -E -x c++ - | grep -vc '^#'
}
needed=$(lines_of '#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/try.hpp>
#include <fmt/core.h>')
most=$((needed + needed / 10))
tests=0 failed=0
for header in lib/base/*.hpp; do
    tests=$((tests + 1))
    lines=$(lines_of "#include \"${header#lib/}\"")
    [ "$lines" -gt 0 ] && [ "$lines" -le $most ] && continue
    echo "$header: $lines preprocessed lines, more than $most (or none: it does not compile)"
    failed=$((failed + 1))
done
echo "Ran $tests tests"
[ $failed -eq 0 ] || echo "FAILED (failures=$failed)"
[ $failed -eq 0 ]
