#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tarball $VDISK_TARBALL in two folders, by other names, another number of jobs, another time zone, language and umask, and
# compares what is installed, byte by byte (by diffoscope if they differ and it is there). Minutes: `make check-reproducible`.
set -eu
tarball=$(realpath "${VDISK_TARBALL:?}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build() { # FOLDER JOBS
    mkdir -p "$1/objects"
    tar -xf "$tarball" -C "$1" --strip-components 1
    (cd "$1/objects" && ../configure --quiet --enable-batches CXXFLAGS="-O2 -g" >/dev/null && make -s -j"$2" >/dev/null &&
        make -s install DESTDIR="$folder/installed-$2" >/dev/null 2>&1)
}
build "$folder/one" 2
(
    umask 077
    LC_ALL=C.UTF-8 TZ=Asia/Kolkata
    export LC_ALL TZ
    build "$folder/a-longer-name/of-another-folder" 1
)
cd "$folder"
same=$(find installed-2 -type f | wc -l)
if diff -r --no-dereference installed-2 installed-1; then
    echo "$same installed files are the same, byte by byte"
    [ "$same" -gt 10 ]
else
    ! command -v diffoscope >/dev/null || diffoscope --max-report-size 20000 installed-2 installed-1 || :
    exit 1
fi
