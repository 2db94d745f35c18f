#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What windows.sh builds, run under Wine, and the library's unit tests there. Skipped with VDISK_SKIP_WINDOWS=1, and without Wine, the
# cross compiler or the libraries' sources, which apt fetches once. It takes minutes the first time, when the libraries and all of the
# product are compiled. VDISK_WINDOWS_32=1 builds the 32-bit programs, too, and looks at what they need and offer.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
PATH=$PATH:/usr/lib/wine # where Debian's wine64 is if nothing else of Wine is there
VDISK_WINDOWS_FOLDER=$PWD/build-test-windows
CXXFLAGS=-O1 # a third less to compile
export PATH VDISK_WINDOWS_FOLDER CXXFLAGS
log=$VDISK_WINDOWS_FOLDER/windows.log
skip() {
    echo "skipped: $1"
    exit 77
}
[ -z "${VDISK_SKIP_WINDOWS:-}" ] || skip "VDISK_SKIP_WINDOWS is set"
command -v wine64 >/dev/null || skip "there is no wine64 (Debian: wine64)"
command -v x86_64-w64-mingw32-g++-posix >/dev/null || skip "there is no cross compiler (Debian: g++-mingw-w64-x86-64-posix)"
begun=$(date +%s)
mkdir -p "$VDISK_WINDOWS_FOLDER"
./windows.sh sources > "$log" 2>&1
case $? in 0) ;; 2) skip "$(tail -n 1 "$log")" ;; *) tail -40 "$log"; exit 1 ;; esac
built() {
    ./windows.sh "$@" > "$log" 2>&1 || { tail -40 "$log"; echo "windows.sh $* failed"; exit 1; }
}
built unit-tests
[ -z "${VDISK_WINDOWS_32:-}" ] || built --32
for program in load_door interrupt; do
    x86_64-w64-mingw32-gcc-posix -O1 -Wall -Wextra -Werror -o "$VDISK_WINDOWS_FOLDER/$program.exe" "tests/windows/$program.c" -lshell32 || exit 1
done
echo "$(($(date +%s) - begun)) s  building"
exec python3 tests/windows/programs.py "$@"
