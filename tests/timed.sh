#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/timed.sh COMMAND...: runs a test and says at the end of its log how long it took.
start=$(date +%s)
"$@"
status=$?
echo "took $(($(date +%s) - start)) s"
exit $status
