#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Reruns the committed corpus, every past crash in it, through each fuzz target.
ran=0
for corpus in "${abs_top_srcdir:?}"/tests/fuzz/corpus/*/; do
    target=$(basename "$corpus")
    "${abs_top_builddir:?}/tests/fuzz/$target" "$corpus" || { echo "FAILED (failures=1): $target"; exit 1; }
    ran=$((ran + $(ls "$corpus" | wc -l)))
done
echo "Ran $ran tests"
[ "$ran" -gt 0 ]
