#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/hyperv.sh [BUILD] [FOLDER]: times hvconfig of the build folder BUILD (default .) on a file of 100,000 keys and on a saved
# state of 1 GiB, which it builds in FOLDER (default: a temporary one). Prints seconds and peak memory.
set -eu
build=$(cd "${1:-.}" && pwd)
folder=${2:-$(mktemp -d)}
[ -n "${2:-}" ] || trap 'rm -rf "$folder"' EXIT
make -s -C "$build" hvconfig tests/support/make_hyperv

file() { # shape count name
    [ -f "$folder/$3" ] || "$build/tests/support/make_hyperv" "$1" "$2" "$folder/$3"
}
timed() { # label command...
    label=$1
    shift
    python3 - "$label" "$@" <<'PYTHON'
import resource, subprocess, sys, time
start = time.monotonic()
status = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{sys.argv[1]:<34} {seconds:6.2f} s  cpu {used.ru_utime + used.ru_stime:6.2f} s  peak {used.ru_maxrss >> 10:5} MiB  status {status}")
PYTHON
}

file wide 100000 wide.vmcx
file deep 100000 deep.vmcx
file memory 1024 memory.vmrs
for format in json tree flat; do timed "dump $format, 100,000 keys" "$build/hvconfig" dump -O "$format" "$folder/wide.vmcx"; done
timed "dump json, 100,000 nodes deep" "$build/hvconfig" dump -O json "$folder/deep.vmcx"
timed "verify, 100,000 keys" "$build/hvconfig" verify "$folder/wide.vmcx"
timed "deleted, 100,000 keys" "$build/hvconfig" deleted "$folder/wide.vmcx"
timed "diff, 100,000 keys" "$build/hvconfig" diff "$folder/wide.vmcx" "$folder/wide.vmcx"
timed "dump tree, 1 GiB of memory" "$build/hvconfig" dump -O tree "$folder/memory.vmrs"
timed "dump json, 1 GiB of memory" "$build/hvconfig" dump -O json "$folder/memory.vmrs"
timed "deleted, 1 GiB of memory" "$build/hvconfig" deleted "$folder/memory.vmrs"
timed "memory raw, 1 GiB" "$build/hvconfig" memory --force "$folder/memory.vmrs" "$folder/memory.raw"
timed "memory lime, 1 GiB" "$build/hvconfig" memory --force -O lime "$folder/memory.vmrs" "$folder/memory.lime"
rm -f "$folder/memory.raw" "$folder/memory.lime"
