# SPDX-License-Identifier: Apache-2.0
"""Image files of many writers with a manifest that says what each must give, and random disks as qemu-img writes them."""
import hashlib
import json
import os
import pathlib

import harness
import tsk
from harness import VDISK, outcome, run

MIB = 1 << 20
LIBRARIES = harness.BUILD / "lib" / ".libs"
LIBRARY = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES), PYTHONPATH=str(harness.SOURCE / "python"),
               **harness.preloaded_sanitizers(LIBRARIES / "libvdisk.so"))
# Prints the disk's size, the hashes of spots, and where else there are bytes that are no zeros.
SPOTS = """
import hashlib, json, sys, vdisk
spots, stray = json.loads(sys.argv[2]), []
with vdisk.open(sys.argv[1]) as disk:
    hashes = [hashlib.sha256(disk.read_at(spot["offset"], spot["length"])).hexdigest() for spot in spots]
    for extent in disk.extents():
        if extent.kind == vdisk.ZERO:
            continue
        for at in range(extent.offset, extent.offset + extent.length, 1 << 20):
            data = bytearray(disk.read_at(at, min(1 << 20, extent.offset + extent.length - at)))
            for spot in spots:
                start, end = max(spot["offset"], at) - at, min(spot["offset"] + spot["length"] - at, len(data))
                if start < end:
                    data[start:end] = bytes(end - start)
            if any(data):
                stray.append(at)
    print(json.dumps({"size": disk.size, "hashes": hashes, "stray": stray}))
"""


def zero_out(path, ranges):
    with open(path, "r+b") as file:
        for offset, length in ranges:
            file.seek(offset)
            file.write(bytes(length))


def cases(folders, formats):
    """(folder, case) of each case of these formats in the folders' manifests, and in that of the folder VDISK_DISK_FIXTURES."""
    if "VDISK_DISK_FIXTURES" in os.environ:
        folders = [*folders, pathlib.Path(os.environ["VDISK_DISK_FIXTURES"])]
    for folder in folders:
        for case in json.loads((folder / "MANIFEST.json").read_text())["cases"]:
            if case["format"] in formats:
                yield folder, case


class Cases(harness.FolderTest):
    """What a test of a manifest needs."""

    def unpack(self, folder, case):
        """The file to open, with all its files around it."""
        for each in case["files"]:
            name = each["file"] if isinstance(each, dict) else each
            target = self.folder / case["name"] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            run("zstd", "-d", "-q", "-f", "--sparse", folder / case["name"] / f"{name}.zst", "-o", target)
        return self.folder / case["name"] / case["top"]

    def export(self, image):
        """(status, path of the disk, what was said)"""
        out = self.folder / "out.raw"
        status, _, said = outcome(VDISK, "export", "--force", image, out, timeout=300)
        self.assertIn(status, (0, 1, 2), said)
        return status, out, said

    def check_spots(self, image, case):
        """Where the disk is too large for a hash of all of it."""
        said = run("/usr/bin/env", "python3", "-c", SPOTS, image, json.dumps(case["spots"]), timeout=300, env=LIBRARY)
        found = json.loads(said)
        self.assertEqual(found["size"], case["virtual_size"])
        self.assertEqual(found["hashes"], [spot["sha256"] for spot in case["spots"]])
        self.assertEqual(found["stray"], [])

    def check_disk(self, image, case):
        if case.get("sha256") is None and "spots" in case:
            return self.check_spots(image, case)
        status, out, said = self.export(image)
        if "lost" in case:
            self.assertEqual(status, 1, said)
            zero_out(out, case["lost"])
            self.assertEqual(harness.sha256_file(out), case["sha256_rest"])
        elif "sha256" in case:
            self.assertEqual(out.stat().st_size if status != 2 else said, case["virtual_size"])
            self.assertEqual(harness.sha256_file(out), case["sha256"])
            if case["kind"] == "good":
                self.assertEqual(status, 0, said)
        elif case.get("sha256_if_read") and status == 0:
            self.assertEqual(harness.sha256_file(out), case["sha256_if_read"])
        self.assertNotIn(b"root:", out.read_bytes() if status != 2 and case["kind"] == "hostile" else b"")

    def check_refused(self, image, name):
        status, _, said = self.export(image)
        self.assertEqual(status, 2, said)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn(name, said)

    def check_file_systems(self, image, case, kind):
        """The Sleuth Kit finds each file of each partition; `kind`: its option for the type, if any."""
        for part in case["file_systems"]["partitions"]:
            with self.subTest(case["name"], part=part["type"], kind=kind):
                where = [*kind, "-o", part["sector"]]
                files = tsk.files_of(tsk.with_plugin("fls", "-r", "-p", *where, image))
                for name, digest in case["file_systems"]["files"][part["type"]].items():
                    self.assertIn(name, files)
                    content = tsk.with_plugin("icat", *where, image, files[name])
                    self.assertEqual(hashlib.sha256(content).hexdigest(), digest)


class Qemu(harness.FolderTest):
    """What qemu-img writes of random disks."""

    def disk(self, size):
        raw = self.folder / "disk.raw"
        data = bytearray(size)
        for _ in range(12):
            start = self.random.randrange(size)
            length = min(self.random.randrange(300_000), size - start)
            data[start:start + length] = self.random_bytes(length)
        raw.write_bytes(data)
        return raw

    def check(self, raw, options, form, may_be_longer=False):
        image, out = self.folder / f"disk.{form}", self.folder / "out.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, raw, image)
        run(VDISK, "export", "--force", image, out)
        expected = raw.read_bytes()
        got = out.read_bytes()
        if may_be_longer: # to whole cylinders
            self.assertEqual(got[len(expected):], bytes(len(got) - len(expected)))
            got = got[:len(expected)]
        self.assertEqual(got, expected)
        self.assertEqual(outcome(VDISK, "audit", image)[0], 0)
        run("qemu-img", "convert", "-f", form, "-O", "raw", image, self.folder / "theirs.raw")
        self.assert_same_file(out, self.folder / "theirs.raw")

    def check_overlays(self, form, options):
        """A qcow2 overlay on such an image, with and without the format declared."""
        raw = self.disk(8 * MIB)
        base, top, out = self.folder / f"base.{form}", self.folder / "top.qcow2", self.folder / "out.raw"
        run("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, raw, base)
        expected = bytearray(raw.read_bytes())
        expected[MIB:MIB + 65536] = b"\7" * 65536
        for declared in (True, False):
            run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", form, top)
            run("qemu-io", "-c", "write -P 7 1M 64k", top)
            if not declared:
                harness.undeclared(top)
            status, _, said = outcome(VDISK, "export", "--force", top, out)
            self.assertEqual(status, 0, said)
            self.assertEqual(out.read_bytes(), bytes(expected))

    def chain(self, forms):
        """Images over one another, each with writes of its own: [(image, its content)]"""
        raw = self.disk(8 * MIB)
        content, below, layers = bytearray(raw.read_bytes()), raw, []
        for number, (form, below_form) in enumerate(zip(forms, ["raw", *forms])):
            image = self.folder / f"layer{number}.{form}"
            run("qemu-img", "create", "-q", "-f", form, "-b", below.name, "-F", below_form, image)
            for _ in range(5):
                at, length, value = self.random.randrange(15000) * 512, self.random.randrange(1, 200) * 512, self.random.randrange(256)
                run("qemu-io", "-f", form, "-c", f"write -P {value} {at} {length}", image)
                content[at:at + length] = bytes([value]) * length
            layers.append((image, bytes(content)))
            below = image
        return layers

    def check_chain(self, forms):
        """Each layer reads as what was written, and as qemu-img reads it."""
        out = self.folder / "out.raw"
        for image, content in self.chain(forms):
            with self.subTest(forms=forms, image=image.name):
                status, _, said = outcome(VDISK, "export", "--force", image, out)
                self.assertEqual(status, 0, said)
                self.assertEqual(out.read_bytes(), content)
                run("qemu-img", "convert", "-O", "raw", image, self.folder / "theirs.raw")
                self.assert_same_file(out, self.folder / "theirs.raw")

    def check_without_parent(self, form):
        (_, _), (image, _) = self.chain([form, form])
        (self.folder / f"layer0.{form}").unlink()
        status, _, said = outcome(VDISK, "export", "--force", image, self.folder / "out.raw")
        self.assertEqual(status, 2)
        self.assertIn(f"layer0.{form}", said)

    def check_changed_bytes(self, form, places):
        """What is read of a damaged image is the right disk, or an error for what is not, or one byte that is the guest's, or one
        sector for which an entry that was 0 now names a place in the file that nothing else claims."""
        image, content = self.chain([form])[0]
        good = image.read_bytes()
        out = self.folder / "out.raw"
        for at in places:
            changed = bytearray(good)
            changed[at] ^= 1 << self.random.randrange(8)
            image.write_bytes(changed)
            status, _, said = outcome(VDISK, "export", "--force", image, out)
            self.assertIn(status, (0, 1, 2), said)
            if status == 0:
                differing = [i for i, (a, b) in enumerate(zip(out.read_bytes(), content)) if a != b] or [0]
                self.assertEqual(differing[0] // 512, differing[-1] // 512, f"byte {at}: {len(differing)} bytes differ")
