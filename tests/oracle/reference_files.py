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



class AllOfAFolder(ReferenceTest):
    """vdisk ref --all: a reference file for everything in a folder, and the page that lists them."""

    def ref_all(self, *arguments, status=0):
        got, out, said = outcome(VDISK, "ref", "--all", "-d", self.references, *arguments)
        self.assertEqual(got, status, said)
        return sorted(os.path.relpath(line, self.references) for line in out.decode().splitlines()), said

    def page(self):
        return (self.references / "index.html").read_text()

    def test_every_disk_and_snapshot_below_a_folder(self):
        _, disks = self.backup()
        _, states = self.with_snapshots(["one", "two"])
        deep = self.evidence / "a" / "b"
        deep.mkdir(parents=True)
        (self.evidence / "disk.qcow2").rename(deep / "disk.qcow2")
        shutil.copy(self.disk("plain"), self.evidence / "plain.raw")
        (self.evidence / "notes.txt").write_text("no image")
        (self.evidence / "loop").symlink_to(self.evidence)
        before = {path: path.stat().st_mtime_ns for path in self.evidence.rglob("*")}
        names, _ = self.ref_all(self.evidence)
        self.assertEqual(names, ["backup.drive-scsi0.vdisk", "backup.drive-virtio1.vdisk", "disk.one.vdisk", "disk.two.vdisk", "disk.vdisk", "plain.vdisk"])
        for name, raw in disks:
            self.assertEqual(self.exported(self.references / f"backup.{name}.vdisk"), raw.read_bytes())
        for name, state in states.items():
            self.assertEqual(self.exported(self.references / f"disk.{name}.vdisk"), state)
        self.assertEqual(self.exported(self.references / "plain.vdisk"), (self.evidence / "plain.raw").read_bytes())
        for name in names:
            self.assertIn(f'<th scope="row">{name}</th>', self.page())
        self.assertEqual({path: path.stat().st_mtime_ns for path in self.evidence.rglob("*")}, before)

    def test_raw_disks_that_only_their_names_tell_to_be_some(self):
        content = self.random_bytes(MIB)
        for name in ("plain.dd", "packed.raw"):
            (self.evidence / name).write_bytes(content)
        run("gzip", self.evidence / "packed.raw")
        for number in range(4):
            (self.evidence / f"cut.dd.{number + 1:03}").write_bytes(content[number * MIB // 4:(number + 1) * MIB // 4])
        names = self.ref("--all", self.evidence)
        self.assertEqual(len(names), 3)
        for name in names:
            self.assertEqual(self.exported(self.references / name), content)

    def test_images_of_one_name_get_files_of_their_own(self):
        contents = {}
        for folder in ("a", "b", "c"):
            (self.evidence / folder).mkdir()
            contents[folder] = self.random_bytes(MIB)
            (self.evidence / folder / "disk.raw").write_bytes(contents[folder])
        names, _ = self.ref_all(self.evidence)
        self.assertEqual(len(names), 3)
        self.assertEqual(sorted(self.exported(self.references / name) for name in names), sorted(contents.values()))

    def test_nothing_is_written_into_the_evidence(self):
        self.backup()
        for folder in (self.evidence, self.evidence / "refs" / "deep", self.references / ".." / "evidence"):
            status, out, said = outcome(VDISK, "ref", "--all", "-d", folder, self.evidence)
            self.assertEqual((status, out), (2, b""))
            self.assertIn("nothing is written into what is read", said)
        self.assertEqual([path.name for path in self.evidence.iterdir()], ["backup.vma.zst"])

    def test_nothing_is_overwritten_unasked_and_no_other_page_ever(self):
        self.backup()
        names, _ = self.ref_all(self.evidence)
        states = {path: path.stat().st_ino for path in self.references.iterdir()}
        self.ref_all(self.evidence, status=2)
        self.assertEqual({path: path.stat().st_ino for path in self.references.iterdir()}, states)
        self.assertEqual(self.ref_all("--force", self.evidence)[0], names)
        (self.references / "index.html").write_text("<p>mine")
        self.assertIn("not overwritten", self.ref_all("--force", self.evidence, status=2)[1])
        self.assertEqual(self.page(), "<p>mine")

    def test_what_has_no_reference_is_told_with_the_reason(self):
        self.backup()
        run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2", self.evidence / "orphan.qcow2", MIB)
        names, said = self.ref_all(self.evidence, status=1)
        self.assertEqual(names, ["backup.drive-scsi0.vdisk", "backup.drive-virtio1.vdisk"])
        self.assertIn("gone.qcow2", said)
        self.assertRegex(self.page(), "<li>[^<]*orphan.qcow2[^<]*gone.qcow2[^<]*</li>")

    def test_names_cannot_become_markup(self):
        image = self.evidence / "<script>alert(1)<&\"'.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, MIB)
        for name in ("<img src=x onerror=alert(1)>", "</td><script>", "\x1b]0;x\x07"):
            run("qemu-img", "snapshot", "-c", name, image)
        names, _ = self.ref_all(self.evidence)
        self.assertEqual(len(names), 4)
        for markup in ("<script", "<img", "\x1b"):
            self.assertNotIn(markup, self.page())
        self.assertIn("default-src 'none'", self.page())

    def test_a_datastore_is_one_image(self):
        import subprocess
        archive = harness.FIXTURES / "pbs" / "datastores.tar.zst"
        subprocess.run(f"zstd -dcq '{archive}' | tar -xf - -C '{self.evidence}' store", shell=True, check=True)
        listed = [disk for disk in json.loads(run(VDISK, "ls", "--json", self.evidence / "store"))["disks"] if disk["kind"] != "memory"]
        status, out, _ = outcome(VDISK, "ref", "--all", "-d", self.references, self.evidence)
        self.assertIn(status, (0, 1))
        self.assertTrue(0 < len(out.splitlines()) <= len(listed))
        self.assertNotIn("is a blob or chunk", self.page())


if __name__ == "__main__":
    harness.main()
