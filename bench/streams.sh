#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/streams.sh [FOLDER]: the first opening of a compressed stream beside `zstd -t`, a later one, and the size of the index, side by
# side, three times in turn. Data: a tar of /usr of about 1 GiB, built once in FOLDER (default /var/tmp/vdisk-bench).
set -eu
folder=${1:-/var/tmp/vdisk-bench}
build=$(dirname "$0")/../build-bench
mkdir -p "$folder/cache"
[ -x "$build/vdisk" ] || { echo "run bench/run once, or build in $build" >&2; exit 2; }
[ -f "$folder/usr.raw.zst" ] || tar cf - /usr 2>/dev/null | head -c 1073741824 | zstd -q --rsyncable -T1 >"$folder/usr.raw.zst"
export VDISK_CACHE_DIR="$folder/cache"

seconds() { # COMMAND...: how long it took
    start=$(date +%s.%N)
    "$@" >/dev/null 2>&1
    end=$(date +%s.%N)
    echo "$start $end" | awk '{printf "%.3f", $2 - $1}'
}

for _ in 1 2 3; do
    test=$(seconds zstd -q -t "$folder/usr.raw.zst")
    rm -rf "$VDISK_CACHE_DIR"
    first=$(seconds "$build/vdisk" info -f raw "$folder/usr.raw.zst")
    later=$(seconds "$build/vdisk" info -f raw "$folder/usr.raw.zst")
    index=$(du -sb "$VDISK_CACHE_DIR" | cut -f1)
    packed=$(stat -c %s "$folder/usr.raw.zst")
    awk -v t="$test" -v f="$first" -v l="$later" -v i="$index" -v p="$packed" 'BEGIN {
        printf "zstd -t %s s, first opening %s s (ratio %.2f), later %s s, index %.2f %% of the file\n", t, f, f / t, l, 100 * i / p }'
done
