#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/diff_files.sh FOLDER: which files changed between a disk and its overlay, by vdisk-diff-files and, as a user does it today, by
# `diff -rq` over both disks mounted; whether both tell the same files. The disk holds the files below /usr in ext4; one file of
# a hundred is changed and some are deleted. Both are made once in FOLDER, which takes three times the room of /usr. Wants root, loop
# devices, qemu-utils, and vdisk and vdisk-diff-files of the build in $BUILD (default build-bench).
set -eu
folder=${1:?usage: bench/diff_files.sh FOLDER}
build=$(realpath "${BUILD:-$(dirname "$0")/../build-bench}")
for program in vdisk vdisk-diff-files; do
    [ -x "$build/$program" ] || { echo "no $build/$program: run make for it in a build, and set BUILD to that" >&2; exit 2; }
done
mkdir -p "$folder/one" "$folder/two" "$folder/files-one" "$folder/files-two"
cd "$folder"
release() {
    for each in files-one files-two one two; do umount "$each" 2>/dev/null || true; done
}
trap release EXIT

if [ ! -f overlay.qcow2 ]; then
    truncate -s "$(($(du -sxm /usr | cut -f1) * 5 / 4 + 512))M" disk.raw
    mkfs.ext4 -qF -d /usr disk.raw
    qemu-img convert -O qcow2 disk.raw disk.qcow2
    mount -o loop disk.raw files-two
    find files-two -xdev -type f -size +1 | awk 'NR % 100 == 0' | while read -r file; do
        printf x | dd of="$file" bs=1 seek=10 conv=notrunc status=none
    done
    find files-two -xdev -type f | awk 'NR % 211 == 0' | xargs -d '\n' rm -f
    umount files-two
    "$build/vdisk" mount disk.qcow2 one
    rm -f making.qcow2
    qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 making.qcow2
    python3 -c '
import subprocess
CLUSTER, writes = 65536, []
with open("one/active.raw", "rb", buffering=0) as old, open("disk.raw", "rb", buffering=0) as new:
    for at in range(0, 1 << 62, CLUSTER):
        before, after = old.read(CLUSTER), new.read(CLUSTER)
        if not before:
            break
        if before != after:
            writes.append(f"write -q -s disk.raw.piece.{at} {at} {len(after)}")
            open(f"disk.raw.piece.{at}", "wb").write(after)
subprocess.run(["qemu-io", "making.qcow2"], input="\n".join([*writes, "quit", ""]).encode(), stdout=subprocess.DEVNULL, check=True)
'
    umount one
    find . -maxdepth 1 -name 'disk.raw*' -delete
    mv making.qcow2 overlay.qcow2
fi

timed() { # COMMAND...: wall seconds of it
    bash -c 'TIMEFORMAT=%R; time "$@" 2>/dev/null' - "$@" 2>&1 >told || true # they tell that files differ
}

"$build/vdisk" mount disk.qcow2 one
"$build/vdisk" mount overlay.qcow2 two
mount -o loop,ro,noload one/active.raw files-one
mount -o loop,ro,noload two/active.raw files-two
files=$(find files-one -type f | wc -l)
theirs=$(timed diff -rq --no-dereference files-one files-two)
sed -n 's/^Files files-one\(.*\) and files-two.* differ$/\1/p; s/^Only in files-one\(.*\): /\1\//p' told | sort >expected
for _ in 1 2 3; do
    ours=$(timed "$build/vdisk-diff-files" disk.qcow2 overlay.qcow2)
    sed -n 's/^  deleted \([^(]*[^( ]\).*/\1/p; s/^  changed \(.*\) (content.*/\1/p' told | sort >found
    echo "$files $ours $theirs" | awk '{printf "%d files: vdisk-diff-files %s s, diff -rq %s s: %.0f x\n", $1, $2, $3, $3 / $2}'
done
cmp expected found && echo "both tell the same $(wc -l <found) files"
