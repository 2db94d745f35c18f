#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Reruns the committed corpus, every past crash in it, through each fuzz target and all of its parts, and the fixtures of its format
# too.
tests=${abs_top_srcdir:?}/tests
ran=0
for corpus in "$tests"/fuzz/corpus/*/; do
    target=$(basename "$corpus")
    fixtures=$tests/fixtures/${target#fuzz_}
    [ -d "$fixtures" ] || fixtures=
    said=$(VDISK_FUZZ_TARGET=$target VDISK_FUZZ_PARTS=all "${abs_top_builddir:?}/tests/fuzz/fuzz_targets" "$corpus" $fixtures) || { echo "FAILED (failures=1): $target"; exit 1; }
    said=${said#Ran }
    ran=$((ran + ${said% tests}))
done
echo "Ran $ran tests"
[ "$ran" -gt 0 ]
