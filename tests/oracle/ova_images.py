#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Machines in archives that other programs wrote: OVA files by Python's tarfile in each of its formats, and those of the manifests.
VDISK_DISK_FIXTURES names a folder of further cases."""
import gzip
import hashlib
import io
import json
import os
import tarfile

import disk_cases
import harness
import tsk
from harness import VDISK, outcome, run

MIB = 1 << 20
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def descriptor(*files):
    """An OVF descriptor of disks that are stored in these files: (name, size, capacity)."""
    listed = "".join(f'<File ovf:id="f{i}" ovf:href="{name}" ovf:size="{size}"/>' for i, (name, size, _) in enumerate(files))
    disks = "".join(f'<Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" ovf:capacity="{capacity}"/>' for i, (_, _, capacity) in enumerate(files))
    return (f'<Envelope xmlns:ovf="x"><References>{listed}</References><DiskSection>{disks}</DiskSection>'
            '<VirtualSystem ovf:id="vm"/></Envelope>').encode()


def archive_of(members, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Ova(disk_cases.Cases):
    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk.raw"
        self.disk.write_bytes(b"".join(self.random.randbytes(64 << 10) + bytes(192 << 10) for _ in range(16)))
        self.plain = self.disk.read_bytes()
        self.image = self.folder / "vm.ova"

    def converted(self, form):
        out = self.folder / f"converted.{form}"
        run("qemu-img", "convert", "-f", "raw", "-O", form, self.disk, out)
        return out.read_bytes()

    def exported(self, image, status=0):
        out = self.folder / "out"
        code, _, said = outcome(VDISK, "export", "--force", image, out)
        self.assertEqual(code, status, said)
        return out.read_bytes() if code != 2 else said

    def write(self, members, form=tarfile.USTAR_FORMAT):
        self.image.write_bytes(archive_of(members, form))

    def test_disks_of_every_format_in_archives_of_every_kind(self):
        for name, form in FORMATS.items():
            for long in (False, True):
                with self.subTest(name, long=long):
                    folder = "sub/" * 30 if long else ""
                    disks = [(f"{folder}d.img", self.plain), (f"{folder}d.vhdx", self.converted("vhdx")), (f"{folder}q.qcow2", self.converted("qcow2"))]
                    text = descriptor(*((name, len(data), len(self.plain)) for name, data in disks))
                    self.write([("vm.ovf", text), *disks], form)
                    for number, (disk, _) in enumerate(disks, 1):
                        self.assertEqual(self.exported(f"{self.image}#disk{number}"), self.plain)
                        self.assertEqual(self.exported(f"{self.image}#{disk}"), self.plain)

    def test_an_archive_larger_than_octal_sizes_reach_and_members_behind_it(self):
        large = 9 << 30
        info = tarfile.TarInfo("large.img")
        info.size = large
        for name in ("gnu", "pax"):
            with self.subTest(name), open(self.image, "wb") as out:
                out.write(info.tobuf(FORMATS[name]))
                out.seek(large, os.SEEK_CUR)
                text = descriptor(("large.img", large, large), ("d.img", len(self.plain), len(self.plain)))
                out.write(archive_of([("vm.ovf", text), ("d.img", self.plain)], FORMATS[name]))
            rows = json.loads(run(VDISK, "ls", "--json", self.image))["disks"]
            self.assertEqual([row["size"] for row in rows], [large, len(self.plain)])
            self.assertEqual(self.exported(f"{self.image}#disk2"), self.plain)

    def test_compressed_archives(self):
        self.write([("vm.ovf", descriptor(("d.img", len(self.plain), len(self.plain)))), ("d.img", self.plain)])
        packed = self.folder / "vm.ova.gz"
        packed.write_bytes(gzip.compress(self.image.read_bytes()))
        self.assertEqual(self.exported(packed), self.plain)
        self.write([("d.img", self.plain), ("vm.ovf", descriptor(("d.img", len(self.plain), len(self.plain))))])
        packed.write_bytes(gzip.compress(self.image.read_bytes()))
        self.assertIn("#format=ova", self.exported(packed, status=2))
        self.assertEqual(self.exported(f"{packed}#format=ova"), self.plain)

    def test_a_broken_off_download_gives_what_is_there(self):
        self.write([("vm.ovf", descriptor(("a.img", len(self.plain), len(self.plain)), ("b.img", len(self.plain), len(self.plain)))),
                    ("a.img", self.plain), ("b.img", self.plain)])
        whole = self.image.read_bytes()
        start = whole.rindex(self.plain[:4096])
        self.image.write_bytes(whole[:start + MIB + 100])
        self.assertEqual(self.exported(f"{self.image}#disk1"), self.plain)
        got = self.exported(f"{self.image}#disk2", status=1)
        self.assertEqual(len(got), len(self.plain))
        self.assertEqual(got[:MIB], self.plain[:MIB])
        self.assertEqual(got[MIB + 512:], bytes(len(self.plain) - MIB - 512))
        status, out, _ = outcome(VDISK, "info", self.image)
        self.assertEqual(status, 1)
        self.assertEqual(out.count(b"the archive ends at"), 1)

    def test_one_bit_of_any_header_never_gives_other_bytes(self):
        text = descriptor(("a.img", len(self.plain), len(self.plain)), ("b.img", 512, 512))
        self.write([("vm.ovf", text), ("a.img", self.plain), ("b.img", b"b" * 512)])
        sound = self.image.read_bytes()
        start = sound.index(b"a.img", 1024) // 512 * 512
        for at in range(start, start + 512, 7):
            damaged = bytearray(sound)
            damaged[at] ^= 1 << at % 8
            self.image.write_bytes(damaged)
            for disk, expected in (("disk1", self.plain), ("disk2", b"b" * 512)):
                status, out, said = outcome(VDISK, "export", f"{self.image}#{disk}", "-")
                self.assertTrue(status == 2 or out == expected, (at, disk, said))

    def test_manifests(self):
        disk = self.converted("vhdx")
        text = descriptor(("d.vhdx", len(disk), len(self.plain)))
        for name in ("sha1", "sha256", "sha512"):
            lines = "".join(f"{name.upper()}({file})= {hashlib.new(name, data).hexdigest()}\n" for file, data in (("vm.ovf", text), ("d.vhdx", disk)))
            self.write([("vm.ovf", text), ("vm.mf", lines.encode()), ("d.vhdx", disk)])
            self.assertIn(b"no faults", run(VDISK, "verify", self.image))
        changed = bytearray(self.image.read_bytes())
        changed[changed.index(disk[:100]) + 1000] ^= 1
        self.image.write_bytes(changed)
        self.assertIn(b"manifest-mismatch: 'd.vhdx'", run(VDISK, "verify", self.image, status=1))
        self.write([("vm.ovf", text), ("d.vhdx", disk)])
        self.assertIn(b"no-checksums", run(VDISK, "verify", self.image))

    def test_what_lies_in_it_is_listed_and_the_descriptor_printed(self):
        text = descriptor(("d.img", len(self.plain), len(self.plain)))
        self.write([("vm.ovf", text), ("d.img", self.plain), ("notes.txt", b"hello"), ("more.qcow2", self.converted("qcow2"))])
        self.assertEqual(run(VDISK, "config", self.image), text)
        rows = json.loads(run(VDISK, "ls", "--json", self.image))["disks"]
        self.assertEqual([row["name"] for row in rows], ["d.img", "more.qcow2"])
        self.assertEqual(self.exported(f"{self.image}#more.qcow2"), self.plain)

    def test_a_child_in_an_archive_reads_no_file_of_the_machine(self):
        base, top = self.folder / "base.qcow2", self.folder / "top.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", base, "1M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", top)
        self.write([("vm.ovf", descriptor(("top.qcow2", top.stat().st_size, MIB))), ("top.qcow2", top.read_bytes())])
        self.assertIn("an archive holds no parents", self.exported(self.image, status=2))

    def test_a_disk_that_is_not_there_is_listed_and_told(self):
        self.write([("vm.ovf", descriptor(("gone.img", 512, 512), ("d.img", len(self.plain), len(self.plain)))), ("d.img", self.plain)])
        for command in ("ls", "info"):
            self.assertIn(b"gone.img", run(VDISK, command, self.image, status=1))
        self.assertIn("has no member 'gone.img'", outcome(VDISK, "ls", self.image)[2])
        self.assertEqual(self.exported(f"{self.image}#d.img"), self.plain)

    def test_every_case(self):
        for folder, case in disk_cases.cases([harness.FIXTURES / "ova"], ("ova",)):
            with self.subTest(case["name"]):
                image = self.unpack(folder, case)
                for member in case["members"]:
                    status, out, said = outcome(VDISK, "export", f"{image}#{member['name']}", "-")
                    if member["name"].endswith(".gz"):
                        self.assertEqual(status, 2)
                        self.assertIn("is compressed by 'gzip' inside the archive", said)
                    elif "sha256" in member:
                        self.assertEqual((status, hashlib.sha256(out).hexdigest()), (0, member["sha256"]), said)
                    else:
                        self.assertNotEqual(status, 0)
                for command in ("info", "audit", "ls", "verify"):
                    self.assertNotIn(b"root:", run(VDISK, command, image, status=None))

    def test_files_by_the_sleuth_kit(self):
        tsk.require_plugin()
        part = self.folder / "part"
        tree = self.folder / "tree"
        tree.mkdir()
        (tree / "hello.txt").write_text("hello")
        tsk.make_ext4(part, 8 * MIB, tree)
        self.write([("vm.ovf", descriptor(("d.img", 8 * MIB, 8 * MIB))), ("d.img", part.read_bytes())])
        for kind in ([], ["-i", "ova"]):
            self.assertIn(b"hello.txt", tsk.with_plugin("fls", "-r", *kind, self.image))


if __name__ == "__main__":
    harness.main()
