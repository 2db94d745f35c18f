#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What HACKING.md expects of each format ("What a format brings"), for every row of the registry.
cd "${abs_top_srcdir:-$(dirname "$0")/..}" || exit 99
failed=0 formats=0

missing() { # format what
    echo "$1: $2"
    failed=1
}

# Formats that need not have all of it: name, what, and why.
excused() {
    case "$1 $2" in
        "raw "*) ;;                            # has no metadata that could be wrong
        "vbox number" | "vmx number" | "libvirt number" | "proxmox number" | "hyperv number" | "ovf number" | "pmxcfs number" | "pvs number" | "utm number" | "reference number") ;; # lead to an image
        "vbox limits" | "vmx limits" | "libvirt limits" | "proxmox limits" | "ovf limits" | "pmxcfs limits" | "pvs limits" | "utm limits" | "reference limits") ;; # texts, limited at opening
        "vbox table" | "vmx table" | "libvirt table" | "proxmox table" | "hyperv table" | "ovf table" | "pmxcfs table" | "pvs table" | "utm table" | "reference table") ;; # README tells of machines apart
        "vbox tests" | "vbox oracle") ;;       # read with the disks of their machines, by the tests of vdi
        "vmx tests" | "libvirt tests" | "proxmox tests" | "ovf tests" | "pmxcfs tests" | "pvs tests" | "utm tests") ;; # in machine_test.cpp
        "vmx oracle" | "libvirt oracle" | "proxmox oracle" | "ovf oracle" | "pmxcfs oracle" | "pvs oracle" | "utm oracle") ;; # in machines.py
        "ova limits") ;;                       # a text and headers, whose number is limited at opening
        "vhdx oracle" | "vhdx limits") ;;      # together with vhd, in vhd_images.py and vhd_limits.cpp
        "qed limits" | "parallels limits") ;;  # together with qcow, in qcow_limits.cpp
        "reference man") ;;                    # vdisk(1) has a section on them
        *) return 1 ;;
    esac
}

expect() { # format short what-is-it file-or-pattern...
    format=$1 short=$2 what=$3
    shift 3
    excused "$format" "$short" && return
    for file in "$@"; do [ -e "$file" ] && return; done
    missing "$format" "$what is missing: $*"
}

expect_text() { # format short what-is-it file pattern
    excused "$1" "$2" && return
    grep -qE -- "$5" "$4" || missing "$1" "$3 is missing in $4: $5"
}

rows=$(sed -n '/kFormats{/,/}/p' lib/open/registry.cpp | grep -oE '&k[A-Za-z0-9]+Format' | tr -d '&')
for row in $rows; do
    source=$(grep -rlE "^const Format $row\{" lib)
    name=$(grep -hE "^const Format $row\{" "$source" | sed 's/[^"]*"\([^"]*\)".*/\1/')
    formats=$((formats + 1))
    expect "$name" tests "a unit test" "tests/unit/${name}"*_test.cpp
    expect "$name" oracle "a comparison with other programs" "tests/oracle/${name}"_*.py
    expect "$name" seeds "seeds of the fuzz target" "tests/fuzz/corpus/fuzz_$name"/*
    expect "$name" limits "hostile files" "tests/limits/${name}_limits.cpp"
    expect_text "$name" fuzz "a fuzz target" tests/fuzz/targets.cpp "\"fuzz_$name\""
    expect_text "$name" number "the number for The Sleuth Kit" tsk_plugin/image_types.cpp "\"$name\""
    expect_text "$name" table "a row" README.md "^- \*\*$name\*\*:"
    expect_text "$name" man "an entry" man/vdisk.1 "^\.B $name\$"
done

for file in lib/format/*/*; do
    grep -qF "$file" lib/format/Makemodule.am || missing "$file" "is not in lib/format/Makemodule.am"
done
for folder in lib/format/*/; do
    name=$(basename "$folder")
    grep -qE "\"format/$name/" lib/open/*.cpp lib/open/*/*.[ch]pp || missing "$name" "has a folder but no row in the registry"
done

[ "$formats" -gt 4 ] || missing registry "$formats rows found"
echo "Ran 1 tests"
exit $failed
