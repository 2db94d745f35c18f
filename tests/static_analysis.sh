#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Looks through the sources with clang-format (.clang-format), clang-tidy (.clang-tidy says for what)
# and cppcheck (tests/cppcheck.suppressions says what is no finding). Takes minutes, so `make check`
# leaves it out: make check TESTS=tests/static_analysis.sh
source=${abs_top_srcdir:?}
build=${abs_top_builddir:?}
cd "$source" || exit 1
if ! command -v clang-format > /dev/null || ! command -v clang-tidy > /dev/null || ! command -v cppcheck > /dev/null; then
    echo "clang-format, clang-tidy or cppcheck is missing"
    exit 77
fi
# Another release lays out lines in another way and has other checks, each with findings of its own.
if ! clang-format --version | grep -q "version 14\."; then
    echo "the sources are kept by clang 14, cppcheck 2.10 (Debian 12), not by $(clang-format --version)"
    exit 77
fi
jobs=$(nproc)
find lib tools tsk_plugin nbdkit -name '*.cpp' -not -path '*/windows/*' | sort > "$build/analysed"
failed=0

find lib tools tsk_plugin vhdi_door nbdkit tests bench '(' -name '*.[ch]pp' -o -name '*.[ch]' ')' -print0 |
    xargs -0 clang-format --dry-run -Werror || failed=$((failed + 1))

cppcheck --quiet --std=c++20 --language=c++ -j "$jobs" --enable=warning,performance,portability --inline-suppr --suppressions-list=tests/cppcheck.suppressions \
    --error-exitcode=1 -Ilib -DHAVE_LZO=1 lib tools tsk_plugin vhdi_door nbdkit || failed=$((failed + 1))

# One line of compiler arguments for all: headers that need others say so themselves.
flags="-std=c++20 -Ilib -Ilib/capi -Itools -I$build -DHAVE_CONFIG_H $(pkg-config --cflags nbdkit 2> /dev/null) $(pkg-config --cflags fuse3 2> /dev/null)"
# shellcheck disable=SC2086 # the flags are to be split
xargs -P "$jobs" -I{} clang-tidy --quiet {} -- $flags < "$build/analysed" > "$build/clang-tidy.log" 2> /dev/null || failed=$((failed + 1))
cat "$build/clang-tidy.log"

[ "$failed" -eq 0 ] || echo "FAILED (failures=$failed)"
echo "Ran 3 tests"
[ "$failed" -eq 0 ]
