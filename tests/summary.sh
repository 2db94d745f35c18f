#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/summary.sh BUILD...: shows what the failed tests in the logs of `make check` in each build folder say, and adds up the test
# cases; names the tests that took longest; ends with "N passed, N failed".
passed=0
failed=0
for build in "$@"; do
    for result in $(find "$build" -name '*.trs'); do
        log="${result%.trs}.log"
        ran=$(sed -n -e 's/^Running \([0-9]*\) test cases\{0,1\}\.\.\.$/\1/p' -e 's/^Ran \([0-9]*\) tests\{0,1\}\( in .*\)\{0,1\}$/\1/p' "$log" | tail -n 1)
        ran=${ran:-1}
        if grep -q '^:test-result: PASS' "$result"; then
            passed=$((passed + ran))
        elif grep -q '^:test-result: SKIP' "$result"; then
            echo "skipped: $log"
        else
            bad=$(sed -n -e 's/^\*\*\* \([0-9]*\) failures\{0,1\} .*/\1/p' -e 's/^FAILED (.*\(failures\|errors\)=\([0-9]*\).*/\2/p' "$log" | tail -n 1)
            bad=${bad:-1}
            [ "$bad" -gt "$ran" ] && bad=$ran
            failed=$((failed + bad))
            passed=$((passed + ran - bad))
            echo "failed: $log"
            grep -a -n -E 'error|FAIL|ERROR|Error|WARNING: ThreadSanitizer' "$log" | head -n 40
            tail -n 30 "$log"
        fi
    done
done
echo "slowest tests:"
find "$@" -name '*.log' -exec sed -n -s 's/^took \([0-9]* s\)$/\1/;T;F;p' {} + | paste - - | awk -F '\t' '{ printf "%8s  %s\n", $2, $1 }' | sort -rn | head -n 12
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
