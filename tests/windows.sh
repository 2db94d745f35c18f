#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What windows.sh builds, run under Wine: `tests/windows.sh` by hand. Skipped without Wine or the cross compiler, and with
# VDISK_SKIP_WINDOWS=1. It takes minutes the first time, when the libraries and all of the product are compiled.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
PATH=$PATH:/usr/lib/wine # where Debian's wine64 is if nothing else of Wine is there
export PATH
skip() {
    echo "skipped: $1"
    exit 77
}
[ -z "${VDISK_SKIP_WINDOWS:-}" ] || skip "VDISK_SKIP_WINDOWS is set"
command -v wine64 >/dev/null || skip "there is no wine64 (Debian: wine64)"
command -v x86_64-w64-mingw32-g++-posix >/dev/null || skip "there is no cross compiler (Debian: g++-mingw-w64-x86-64-posix)"
begun=$(date +%s)
mkdir -p build-windows
./windows.sh > build-windows/windows.log 2>&1 || { tail -40 build-windows/windows.log; echo "windows.sh failed"; exit 1; }
x86_64-w64-mingw32-gcc -O1 -Wall -Wextra -Werror -o build-windows/load_door.exe tests/windows/load_door.c -lshell32 || exit 1
echo "$(($(date +%s) - begun)) s  building"
exec python3 tests/windows/programs.py "$@"
