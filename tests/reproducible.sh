#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tarball $VDISK_TARBALL in two folders, by other names, another number of jobs, another time zone, language and umask, and
# compares what is built, byte by byte (by diffoscope if they differ and it is there). Minutes: `make check-reproducible`.
set -eu
tarball=$(realpath "${VDISK_TARBALL:?}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
built="vdisk hvconfig vdisk-diff-files lib/.libs/libvdisk.so tsk_plugin/.libs/libtsk_vdisk.so tsk_plugin/proxy.template
    nbdkit/.libs/nbdkit-vdisk-plugin.so vhdi_door/libvhdi_vdisk.so"

build() { # FOLDER JOBS
    mkdir -p "$1/objects"
    tar -xf "$tarball" -C "$1" --strip-components 1
    (cd "$1/objects" && ../configure --quiet --enable-batches CXXFLAGS="-O2 -g" >/dev/null && make -s -j"$2" >/dev/null)
}
build "$folder/one" 2
(
    umask 077
    LC_ALL=C.UTF-8 TZ=Asia/Kolkata
    export LC_ALL TZ
    build "$folder/a-longer-name/of-another-folder" 1
) || exit
failed=0 same=0
for each in $built; do
    one=$folder/one/objects/$each other="$folder/a-longer-name/of-another-folder/objects/$each"
    [ -e "$one" ] || continue
    if cmp "$one" "$other"; then
        same=$((same + 1))
    else
        failed=1
        ! command -v diffoscope >/dev/null || diffoscope --max-report-size 20000 "$one" "$other" || :
    fi
done
echo "$same files are the same, byte by byte"
[ "$same" -gt 0 ] && exit $failed
