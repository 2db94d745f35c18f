#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""VMA archives written by Proxmox's own writer, against the hashes of the disks that went into them."""
import base64
import gzip
import hashlib
import json
import os
import re
import struct
import zlib

import harness
from harness import outcome, run

FOLDER = harness.FIXTURES / "vma"
ENTRIES = [entry for entry in json.loads((FOLDER / "MANIFEST.json").read_text())["files"] if entry["compression"] == "none"]
KIB, MIB = 1 << 10, 1 << 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def independent_archive(clusters, size, order):
    """An archive of one device, assembled by the format's description and nothing of ours."""
    uuid = bytes(range(16))
    blobs = b"\0" + struct.pack("<H", 12) + b"drive-scsi0\0"
    header = bytearray(12288 + 512)
    struct.pack_into(">4sI16sq", header, 0, b"VMA\0", 1, uuid, 1700000000)
    struct.pack_into(">III", header, 48, 12288, len(blobs), len(header))
    struct.pack_into(">IIQ", header, 4096 + 32, 1, 0, size)
    header[12288:12288 + len(blobs)] = blobs
    header[32:48] = hashlib.md5(header).digest()
    archive = bytes(header)
    for start in range(0, len(order), 59):
        extent, data = bytearray(512), b""
        for slot, number in enumerate(order[start:start + 59]):
            blocks = [clusters[number][at:at + 4096] for at in range(0, len(clusters[number]), 4096)]
            mask = sum(1 << i for i, block in enumerate(blocks) if any(block))
            data += b"".join(block.ljust(4096, b"\0") for block in blocks if any(block))
            struct.pack_into(">HBBI", extent, 40 + 8 * slot, mask, 0, 1, number)
        struct.pack_into(">4sHH16s", extent, 0, b"VMAE", 0, len(data) // 4096, uuid)
        extent[24:40] = hashlib.md5(extent).digest()
        archive += bytes(extent) + data
    return archive


class VmaArchives(harness.FolderTest):
    def test_good_archives_give_the_disks_that_went_in(self):
        for entry in ENTRIES:
            for device in entry["devices"] if entry["class"] in ("good", "edge") else []:
                if device["size"] > 256 * MIB:
                    continue
                with self.subTest(file=entry["file"], device=device["name"]):
                    disk = run(harness.VDISK, "export", f"{FOLDER / entry['file']}#{device['name']}", "-")
                    self.assertEqual((len(disk), sha256(disk)), (device["size"], device["sha256"]))

    def test_damaged_archives_give_what_is_intact_and_say_what_is_not(self):
        salvaged = ("damaged/d23", "damaged/d34")  # more is found than by a reader that stops at the first bad extent
        for entry in ENTRIES:
            for device in entry.get("devices", []) if entry["class"] == "damaged" and not entry["file"].startswith(salvaged) else []:
                with self.subTest(file=entry["file"], device=device["name"]):
                    status, disk, errors = outcome(harness.VDISK, "export", f"{FOLDER / entry['file']}#{device['name']}", "-")
                    complete = sum(last - first + 1 for first, last in device["intact_clusters"]) * 65536 >= device["size"]
                    self.assertEqual(status, 0 if complete else 1, errors)
                    self.assertEqual((len(disk), sha256(disk)), (device["size"], device["sha256_if_other_clusters_read_as_zero"]))

    def test_configurations_come_out_byte_by_byte(self):
        for entry in ENTRIES:
            for config in entry.get("configs", []) if entry["class"] in ("good", "edge") else []:
                with self.subTest(file=entry["file"], config=config["name"]):
                    content = run(harness.VDISK, "config", FOLDER / entry["file"], config["name"])
                    self.assertEqual(sha256(content), config["sha256"])

    def test_a_configuration_name_is_shown_and_makes_no_file(self):
        archive = FOLDER / "damaged" / "d18-config-path.vma"
        self.assertIn(b"../../x/qemu.con", run(harness.VDISK, "config", "--list", archive))
        self.assertIn(b"cores:", run(harness.VDISK, "config", archive, cwd=self.folder))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_verify_names_the_lost_ranges(self):
        status, out, _ = outcome(harness.VDISK, "verify", "--json", FOLDER / "damaged" / "d40-extent-lost.vma")
        self.assertEqual(status, 1)
        lost = [(f["disk"], f["disk_offset"], f["length"]) for f in json.loads(out)["findings"] if f["kind"] == "lost"]
        self.assertEqual(lost, [("drive-scsi0", 53 * 64 * KIB, 57 * 64 * KIB), ("drive-virtio1", 0, 64 * KIB)])
        for entry in ENTRIES:
            if entry["class"] in ("good", "edge"):
                self.assertIn(b"no faults", run(harness.VDISK, "verify", FOLDER / entry["file"]))

    def test_several_disks_are_listed_with_what_to_type(self):
        archive = FOLDER / "02-three-devices.vma"
        status, _, errors = outcome(harness.VDISK, "export", archive, self.folder / "out.raw")
        self.assertEqual(status, 2)
        for name in ("drive-scsi0", "drive-virtio1", "drive-efidisk0"):
            self.assertIn(f"{archive}#{name}", errors)

    def test_info_tells_that_an_archive_is_truncated(self):
        for name, word in (("d03-trunc-at-extent-border", "incomplete"), ("d01-trunc-in-extent-data", "truncated")):
            facts = json.loads(run(harness.VDISK, "info", "--json", FOLDER / "damaged" / f"{name}.vma", status=1))
            self.assertTrue(any(word in line for line in facts["problems"]), facts)

    def facts(self, archive, **keywords):
        return json.loads(run(harness.VDISK, "info", "--json", archive, **keywords))

    def test_info_shows_the_notes_and_the_log_that_lie_beside_an_archive(self):
        name = "vzdump-qemu-100-2024_05_01-10_00_00"
        archive = self.folder / f"{name}.vma"
        archive.write_bytes(independent_archive([b"x" * 65536], 65536, [0]))
        self.assertNotIn("notes", self.facts(archive))
        (self.folder / f"{name}.vma.notes").write_text("before the update\n\n\x1b[31mred\n")
        (self.folder / f"{name}.log").write_text("2024-05-01 10:00:00 INFO: Starting Backup of VM 100 (qemu)\n"
                                                 "2024-05-01 10:00:01 WARN: no guest agent\n"
                                                 "2024-05-01 10:00:09 ERROR: job failed with err -5\n"
                                                 "2024-05-01 10:00:09 INFO: Failed at 2024-05-01 10:00:09\n")
        facts = self.facts(archive)
        self.assertEqual(facts["notes"], ["before the update", "\\x1b[31mred"])
        self.assertEqual(facts["backup_log"], {
            "file": f"{name}.log",
            "errors_and_warnings": ["2024-05-01 10:00:01 WARN: no guest agent", "2024-05-01 10:00:09 ERROR: job failed with err -5"],
            "last_line": "2024-05-01 10:00:09 INFO: Failed at 2024-05-01 10:00:09"})
        # Nothing beside it is opened where nothing may be, and no file of another name.
        self.assertNotIn("notes", self.facts(archive, env={**os.environ, "VDISK_REFERENCES": "deny"}))
        archive.rename(self.folder / "other.vma")
        self.assertNotIn("backup_log", self.facts(self.folder / "other.vma"))

    def test_archives_by_another_writer_in_any_order(self):
        for size in (1, 65536 * 130, 65536 * 61 + 4096 * 3 + 700):
            disk = bytearray(size)
            for at in range(0, size, 4096):
                if self.random.random() < 0.4:
                    disk[at:at + 4096] = self.random_bytes(min(4096, size - at))
            clusters = [bytes(disk[at:at + 65536]) for at in range(0, size, 65536)]
            order = list(range(len(clusters)))
            self.random.shuffle(order)
            archive = self.folder / "disk.vma"
            archive.write_bytes(independent_archive(clusters, size, order))
            self.assertEqual(run(harness.VDISK, "export", archive, "-"), bytes(disk))

    def test_a_cut_in_or_an_insertion_into_an_extent_costs_that_extent(self):
        clusters = [struct.pack("<Q", i + 1) * 8192 for i in range(59 * 3)]
        disk = b"".join(clusters)
        good = independent_archive(clusters, len(disk), list(range(len(clusters))))
        extent = 512 + 59 * 65536
        archive = self.folder / "disk.vma"
        for count in (1, 3, 511, 512, 4096, 4608, 70000):
            for number in (0, 1):
                at = 12800 + number * extent + 512 + self.random.randrange(58 * 65536)
                for damaged in (good[:at] + good[at + count:], good[:at] + self.random_bytes(count) + good[at:]):
                    archive.write_bytes(damaged)
                    status, got, errors = outcome(harness.VDISK, "export", archive, "-")
                    self.assertEqual(status, 1)
                    self.assertIn(f"disk offset {number * 59 * 65536}, {59 * 65536} bytes", errors)
                    start, end = number * 59 * 65536, (number + 1) * 59 * 65536
                    self.assertTrue(got == disk[:start] + bytes(end - start) + disk[end:], (count, number))

    def test_behind_a_changed_bit_of_a_deflate_stream_every_extent_is_found(self):
        clusters = [base64.b64encode(self.random_bytes(30000)) + bytes(25536) for _ in range(59 * 3)]
        disk = b"".join(clusters)
        plain = independent_archive(clusters, len(disk), list(range(len(clusters))))
        packed = bytearray(gzip.compress(plain, 6))
        shifted = None
        while shifted is None or len(shifted) == len(plain):
            at = self.random.randrange(len(packed) // 3, len(packed) // 2)
            trial = bytes(packed[:at]) + bytes([packed[at] ^ 1 << self.random.randrange(8)]) + bytes(packed[at + 1:])
            try:
                shifted = zlib.decompressobj(-15).decompress(trial[10:])
            except zlib.error:
                shifted = None
        archive = self.folder / "disk.vma.gz"
        archive.write_bytes(trial)
        status, got, errors = outcome(harness.VDISK, "export", archive, "-", env={**harness.os.environ, "VDISK_UNVERIFIED": "read"})
        lost = [(int(start), int(length)) for start, length in re.findall(r"disk offset (\d+), (\d+) bytes", errors)]
        pages = range(0, len(disk), 4096)
        right = [at for at in pages if got[at:at + 4096] == disk[at:at + 4096] and not any(s <= at < s + n for s, n in lost)]
        first = next(i for i in range(len(plain)) if plain[i] != shifted[i])
        hit = (first - 12800) // (512 + 59 * 10 * 4096) * 59 * 65536
        untouched = [at for at in pages if not hit <= at < hit + 59 * 65536]
        self.assertTrue(set(untouched) <= set(right))
        told = [(int(start), int(last)) for start, last in re.findall(r"bytes (\d+) to (\d+) are read from an extent whose", errors)]
        unread = {at for start, length in lost for at in range(start, start + length, 4096)}
        for at in set(pages) - set(right) - unread:
            self.assertTrue(any(start <= at <= last for start, last in told), f"nothing is said of the wrong page at {at}: {errors}")
        self.assertIn("extent", run(harness.VDISK, "info", archive, status=1).decode())

    def test_the_machine_s_own_configuration_is_meant_where_none_is_named(self):
        archive = FOLDER / "02-three-devices.vma"
        status, out, errors = outcome(harness.VDISK, "config", archive)
        self.assertEqual((status, out), (0, run(harness.VDISK, "config", archive, "qemu-server.conf")))
        self.assertIn("qemu-server.fw", errors)
        self.assertEqual(outcome(harness.VDISK, "config", archive, "qemu-server.conf")[2], "")

    def test_a_device_that_is_not_listed_is_a_disk_by_number(self):
        archive = FOLDER / "damaged" / "d25-unknown-device.vma"
        facts = json.loads(run(harness.VDISK, "info", "--json", archive, status=1))
        found = [disk for disk in facts["disks"] if "size_found_by" in disk]
        self.assertEqual(len(found), 1, facts)
        self.assertIn(f" {found[0]['name']} ", run(harness.VDISK, "ls", archive).decode())
        status, disk, _ = outcome(harness.VDISK, "export", f"{archive}#{found[0]['id']}", "-")
        self.assertEqual((status in (0, 1), len(disk)), (True, found[0]["size"]))


if __name__ == "__main__":
    harness.main()
