#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/nbdkit.sh [BUILD [MIB]]: nbdcopy of one qcow2 through the plugin for nbdkit and through qemu-nbd, each the best of five in
# turns, and their ratio (below 1: the plugin is faster). BUILD must be optimised (-O2). Needs nbdkit, nbdcopy, qemu-utils.
set -e
build=$(realpath "${1:-build}")
mib=${2:-1024}
rounds=5
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT

# Text that deflate has some work with, and every fourth MiB a hole.
make_images() {
    i=0
    while [ "$i" -lt "$mib" ]; do
        [ $((i % 4)) -eq 3 ] || openssl enc -aes-128-ctr -nosalt -K 00 -iv "$i" -in /dev/zero 2>/dev/null | head -c 786432 | base64 -w 0 |
            dd of="$folder/disk.raw" bs=1M seek="$i" conv=notrunc status=none
        i=$((i + 1))
    done
    truncate -s "${mib}M" "$folder/disk.raw"
    qemu-img convert -O qcow2 "$folder/disk.raw" "$folder/plain.qcow2"
    qemu-img convert -c -O qcow2 "$folder/disk.raw" "$folder/packed.qcow2"
}

serve() { # nbdkit|qemu-nbd image
    rm -f "$folder/socket"
    case $1 in
    nbdkit) nbdkit -f -U "$folder/socket" "$build/nbdkit/.libs/nbdkit-vdisk-plugin.so" "$2" & ;;
    qemu-nbd) qemu-nbd --read-only --persistent --shared=8 --format=qcow2 --socket="$folder/socket" "$2" & ;;
    esac
    server=$!
    while [ ! -S "$folder/socket" ]; do sleep 0.05; done
}

seconds() { # server image: how long one whole copy takes
    serve "$1" "$2"
    start=$(date +%s.%N)
    nbdcopy "nbd+unix:///?socket=$folder/socket" null:
    end=$(date +%s.%N)
    kill "$server"
    wait "$server" || true
    server=
    awk "BEGIN { printf \"%.3f\", $end - $start }"
}

best() { printf '%s\n' "$@" | sort -n | head -n 1; }

make_images
for image in plain packed; do
    ours=
    theirs=
    for round in $(seq "$rounds"); do
        ours="$ours $(seconds nbdkit "$folder/$image.qcow2")"
        theirs="$theirs $(seconds qemu-nbd "$folder/$image.qcow2")"
    done
    # shellcheck disable=SC2086 # lists of numbers
    awk -v image="$image" -v ours="$(best $ours)" -v theirs="$(best $theirs)" \
        'BEGIN { printf "%s qcow2: nbdkit vdisk %.2f s, qemu-nbd %.2f s, ratio %.2f\n", image, ours, theirs, ours / theirs }'
done
