#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/streams.sh FOLDER [FILE.zst...]: the first opening of compressed streams beside `zstd -t` on the same file, in turn and three times,
# as wall time and as CPU time of all threads; then a later opening, random reads of 64 KiB, the size of the index and the peak of
# memory. Without FILEs: a tar of /usr of 1 GB as Proxmox compresses, with --long=27 and at level 19 (200 MB), made once in FOLDER.
# Wants bench/stream_probe of the build in $BUILD (default build-bench); bash for `time`.
set -eu
folder=${1:?usage: bench/streams.sh FOLDER [FILE.zst...]}
shift
probe=${BUILD:-$(dirname "$0")/../build-bench}/bench/stream_probe
[ -x "$probe" ] || { echo "no $probe: run \`make bench/stream_probe\` in a build, and set BUILD to it" >&2; exit 2; }
mkdir -p "$folder"
export VDISK_CACHE_DIR="$folder/cache"

make_file() { # NAME BYTES ZSTD-OPTIONS...
    file=$folder/$1
    bytes=$2
    shift 2
    [ -f "$file" ] || tar cf - /usr 2>/dev/null | head -c "$bytes" | zstd -q "$@" >"$file"
}

timed() { # COMMAND...: wall seconds and CPU seconds of it
    bash -c 'TIMEFORMAT="%R %U %S"; time "$@" >/dev/null 2>&1' - "$@" 2>&1 | awk '{printf "%.2f %.2f", $1, $2 + $3}'
}

if [ $# -eq 0 ]; then
    make_file proxmox.zst 1000000000 -3 --rsyncable -T1
    make_file long.zst 1000000000 -3 --long=27 --rsyncable -T1
    make_file level-19.zst 200000000 -19 -T2
    set -- "$folder/proxmox.zst" "$folder/long.zst" "$folder/level-19.zst"
fi
for file; do
    echo "== $file"
    for _ in 1 2 3; do
        test=$(timed zstd -q -t --long=31 "$file")
        rm -rf "$VDISK_CACHE_DIR"
        echo "$test $(timed "$probe" "$file")" | awk '{printf "zstd -t %s s (CPU %s), first opening %s s (CPU %s): ratio %.2f (CPU %.2f)\n", $1, $2, $3, $4, $3 / $1, $4 / $2}'
    done
    VDISK_CACHE_DIR=none "$probe" "$file" | awk '/^(packed|index_size) / {n[$1] = $2} /^(longest_segment|peak_kib) / {print}
        END {printf "index %.2f %% of the file\n", 100 * n["index_size"] / n["packed"]}'
    "$probe" "$file" 200 | sed -n 's/^open_seconds/later_opening_seconds/p; /^read_seconds/p; /^decoded/p'
done
