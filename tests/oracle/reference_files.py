#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk ref: what it writes leads The Sleuth Kit's programs to the bytes of the raw disk, and what is hostile leads nowhere."""
import json
import os
import shutil
import unittest

import harness
import tsk
import vma_writer
from harness import VDISK, outcome, run
from tsk import MIB

SECTOR = 512


class ReferenceTest(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.evidence, self.references = self.folder / "evidence", self.folder / "references"
        self.evidence.mkdir()
        self.references.mkdir()

    def disk(self, name, size=MIB):
        raw = self.folder / f"{name}.raw"
        raw.write_bytes(self.random_bytes(size))
        return raw

    def backup(self):
        """A compressed backup of two disks, and these."""
        disks = [(name, self.disk(name, size)) for name, size in (("drive-scsi0", MIB), ("drive-virtio1", 2 * MIB + 5 * SECTOR))]
        vma_writer.write(self.evidence / "backup.vma", disks)
        run("zstd", "-q", "--rm", self.evidence / "backup.vma")
        return self.evidence / "backup.vma.zst", disks

    def with_snapshots(self, names):
        """A qcow2 with one snapshot for each name, and {name: the disk's bytes then}."""
        image, states = self.evidence / "disk.qcow2", {}
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        for number, name in enumerate(names, start=1):
            run("qemu-io", "-c", f"write -q -P {number} {number * 4096} 8192", image)
            run("qemu-img", "convert", "-O", "raw", image, self.folder / "state")
            states[name] = (self.folder / "state").read_bytes()
            run("qemu-img", "snapshot", "-c", name, image)
        run("qemu-io", "-c", f"write -q -P 200 0 {MIB}", image)
        return image, states

    def ref(self, *arguments, **keywords):
        """Runs vdisk ref in the folder of the references; returns the names of the files that it says it wrote."""
        return run(VDISK, "ref", *arguments, cwd=self.references, **keywords).decode().split()

    def reference(self, *lines, name="r.vdisk"):
        path = self.references / name
        path.write_text("\n".join(("vdisk-reference 1", *lines, "")))
        return path

    def exported(self, image, **keywords):
        return run(VDISK, "export", image, "-", **keywords)

    def state_of(self, folder):
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


class Written(ReferenceTest):
    def encrypted(self, path):
        """A qcow2, enciphered by the old method, for which qemu-img need not measure the machine; a child's backing file is not there. Returns the key."""
        key = path.with_suffix(".key")
        key.write_text(f"{path.stem} key")
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "--object", f"secret,id=key,file={key}", "-o", "encrypt.format=aes,encrypt.key-secret=key",
            *(["-b", "gone.qcow2", "-F", "qcow2"] if path.stem == "child" else []), path, MIB)
        return key

    @unittest.skipUnless(harness.have("zstd"), "zstd is missing")
    def test_one_for_every_disk_of_a_backup(self):
        archive, disks = self.backup()
        before = self.state_of(self.evidence)
        written = self.ref("../evidence/backup.vma.zst")
        self.assertEqual(written, ["backup.drive-scsi0.vdisk", "backup.drive-virtio1.vdisk"])
        self.assertEqual((self.references / written[0]).read_text(),
                         "vdisk-reference 1\nimage = ../evidence/backup.vma.zst\ndevice = drive-scsi0\n")
        for name, (_, raw) in zip(written, disks):
            self.assertEqual(self.exported(self.references / name), raw.read_bytes())
        self.assertEqual(self.state_of(self.evidence), before)

    def test_one_for_every_snapshot(self):
        image, states = self.with_snapshots(["before-update", "a b/c", "a b?c", "1"])
        written = self.ref(image, "--snapshots")
        self.assertEqual(written, ["disk.before-update.vdisk", "disk.a_b_c.vdisk", "disk.a_b_c-2.vdisk", "disk.4.vdisk"])
        for name, data in zip(written, states.values()):
            self.assertEqual(self.exported(self.references / name), data)
        self.assertEqual(self.ref(image), ["disk.vdisk"])
        self.assertEqual(self.exported(self.references / "disk.vdisk"), self.exported(image))
        self.assertEqual(self.ref(f"{image}#a b/c", "--force"), ["disk.a_b_c.vdisk"])

    def test_names_that_autopsy_does_not_take(self):
        image = self.evidence / "-odd näme, #1 = \"x\"\n.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        self.assertEqual(self.ref("./../evidence/" + image.name), ["_odd_näme___1____x__.vdisk"])
        written, = self.ref("--ascii", "./../evidence/" + image.name)
        self.assertRegex(written, r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.vdisk$")
        self.assertEqual(self.exported(self.references / written), bytes(MIB))

    def test_the_files_needed_go_along(self):
        base, child = self.evidence / "old" / "base.qcow2", self.evidence / "child.qcow2"
        base.parent.mkdir()
        keys = {path: self.encrypted(path) for path in (base, child)}
        opened = f"driver=qcow2,file.driver=file,file.filename={base},encrypt.format=aes,encrypt.key-secret=key"
        run("qemu-io", "--object", f"secret,id=key,file={keys[base]}", "--image-opts", opened, "-c", f"write -q -P 7 0 {MIB}")
        written, = self.ref(f"../evidence/child.qcow2#key-file=../evidence/child.key,backing=../evidence/old/base.qcow2#key-file={keys[base]}")
        lines = (self.references / written).read_text().splitlines()
        self.assertIn("key-file = ../evidence/child.key", lines)
        self.assertIn("backing = ../evidence/old/base.qcow2#key-file=../evidence/old/base.key", lines)
        self.assertEqual(self.exported(self.references / written), b"\7" * MIB)
        (self.folder / "moved").mkdir()
        for folder in (self.evidence, self.references):
            folder.rename(self.folder / "moved" / folder.name)
        self.assertEqual(self.exported(self.folder / "moved" / "references" / written, cwd="/"), b"\7" * MIB)

    def test_a_passphrase_from_the_environment_is_named(self):
        image = self.evidence / "disk.qcow2"
        self.encrypted(image)
        written, = self.ref(image, env={**os.environ, "VDISK_KEY_FILE": "../evidence/disk.key"})
        self.assertIn("key-file = ../evidence/disk.key\n", (self.references / written).read_text())
        self.assertEqual(len(self.exported(self.references / written)), MIB)

    def test_absolute_paths(self):
        image, _ = self.with_snapshots(["s"])
        written, = self.ref("../evidence/disk.qcow2", "--absolute", "-d", self.folder)
        moved = self.references / "moved.vdisk"
        shutil.move(written, moved)
        self.assertEqual(self.exported(moved), self.exported(image))

    def test_nothing_but_a_reference_is_ever_overwritten(self):
        image, _ = self.with_snapshots(["s"])
        self.ref(image)
        status, _, said = outcome(VDISK, "ref", image, cwd=self.references)
        self.assertEqual((status, said), (2, "vdisk: disk.vdisk: is there already; --force replaces it\n"))
        self.ref(image, "--force")
        other = self.references / "disk.vdisk"
        other.write_bytes(image.read_bytes())
        status, _, said = outcome(VDISK, "ref", "--force", image, cwd=self.references)
        self.assertEqual(status, 2)
        self.assertIn("is no reference file", said)
        self.assertEqual(other.read_bytes(), image.read_bytes())

    def test_what_does_not_open_gets_none(self):
        image, _ = self.with_snapshots(["s"])
        child = self.evidence / "child.qcow2"
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", child, MIB)
        status, said, errors = outcome(VDISK, "ref", child, image, cwd=self.references)
        self.assertEqual((status, said), (1, b"disk.vdisk\n"))
        self.assertIn("gone.qcow2", errors)
        for arguments, word in (([child], "gone.qcow2"), ([self.references / "disk.vdisk"], "is a reference file itself"),
                                ([child, "--snapshots"], "holds no snapshots"), ([image, "-d", "disk.vdisk/x"], "disk.vdisk")):
            status, said, errors = outcome(VDISK, "ref", *arguments, cwd=self.references)
            self.assertNotEqual(status, 0)
            self.assertEqual(said, b"")
            self.assertIn(word, errors)
        self.assertEqual([path.name for path in self.references.iterdir()], ["disk.vdisk"])


class Checked(ReferenceTest):
    def test_what_it_leads_to_is_told(self):
        self.with_snapshots(["s"])
        good = self.ref("../evidence/disk.qcow2", "--snapshots")[0]
        bad = self.reference("image = gone.qcow2").name
        said = run(VDISK, "ref", "--check", good, cwd=self.references).decode()
        self.assertRegex(said, r"\Adisk\.s\.vdisk: snapshot 's', id 1, 1 MiB, .*disk\.qcow2\n\Z")
        status, said, errors = outcome(VDISK, "ref", "--check", "--json", good, bad, cwd=self.references)
        self.assertEqual(status, 1)
        rows = json.loads(said)["references"]
        self.assertEqual([row["reference"] for row in rows], [good, bad])
        self.assertEqual((rows[0]["format"], rows[0]["disk"]["name"], rows[0]["disk"]["size"]), ("qcow2", "s", MIB))
        for word in (bad, "gone.qcow2"):
            self.assertIn(word, rows[1]["error"])
            self.assertIn(word, errors)
        self.assertEqual(outcome(VDISK, "ref", "--check", bad, cwd=self.references)[0], 2)
        self.assertEqual(outcome(VDISK, "ref", "--check", "../evidence/disk.qcow2", cwd=self.references)[0], 2)

    def test_info_tells_both_files(self):
        image, _ = self.with_snapshots(["s"])
        self.ref(image)
        facts = json.loads(run(VDISK, "info", "--json", self.references / "disk.vdisk"))
        self.assertEqual((facts["reference"], facts["format"]), (str(self.references / "disk.vdisk"), "qcow2"))
        self.assertTrue(os.path.samefile(facts["file"], image))


class SleuthKit(ReferenceTest):
    @classmethod
    def setUpClass(cls):
        tsk.require_plugin()

    def setUp(self):
        super().setUp()
        tree, part = self.folder / "tree", self.folder / "part"
        tree.mkdir()
        self.content = tsk.make_tree(tree, 12, self.random)
        tsk.make_ext4(part, 8 * MIB, tree)
        self.raw = self.folder / "disk.raw"
        tsk.make_disk(self.raw, [part])
        images = {kind: self.evidence / f"disk.{kind}" for kind in ("qcow2", "vdi", "vma")}
        for kind in ("qcow2", "vdi"):
            run("qemu-img", "convert", "-O", kind, self.raw, images[kind])
        vma_writer.write(images["vma"], [("drive-scsi0", self.raw), ("drive-scsi1", harness.SOURCE / "LICENSE")])
        self.paths = {}
        for kind, image in images.items():
            folder = self.references / kind
            folder.mkdir()
            self.paths[kind] = folder / run(VDISK, "ref", image, cwd=folder).decode().split()[0]

    def test_programs_say_of_it_what_they_say_of_the_raw_disk(self):
        for command in (["mmls"], ["fls", "-r", "-p", "-l", "-o", tsk.PART], ["tsk_gettimes", "-m"], ["img_cat"]):
            expected = tsk.without_plugin(*command, self.raw)[:2]
            for kind, path in self.paths.items():
                with self.subTest(command=command, kind=kind):
                    self.assertEqual(tsk.outcome_with_plugin(*command, path)[:2], expected)
                    if command[0] in ("mmls", "fls"):
                        self.assertEqual(tsk.outcome_with_plugin(command[0], "-i", kind, *command[1:], path)[:2], expected)

    def test_its_type_is_its_images_and_can_be_given_back(self):
        for kind, path in self.paths.items():
            self.assertEqual(tsk.with_plugin("img_stat", "-t", path).decode().strip(), kind)
            self.assertEqual(tsk.with_plugin("img_stat", "-t", "-i", kind, path).decode().strip(), kind)
            text = tsk.with_plugin("img_stat", path).decode()
            self.assertIn(f"Size of data in bytes:\t{self.raw.stat().st_size}\n", text)
            self.assertIn(f"reference: {path}\n", text)

    def refused(self, path, *words, arguments=()):
        """An error that has each word, and no byte: the text itself is never taken for a disk."""
        for program in ("img_stat", "fls", "img_cat", "tsk_gettimes"):
            status, said, errors = tsk.outcome_with_plugin(program, *arguments, path, timeout=60)
            self.assertEqual((status, said), (1, b""), errors)
            for word in (os.path.basename(path), *words):
                self.assertIn(word, errors)

    def test_what_leads_nowhere_is_refused_and_both_files_are_named(self):
        image = "../evidence/disk.vma"
        os.mkfifo(self.references / "fifo")
        for lines, *words in (([f"image = {image}", "device = none"], "disk.vma", "'none'"), ([f"image = {image}"], "disk.vma", "drive-scsi1"),
                              (["image = gone.vma"], "gone.vma"), (["image = fifo"], "fifo", "FIFO"), (["image = /dev/zero"], "/dev/zero"),
                              (["image = nbd://127.0.0.1/x"], "nbd:"), (["image = vma/disk.drive-scsi0.vdisk"], "disk.drive-scsi0.vdisk", "reference"),
                              (["image = r.vdisk"], "itself"), (["image = ../disk.raw"], "disk.raw", "not of a format"), (["image"], "line 2"), ([], "names no image"),
                              ([f"image = {image}", "run = id"], "line 3", "'run'")):
            with self.subTest(lines=lines):
                self.refused(self.reference(*lines), *words)

    def test_a_type_that_is_not_its_images(self):
        self.refused(self.paths["vma"], "vma", "vdi", arguments=("-i", "vdi"))

    def test_the_policy_for_references_holds(self):
        status, _, said = tsk.outcome_with_plugin("img_stat", self.paths["vma"], environment={"VDISK_REFERENCES": "same-dir"})
        self.assertEqual(status, 1)
        self.assertIn("VDISK_REFERENCES=same-dir", said)


if __name__ == "__main__":
    harness.main()
