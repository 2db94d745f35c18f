#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/scale.sh run PROGRAMS FOLDER [GIB]: how much faster whole disks and random reads get with threads, from 1 to all processors of
# the machine, beside qemu-img, zstd and pigz on the same data. Makes the data in FOLDER (GIB of disk, 2 unless given, with the files
# below /usr in it; four times that of room), prints medians of three, and needs at most some minutes.
# bench/scale.sh pack BUILD PROGRAMS: makes the folder PROGRAMS: ours from a build, the others from this machine, and the libraries of
# all, so that `run` needs nothing of another machine but a shell, awk, tar and the page cache.
set -eu
others="qemu-img zstd pigz"

pack() { # BUILD PROGRAMS
    mkdir -p "$2/lib"
    cp "$1/bench/read_bench" "$2/"
    [ ! -e "$1/.libs/vdisk" ] || cp "$1/.libs/vdisk" "$2/"
    [ -e "$2/vdisk" ] || cp "$1/vdisk" "$2/"
    for program in $others; do cp "$(command -v "$program")" "$2/"; done
    for program in "$2"/*; do
        [ -f "$program" ] || continue
        ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | while read -r library; do
            cp -n -L "$library" "$2/lib/" 2>/dev/null || true
        done
    done
    cp "$0" "$2/scale.sh"
    du -sh "$2"
}

program() { # NAME ARGUMENT...: a packed program with the packed libraries, or the machine's own if there is none
    name=$1
    shift
    loader=$(find "$programs/lib" -name 'ld-linux*' 2>/dev/null | head -n 1)
    if [ -n "$loader" ]; then "$loader" --library-path "$programs/lib" "$programs/$name" "$@"
    elif [ -x "$programs/$name" ]; then "$programs/$name" "$@"
    elif [ -x "$programs/bench/$name" ]; then "$programs/bench/$name" "$@"
    else "$name" "$@"; fi
}

make_data() {
    mkdir -p "$folder"
    raw=$folder/disk.raw
    if [ ! -f "$raw" ]; then
        # A gap as before a first partition, then files, again and again where there are too few: no window reaches that far back.
        { head -c 1048576 /dev/zero; i=0; while [ $i -lt 64 ]; do tar cf - /usr 2>/dev/null; i=$((i + 1)); done; } | head -c "$bytes" >"$raw.part" || true
        mv "$raw.part" "$raw"
    fi
    for kind in zlib zstd; do
        [ -f "$folder/$kind.qcow2" ] || program qemu-img convert -m "$most" -W -c -O qcow2 -o "compression_type=$kind" "$raw" "$folder/$kind.qcow2"
    done
    [ -f "$folder/plain.qcow2" ] || program qemu-img convert -O qcow2 "$raw" "$folder/plain.qcow2"
    [ -f "$raw.zst" ] || program zstd -q -3 -T"$most" "$raw" -o "$raw.zst"
    [ -f "$raw.gz" ] || program pigz -k -p "$most" "$raw"
}

seconds() { # FIELD COMMAND...: a field of read_bench's line
    field=$1
    shift
    "$@" | sed -E "s/.*\"$field\":([0-9.e+-]+).*/\1/"
}

wall() { # COMMAND...: how long it takes
    begun=$(date +%s.%N)
    "$@" >/dev/null 2>&1
    date +%s.%N | awk -v begun="$begun" '{ printf "%.3f", $1 - begun }'
}

median() { printf '%s\n' "$@" | sort -n | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'; }
three() { median "$("$@")" "$("$@")" "$("$@")"; }

ours() { # FILE THREADS: a whole disk
    seconds seconds program read_bench vdisk "$1" data "$2"
}
at_random() { # FILE READERS: reads in a second
    seconds seconds program read_bench vdisk "$1" random "$most" 4000 "$2"
}

whole() { # LABEL FILE BASELINE-SECONDS NAME
    line=$1
    for threads in $counts; do line="$line $(three ours "$2" "$threads")"; done
    echo "$line $3 $4" | awk '{ best = $2; printf "%-12s", $1
        for (i = 2; i < NF - 1; ++i) { printf " %8.2f", $i; if ($i < best) best = $i }
        printf "   %s %.2f s: %.1f x   (alone: %.1f x)\n", $NF, $(NF - 1), $(NF - 1) / best, $2 / best }'
}

in_megabytes() { awk '{ printf "%-12s", $1; for (i = 2; i <= NF; ++i) printf " %8.0f", $i / 1e6; printf "\n" }'; }

run() {
    most=$(nproc)
    counts=$(i=1; while [ $i -lt "$most" ]; do echo $i; i=$((i * 2)); done; echo "$most")
    make_data
    export VDISK_CACHE_DIR="$folder/cache"
    for file in "$folder/disk.raw.zst" "$folder/disk.raw.gz"; do # the first opening makes the index
        testing=zstd
        [ "${file##*.}" = zst ] || testing=pigz
        rm -rf "$VDISK_CACHE_DIR"
        first=$(seconds open program read_bench vdisk "$file" open 0)
        echo "first opening of .${file##*.}: $first s, $testing -t $(wall program $testing -t "$file") s"
    done
    rm -rf "$VDISK_CACHE_DIR"
    for file in "$folder/disk.raw.zst" "$folder/disk.raw.gz"; do program read_bench vdisk "$file" open 0 >/dev/null; done
    printf '%s, %s processors; whole disk of %s bytes, seconds with threads:\n%-12s' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$most" "$bytes" ""
    for threads in $counts; do printf ' %8s' "$threads"; done
    printf '   beside it\n'
    for kind in zlib zstd; do
        theirs=$(three wall program qemu-img convert -m "$([ "$most" -gt 16 ] && echo 16 || echo "$most")" -W -n -O raw "$folder/$kind.qcow2" null-co://)
        whole "qcow2-$kind" "$folder/$kind.qcow2" "$theirs" qemu-img
    done
    whole raw.zst "$folder/disk.raw.zst" "$(three wall program zstd -q -d -c "$folder/disk.raw.zst")" zstd
    whole raw.gz "$folder/disk.raw.gz" "$(three wall program pigz -d -c "$folder/disk.raw.gz")" pigz
    echo "4000 random reads of 64 KiB, seconds with so many readers at once:"
    for file in plain.qcow2 zlib.qcow2 disk.raw.zst; do
        line=$file
        for readers in $counts; do line="$line $(three at_random "$folder/$file" "$readers")"; done
        echo "$line" | awk '{ printf "%-12s", $1; for (i = 2; i <= NF; ++i) printf " %8.2f", $i; printf "   %.1f x\n", $2 / $NF }'
    done
    echo "peak memory in MB, whole disk by 1, 2, 8 and 16 threads:"
    for file in zlib.qcow2 zstd.qcow2 disk.raw.zst disk.raw.gz; do
        line=$file
        for threads in 1 2 8 16; do line="$line $(seconds peak_rss program read_bench vdisk "$folder/$file" data "$threads")"; done
        echo "$line" | in_megabytes
    done
    echo "the same, with so many readers at random at once:"
    for file in zlib.qcow2 disk.raw.zst disk.raw.gz; do
        line=$file
        for threads in 1 2 8 16; do line="$line $(seconds peak_rss program read_bench vdisk "$folder/$file" random "$threads" 600 "$threads")"; done
        echo "$line" | in_megabytes
    done
}

case ${1:-} in
pack) [ $# -eq 3 ] || { echo "usage: bench/scale.sh pack BUILD PROGRAMS" >&2; exit 2; }; pack "$2" "$3" ;;
run)
    [ $# -ge 3 ] || { echo "usage: bench/scale.sh run PROGRAMS FOLDER [GIB]" >&2; exit 2; }
    programs=$(realpath "$2")
    folder=$3
    bytes=$((${4:-2} << 30))
    run
    ;;
*) echo "usage: bench/scale.sh pack BUILD PROGRAMS | bench/scale.sh run PROGRAMS FOLDER [GIB]" >&2; exit 2 ;;
esac
