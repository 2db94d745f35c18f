#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the headers of lib/base bring into a file: every source includes some of them, so their size is everybody's compile time.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
most=50000
tests=0 failed=0
for header in lib/base/*.hpp; do
    tests=$((tests + 1))
    lines=$(echo "#include \"${header#lib/}\"" | ${CXX:-g++} -std=c++20 -Ilib -E -x c++ - | grep -vc '^#')
    [ "$lines" -gt 0 ] && [ "$lines" -le $most ] && continue
    echo "$header: $lines preprocessed lines, more than $most (or none: it does not compile)"
    failed=$((failed + 1))
done
echo "Ran $tests tests"
[ $failed -eq 0 ] || echo "FAILED (failures=$failed)"
[ $failed -eq 0 ]
