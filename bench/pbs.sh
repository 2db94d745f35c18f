#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/pbs.sh FOLDER [GIB]: reads all of a disk out of a datastore, beside `zstd -dc` of the payloads of the same chunks, in turn and
# three times, as wall time and as CPU time of all threads; then a datastore's verification. The store is made once in FOLDER, of the
# files below /usr, GIB (4) of disk in chunks of 4 MiB. Wants bench/read_bench and vdisk of the build in $BUILD (default build-bench).
set -eu
folder=${1:?usage: bench/pbs.sh FOLDER [GIB]}
gib=${2:-4}
build=${BUILD:-$(dirname "$0")/../build-bench}
for program in vdisk bench/read_bench; do
    [ -x "$build/$program" ] || { echo "no $build/$program: run make for it in a build, and set BUILD to that" >&2; exit 2; }
done
mkdir -p "$folder"
store=$folder/store-$gib
index=$store/vm/100/2024-05-01T10:00:00Z/drive-scsi0.img.fidx
payloads=$folder/payloads-$gib.zst
export VDISK_CACHE_DIR=none

# The chunks' payloads, one behind the other, are zstd frames: what zstd alone has to expand.
[ -f "$index" ] || tar cf - /usr 2>/dev/null | python3 -c '
import hashlib, pathlib, struct, subprocess, sys, zlib
store, index, payloads, size = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]) << 30
CHUNK = 4 << 20
digests = []
with open(payloads, "wb") as all_frames:
    for start in range(0, size, CHUNK):
        content = sys.stdin.buffer.read(CHUNK).ljust(CHUNK, b"\0")
        frame = subprocess.run(["zstd", "-1", "-q", "-c", "--no-check", "-T1"], input=content, stdout=subprocess.PIPE, check=True).stdout
        digest = hashlib.sha256(content)
        digests.append(digest.digest())
        all_frames.write(frame)
        file = store / ".chunks" / digest.hexdigest()[:4] / digest.hexdigest()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes.fromhex("31b958426fb6a37f") + struct.pack("<I", zlib.crc32(frame)) + frame)
header = bytes.fromhex("2f7f41ed91fd0fcd") + bytes(24) + hashlib.sha256(b"".join(digests)).digest() + struct.pack("<QQ", size, CHUNK)
index.parent.mkdir(parents=True)
index.write_bytes(header.ljust(4096, b"\0") + b"".join(digests))
' "$store" "$index" "$payloads" "$gib"

timed() { # COMMAND...: wall seconds and CPU seconds of it
    bash -c 'TIMEFORMAT="%R %U %S"; time "$@" >/dev/null 2>&1' - "$@" 2>&1 | awk '{printf "%.2f %.2f", $1, $2 + $3}'
}

for _ in 1 2 3; do
    zstd=$(timed zstd -q -dc "$payloads")
    echo "$zstd $(timed "$build/bench/read_bench" vdisk "$index" whole)" |
        awk '{printf "zstd -dc %s s (CPU %s), whole disk %s s (CPU %s): ratio %.2f (CPU %.2f)\n", $1, $2, $3, $4, $3 / $1, $4 / $2}'
done
echo "$(timed "$build/vdisk" verify "$index")" | awk '{printf "verify %s s (CPU %s)\n", $1, $2}'
