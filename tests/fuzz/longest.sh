#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# longest.sh TARGET: bytes of the longest input that a target is given. No seed is longer, but some that are there for their length.
case ${1#fuzz_} in
    doors | index_cache | libvirt | model | ovf | proxmox | pvs | reference | selector | utm | vbox | vmx) echo 4096 ;;
    luks | ova | parallels | pbs | pmxcfs | vdi | vhd | vma | vmdk) echo 36864 ;;
    qcow2) echo 131072 ;;
    *) echo 73728 ;;
esac
