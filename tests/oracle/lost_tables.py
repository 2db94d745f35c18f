#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of each format by qemu-img in an lzop stream, of which one block after the other is lost: the disk gives the right bytes or
errors, and where a piece of a table is lost, errors for no more than what that piece maps."""
import os
import struct
import unittest

import harness
from harness import run

os.environ["VDISK_UNVERIFIED"] = "refuse"  # what decodes though its checksum is wrong is lost too
VDISK = harness.library()

GIB = 1 << 30
PLACES = 24  # bytes on the disk, evenly spread
BLOCK = 256 << 10  # of lzop

# qemu-img's name, its options, GiB, and blocks that need not leave anything: the header's, metadata that there is one copy of. VHD
# in the last place has 2 MiB of table, all others some MiB of tables and data between them.
FORMATS = {
    "qcow2": ("", 400, {0}),
    "qcow": ("", 400, {0, 6}),  # behind the L1 table lie all L2 tables, 4 KiB each
    "qed": ("", 400, {0}),
    "parallels": ("", 400, {0}),
    "vdi": ("", 400, {0}),
    "vhdx": ("block_size=1M", 400, {0, 24}),  # the regions' parameters
    "vpc": ("", 1000, {0}),
}


def lzop_blocks(stream):
    """(offset in the file, offset of the stored bytes, their length) of each block."""
    method_at = 9 + 6
    flags, = struct.unpack_from(">I", stream, method_at + 2)
    at = method_at + 2 + 4 + 12
    at += 1 + stream[at] + 4
    plain, found = 0, []
    while True:
        length, = struct.unpack_from(">I", stream, at)
        if length == 0:
            return found
        stored, = struct.unpack_from(">I", stream, at + 4)
        header = 8 + 4 * bool(flags & 0x001) + 4 * bool(flags & 0x100)
        if stored < length:
            header += 4 * bool(flags & 0x002) + 4 * bool(flags & 0x200)
        found.append((plain, at + header, stored))
        plain += length
        at += header + stored


@unittest.skipUnless(VDISK, "this process can't load the library")
class LostTables(harness.FolderTest):
    def check(self, kind):
        options, gib, may_be_all = FORMATS[kind]
        places = [i * gib * GIB // PLACES // 4096 * 4096 for i in range(PLACES)]
        image = self.folder / f"d.{kind}"
        run("qemu-img", "create", "-q", "-f", kind, *(("-o", options) if options else ()), image, f"{gib}G")
        writes = [part for i, place in enumerate(places) for part in ("-c", f"write -q -P {i + 1} {place} 4096")]
        run("qemu-io", "-f", kind, *writes, image)
        plain = image.read_bytes()
        packed = self.folder / f"d.{kind}.lzo"
        run("lzop", "-1", "-o", packed, image)
        image.unlink()
        good = packed.read_bytes()
        lost_a_table = 0
        for offset, at, length in lzop_blocks(good):
            block = plain[offset:offset + BLOCK]
            # A table is what is no zeros, or all ones, and no data that was written.
            if offset > 16 << 20 or len(set(block)) <= 2:
                continue
            bad = bytearray(good)
            bad[at + length // 2:at + length] = bytes(b ^ 0x55 for b in good[at + length // 2:at + length])
            packed.write_bytes(bad)
            with self.subTest(kind=kind, block=offset // BLOCK):
                said = self.look(packed, places, everything=offset // BLOCK in may_be_all)
                if "of its tables can't be read" in said and lost_a_table == 0:
                    lost_a_table += 1
                    status, out, err = harness.outcome(harness.VDISK, "audit", packed)
                    self.assertEqual(status, 1, err)
                    self.assertIn(b"lost-table", out)
        self.assertTrue(lost_a_table or kind == "qcow2")

    def look(self, packed, places, everything):
        """What opening it says, after looking at each place."""
        try:
            with VDISK.File(str(packed)) as file, file.open_disk(file.selected) as disk:
                errors = 0
                for i, place in enumerate(places):
                    try:
                        self.assertEqual(disk.read_at(place, 4096), bytes([i + 1]) * 4096)
                    except VDISK.Error:
                        errors += 1
        except VDISK.Error:
            self.assertTrue(everything, "not opened")
            return ""
        self.assertTrue(everything or errors <= PLACES // 4, errors)
        _, out, err = harness.outcome(harness.VDISK, "info", packed)
        return out.decode() + err


for name in FORMATS:
    setattr(LostTables, f"test_{name}", lambda self, kind=name: self.check(kind))

if __name__ == "__main__":
    unittest.main()
