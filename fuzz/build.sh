#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds all fuzz targets as OSS-Fuzz has it: $CXX with $CXXFLAGS, linked to $LIB_FUZZING_ENGINE; into $OUT go one program a target,
# TARGET_seed_corpus.zip, TARGET.dict, TARGET.options and the libraries they need. $SRC/tsk-vdisk is a checkout, $WORK a folder for
# what is made on the way. The image wants the packages that ./packages.txt has for `build`, and zip; see README.md here.
set -euo pipefail
source=$SRC/tsk-vdisk
cd "$source"
./autogen.sh
mkdir -p "$WORK/build" "$OUT/lib"
cd "$WORK/build"
# The libraries are the system's, which are made for the system's C++ library.
flags=${CXXFLAGS//-stdlib=libc++/}
"$source/configure" CXX="$CXX" CXXFLAGS="$flags" LIB_FUZZING_ENGINE="$LIB_FUZZING_ENGINE" --enable-fuzzing --enable-batches --disable-hardening \
    --disable-tsk-plugin --disable-nbdkit-plugin --disable-mount
make -j"$(nproc)" tests/fuzz/fuzz_targets LDFLAGS="-Wl,-rpath,'\$\$ORIGIN/lib'"

built=tests/fuzz/fuzz_targets
ldd $built | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | grep -vE '/(ld-linux|lib(c|m|dl|pthread|rt)\.so)' | xargs -I{} cp -L {} "$OUT/lib"
cp $built "$OUT/fuzz_targets"
for corpus in "$source"/tests/fuzz/corpus/*; do
    target=$(basename "$corpus")
    ln -f "$OUT/fuzz_targets" "$OUT/$target" # each is the same program, which goes by its name
    folders=("tests/fuzz/corpus/$target")
    [ ! -d "$source/tests/fixtures/${target#fuzz_}" ] || folders+=("tests/fixtures/${target#fuzz_}")
    (cd "$source" && find "${folders[@]}" -type f -size -257k | zip -q -@ "$OUT/${target}_seed_corpus.zip")
    [ ! -f "$source/tests/fuzz/$target.dict" ] || cp "$source/tests/fuzz/$target.dict" "$OUT"
    printf '[libfuzzer]\nmax_len = %s\ntimeout = 20\nrss_limit_mb = 2048\nentropic_feature_frequency_threshold = 4\n' "$("$source/tests/fuzz/longest.sh" "$target")" >"$OUT/$target.options"
done
rm "$OUT/fuzz_targets"
