#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libvdisk.so exports the functions that vdisk.h declares and nothing else.
header="${abs_top_srcdir:-$(dirname "$0")/../..}/lib/capi/vdisk.h"
library="${abs_top_builddir:-.}/lib/.libs/libvdisk.so"
declared=$(sed -n 's/^[a-z].*[ *]\(vdisk_[a-z_]*\)(.*/\1/p' "$header" | sort)
exported=$(nm -D --defined-only --format=posix "$library" | awk '$2 != "A" { sub(/@.*/, "", $1); print $1 }' | sort)
echo "Ran 1 tests"
[ -n "$declared" ] && [ "$declared" = "$exported" ] && exit 0
printf 'declared:\n%s\nexported:\n%s\n' "$declared" "$exported"
exit 1
