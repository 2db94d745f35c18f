#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each layer includes only itself and those above it; <tsk/...> is known to the plugin and to vdisk-diff-files alone.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
failed=0

forbidden() { # folder pattern why
    if grep -rnE --include='*.[ch]pp' --include='*.[ch]' "$2" "$1"; then
        echo "$1: $3"
        failed=1
    fi
}

below=""
for layer in capi open format disk image codec io base; do
    [ -n "$below" ] && forbidden "lib/$layer" "#include \"($below)/" "includes a layer below it"
    below="${below:+$below|}$layer"
done
forbidden lib/codec '#include "io/' "codecs know memory, not sources"
forbidden lib/hyperv '#include "(codec|image|disk|format|open)/' "is built on base and io alone"
# A Hyper-V machine's file leads to disks: lib/open asks lib/hyperv what it says.
for layer in base io codec image disk format capi; do forbidden "lib/$layer" '#include "hyperv/' "knows no Hyper-V files"; done
forbidden vhdi_door '#include "(base|io|codec|image|disk|format|open|capi|common)/' "stands on vdisk.h alone"
for folder in lib tools/common tools/vdisk tools/hvconfig vhdi_door; do forbidden "$folder" '#include [<"]tsk/' "only the plugin and vdisk-diff-files know The Sleuth Kit"; done
# The system is known to its folder alone; mounting, the plugins and the door are for Linux.
for folder in lib tools; do
    if grep -rnE --include='*.[ch]pp' '#include <(windows\.h|unistd\.h|fcntl\.h|io\.h|dirent\.h|poll\.h|pthread\.h|signal\.h|csignal|iconv\.h|linux/|sys/)' "$folder" |
        grep -vE '^(lib/base/system/(posix|windows)/|tools/vdisk/mount|tools/diff_files/)'; then
        echo "$folder: asks the system past lib/base/system"
        failed=1
    fi
done
# Text out of a path is utf8()'s: native() is UTF-16 on Windows, and string() fails where a name is none.
for folder in lib tools; do
    if grep -rnE --include='*.[ch]pp' '\.(native|string|generic_string)\(\)' "$folder" | grep -vE '^(lib/base/system/|tools/vdisk/mount)'; then
        echo "$folder: takes a path for text without utf8()"
        failed=1
    fi
done
for file in $(grep -rlE --include='*.[ch]pp' '^ +(mutable |static )?std::mutex ' lib); do
    grep -q ForkGuard "$file" && continue
    echo "$file: has a mutex without a ForkGuard: a child of fork() may wait for it for ever"
    failed=1
done
echo "Ran 1 tests"
exit $failed
