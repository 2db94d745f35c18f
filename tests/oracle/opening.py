#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which file is opened as what: formats that are detected, declared and given, and the files that images name. qemu-img is the oracle for
the bytes; where it is wiser not to follow it, the test says why."""
import gzip
import io
import json
import os
import tarfile

import harness
import tsk
from harness import VDISK, outcome, run

KIB, MIB = 1 << 10, 1 << 20
# How files of disks begin that are not read here.
FOREIGN = {"bochs": b"Bochs Virtual HD Image\0", "partclone": b"partclone-image", "aff": b"AFF10\r\n\0"}


class Opening(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk.raw"
        self.disk.write_bytes(self.random_bytes(3 * MIB))

    def overlay(self, name, base, declared, size=None):
        image = self.folder / name
        image.parent.mkdir(parents=True, exist_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-u", "-b", base, "-F", declared, image, size or 3 * MIB)
        return image

    def assert_disk(self, image, selector="", status=0):
        """`image` reads as the disk; returns what was said about it."""
        code, digest, said = outcome(VDISK, "hash", "-a", "sha256", f"{image}{selector}")
        self.assertEqual(code, status, said)
        self.assertIn(harness.sha256_file(self.disk), digest.decode())
        return said

    def assert_refused(self, *words, image, selector=""):
        for command in (("hash", "-a", "sha256"), ("export",)):
            out = [self.folder / "out"] if command == ("export",) else []
            code, digest, said = outcome(VDISK, *command, f"{image}{selector}", *out)
            self.assertEqual((code, digest), (2, b""), said)
            for word in words:
                self.assertIn(word, said)
            self.assertFalse((self.folder / "out").exists())
        return said

    def test_an_undeclared_base_of_another_format_is_named_and_not_read_as_raw(self):
        for form, start in FOREIGN.items():
            with self.subTest(form):
                base = self.folder / f"base.{form}"
                base.write_bytes(start.ljust(4096, b"\0") + self.disk.read_bytes()[4096:])
                image = self.overlay("old.qcow2", base.name, "raw")
                harness.undeclared(image)
                self.assert_refused(base.name, "is a", "which is not read here", image=image)
                self.assert_refused("which is not read here", image=image, selector=f"#backing={base}")

    def test_an_undeclared_base_that_is_no_image_is_named(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("etc/passwd"))
        for name, content, word in (("a.html", b"<!DOCTYPE html><html>not found</html>", "HTML"),
                                    ("a.E01", b"EVF\x09\x0d\x0a\xff\0" + bytes(5000), "Expert Witness"),
                                    ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
                                    ("a.tar", archive.getvalue(), "tar archive"), ("a.gz", gzip.compress(self.disk.read_bytes()), "gzip"),
                                    ("a.dmg", self.random_bytes(4096) + b"koly" + bytes(508), "DMG"), ("empty", b"", "empty"),
                                    ("luks", b"LUKS\xba\xbe\0\1" + bytes(4096), "LUKS")):
            with self.subTest(name):
                (self.folder / name).write_bytes(content)
                image = self.overlay("old.qcow2", name, "raw")
                harness.undeclared(image)
                self.assert_refused(word, image=image)

    def test_a_base_that_is_taken_as_raw_is_remarked(self):
        image = self.overlay("old.qcow2", self.disk.name, "raw")
        harness.undeclared(image)
        said = self.assert_disk(image)
        self.assertIn("is taken as a raw disk", said)
        chain = json.loads(run(VDISK, "info", "--json", image))["chain"]
        self.assertIn("is taken as a raw disk", chain[1]["remarks"][0])
        self.assertIn(b"is taken as a raw disk", run(VDISK, "audit", image))
        self.assertEqual(self.assert_disk(image, f"#backing={self.disk}#format=raw"), "")

    def test_an_undeclared_raw_base_that_is_smaller_than_its_overlay_is_a_doubt(self):
        image = self.overlay("old.qcow2", self.disk.name, "raw", 64 * MIB)
        harness.undeclared(image)
        for command in ("hash", "info", "audit"):
            code, out, said = outcome(VDISK, command, image)
            self.assertEqual(code, 1, command)
            self.assertIn("3145728 bytes", out.decode() + said)

    def test_the_declared_format_holds_for_a_file_that_is_named(self):
        """A guest can write a qcow2 header, which names any file, at the start of its raw disk."""
        base = self.folder / "moved" / "base.img"
        base.parent.mkdir()
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.disk, base)
        size = base.stat().st_size
        image = self.overlay("over.qcow2", "base.img", "raw", size)
        code, digest, said = outcome(VDISK, "hash", "-a", "sha256", f"{image}#backing={base}")
        self.assertIn(harness.sha256_file(base), digest.decode())
        self.assertEqual(code, 1)
        self.assertIn("begins as a qcow2 file", said)

    def test_a_declared_format_that_is_not_read_is_refused_for_a_named_file_too(self):
        base = self.folder / "base.bochs"
        base.write_bytes(b"Bochs Virtual HD Image" + bytes(65536))
        image = self.overlay("over.qcow2", base.name, "bochs")
        self.assert_refused("bochs", image=image)
        self.assert_refused("bochs", image=image, selector=f"#backing={base}")

    def test_a_named_base_that_can_not_be_one_is_a_doubt(self):
        note = self.folder / "note.txt"
        note.write_bytes(b"x" * 2000)
        image = self.overlay("over.qcow2", "gone.raw", "raw", 64 * MIB)
        code, _, said = outcome(VDISK, "hash", f"{image}#backing={note}")
        self.assertEqual(code, 1)
        self.assertIn("may not be the parent", said)

    def test_a_key_that_nothing_uses_is_an_error(self):
        image = self.folder / "plain.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", self.disk, image)
        key = self.folder / "key"
        key.write_text("secret")
        for selector in (f"key-file={key}", "key-file=/no/such/key", f"data-file={key}", f"backing={self.disk}", f"parent={self.disk}",
                         f"root={self.folder}", "block-size=1048576", "snapshot=gone", "snapshot=a,device=b"):
            for command in ("hash", "info", "ls", "audit"):
                code, _, said = outcome(VDISK, command, f"{image}#{selector}")
                self.assertEqual(code, 2 if command != "info" or "gone" not in selector else code, f"{command} {selector}: {said}")
                self.assertNotEqual(code, 0, f"{command} {selector}")
        reference = self.folder / "a.vdisk"
        reference.write_text(f"vdisk-reference 1\nimage = plain.qcow2\nkey-file = key\n")
        self.assertIn("'key-file' does not apply", self.assert_refused(image=reference))
        run(VDISK, "hash", image, env={**os.environ, "VDISK_KEY_FILE": "/no/such/key"})

    def test_the_file_beside_the_image_goes_before_this_machines(self):
        machine = self.folder / "machine" / "base.raw"
        machine.parent.mkdir()
        machine.write_bytes(bytes(3 * MIB))
        image = self.overlay("case/over.qcow2", machine, "raw")
        (self.folder / "case" / "base.raw").write_bytes(self.disk.read_bytes())
        said = self.assert_disk(image)
        self.assertIn(f"also fits {machine}", said)
        self.assertIn("by its name beside the image", run(VDISK, "info", image).decode())
        run(VDISK, "hash", image, env={**os.environ, "VDISK_REFERENCES": "same-dir"})
        (self.folder / "case" / "base.raw").unlink()
        self.assertNotIn(harness.sha256_file(self.disk), run(VDISK, "hash", "-a", "sha256", image).decode())

    def test_a_copied_tree_is_the_images_own(self):
        tree = self.folder / "ev" / "nova" / "instances"
        (tree / "_base").mkdir(parents=True)
        (tree / "_base" / "0123abcd").write_bytes(self.disk.read_bytes())
        image = self.overlay("ev/nova/instances/uuid/disk", "/var/lib/nova/instances/_base/0123abcd", "raw")
        self.assert_disk(image)

    def test_absolute_names_are_looked_for_below_the_root_first(self):
        base = self.folder / "mnt" / "srv" / "images" / "base.raw"
        base.parent.mkdir(parents=True)
        base.write_bytes(self.disk.read_bytes())
        (self.folder / "mnt" / "var").mkdir()
        (self.folder / "mnt" / "var" / "images").symlink_to("/srv/images")  # absolute: it means the evidence's own
        image = self.overlay("copy/over.qcow2", "/var/images/base.raw", "raw")
        self.assertIn("#backing=FILE", self.assert_refused("not found", image=image))
        self.assert_disk(image, f"#root={self.folder / 'mnt'}")
        run(VDISK, "hash", image, env={**os.environ, "VDISK_ROOT": str(self.folder / "mnt")})
        code, _, said = outcome(VDISK, "hash", image, env={**os.environ, "VDISK_ROOT": "/no/such/folder"})
        self.assertEqual(code, 2)
        self.assertIn("VDISK_ROOT", said)

    def test_names_of_other_systems_and_qemus_own(self):
        run("qemu-img", "convert", "-O", "qcow2", self.disk, self.folder / "base.qcow2")
        shifted = self.folder / "shifted.raw"
        shifted.write_bytes(bytes(MIB) + self.disk.read_bytes() + bytes(MIB))
        for name, declared in (('json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}', "qcow2"),
                               ('json:{"file.filename":"base.qcow2"}', "qcow2"),
                               ('json:{"driver":"qcow2","file.driver":"file","file.filename":"base.qcow2"}', "qcow2"),
                               ('json:{"driver":"raw","offset":1048576,"size":3145728,"file":{"driver":"file","filename":"shifted.raw"}}', "raw"),
                               ('json:{"driver":"raw","offset":"1048576","size":"3145728","file.filename":"shifted.raw"}', "raw"),
                               ("C:\\VMs\\base.qcow2", "qcow2"), ("\\\\?\\C:\\VMs\\base.qcow2", "qcow2"), ("d:/VMs/base.qcow2", "qcow2"),
                               ("file:base.qcow2", "qcow2"), ("file:///old/place/base.qcow2", "qcow2"), ("file:///old/b%61se.qcow2", "qcow2")):
            with self.subTest(name):
                self.assert_disk(self.overlay("over.qcow2", name, declared))
        for name in ('json:{"driver":"nbd","host":"x"}', 'json:{"driver":"qcow2","file":{"driver":"http","url":"x"}}', "json:{", "json:[]",
                     'json:{"driver":"qcow2","backing":null,"file.filename":"base.qcow2"}', "file://host/base.qcow2",
                     'json:{"driver":"raw","offset":5,"size":99999999,"file.filename":"shifted.raw"}'):
            with self.subTest(name):
                self.assert_refused(image=self.overlay("over.qcow2", name, "raw"))

    def test_a_layer_without_its_parent(self):
        image = self.overlay("over.qcow2", "gone.raw", "raw")
        data = json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(image)}, "backing": None})
        run("qemu-io", "-c", "write -P 0x41 1M 64k", "json:" + data)
        out = self.folder / "out.raw"
        self.assert_refused("not found", "#backing=none", image=image)
        code, _, said = outcome(VDISK, "export", f"{image}#backing=none", out)
        self.assertEqual(code, 1)
        self.assertIn("was left out", said)
        self.assertEqual(out.read_bytes()[MIB:MIB + 64 * KIB], b"A" * 64 * KIB)
        code, digest, _ = outcome(VDISK, "hash", f"{image}#backing=none")
        self.assertEqual((code, digest), (1, b""))

    def whole(self):
        """An image of the disk and its bytes, to be cut."""
        image = self.folder / "whole.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", self.disk, image)
        return image

    def test_a_file_that_split_cut_is_read_as_one(self):
        whole = self.whole()
        run("qemu-img", "convert", "-O", "vdi", self.disk, self.folder / "whole.vdi")
        packed = self.folder / "whole.raw.gz"
        packed.write_bytes(gzip.compress(self.disk.read_bytes()))
        cuts = ((whole, ("-d", "-a", "3", "-b", "1000000"), "000"), (whole, ("--numeric-suffixes=1", "-a", "3", "-b", "700K"), "001"),
                (whole, ("-b", "1M"), "aa"), (whole, ("-d", "-b", "20000"), "00"), (whole, ("-b", "4K"), "aa"), (whole, ("-x", "-b", "100000"), "00"),
                (whole, ("-n", "7"), "aa"), (self.folder / "whole.vdi", ("-d", "-a", "4", "-b", "333333"), "0000"), (packed, ("-b", "1M"), "aa"),
                (self.disk, ("-b", "1M"), "aa"))
        for number, (image, words, first) in enumerate(cuts):
            with self.subTest(image=image.name, words=words):
                folder = self.folder / str(number)
                folder.mkdir()
                run("split", *words, image, folder / "disk.")
                self.assertGreater(len(list(folder.iterdir())), 2)
                self.assert_disk(folder / f"disk.{first}", "#format=raw" if image == self.disk else "")

    def test_parts_are_listed_hashed_each_and_told_when_missing(self):
        run("split", "--numeric-suffixes=1", "-a", "3", "-b", "512K", self.whole(), self.folder / "d.qcow2.")
        first, third = self.folder / "d.qcow2.001", self.folder / "d.qcow2.003"
        told = json.loads(run(VDISK, "info", "--json", first))
        self.assertEqual(told["parts"][2], {"file": str(third), "size": 512 * KIB})
        self.assertEqual(told["file_size"], (self.folder / "whole.qcow2").stat().st_size)
        listed = self.folder / "list"
        listed.write_bytes(run(VDISK, "hash", "--container", first))
        self.assertEqual(listed.read_bytes().count(b"SHA256 ("), 1 + len(told["parts"]))
        run("sha256sum", "-c", "--ignore-missing", "--quiet", listed, cwd="/")
        run(VDISK, "hash", "--check", listed)
        self.assertIn("d.qcow2.001", self.assert_refused("part 3", image=third))
        third.unlink()
        code, digest, said = outcome(VDISK, "hash", first)
        self.assertEqual((code, digest), (1, b""))
        self.assertIn("d.qcow2.003: is missing", said)

    def test_files_that_an_image_names_are_found_in_parts(self):
        data, base = self.folder / "disk.data", self.folder / "base.qcow2"
        over_data, over_base, flat = (self.folder / name for name in ("data.qcow2", "over.qcow2", "flat.vmdk"))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw=on", over_data, "3M")
        run("qemu-img", "convert", "-n", "-O", "qcow2", self.disk, over_data)
        run("qemu-img", "convert", "-O", "qcow2", self.disk, base)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", over_base)
        run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", self.disk, flat)
        for image, named in ((over_data, data), (over_base, base), (flat, self.folder / "flat-flat.vmdk")):
            with self.subTest(image.name):
                run("split", "--numeric-suffixes=1", "-a", "3", "-b", "512K", named, f"{named}.")
                named.unlink()
                self.assert_disk(image)
                (self.folder / f"{named.name}.002").unlink()
                code, digest, said = outcome(VDISK, "hash", image)
                self.assertEqual((code, digest), (1, b""))
                self.assertIn(f"{named.name}.002: is missing", said)
        # A file of that very name is the one that is meant, be it one of a series or not.
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data}.001,data_file_raw=on",
            self.folder / "short.qcow2", "1M")
        (self.folder / "disk.data.001").write_bytes(bytes(1 << 20))
        (self.folder / "disk.data.002").write_bytes(bytes(1 << 20))
        self.assertEqual(json.loads(run(VDISK, "info", "--json", self.folder / "short.qcow2"))["virtual_size"], 1 << 20)

    def test_files_of_their_own_are_not_joined(self):
        first, second = self.folder / "vm.001", self.folder / "vm.002"
        run("qemu-img", "convert", "-O", "qcow2", self.disk, first)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "vm.001", "-F", "qcow2", second, cwd=self.folder)
        self.assertIn("of its own", self.assert_disk(first))
        self.assert_disk(second)
        single = self.folder / "single.001"
        first.rename(single)
        self.assertEqual(self.assert_disk(single), "")

    def test_what_is_inside_a_compressed_file_is_named(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("./etc/vzdump/pct.conf"))
        for name, content, word in (("vzdump-lxc-1.tar.gz", archive.getvalue(), "tar archive"),
                                    ("twice.raw.gz", gzip.compress(self.disk.read_bytes()), "compressed with gzip"),
                                    ("disk.dmg.gz", self.disk.read_bytes() + b"koly" + bytes(508), "Apple disk image")):
            with self.subTest(name):
                (self.folder / name).write_bytes(gzip.compress(content))
                self.assert_refused(word, image=self.folder / name)
        (self.folder / "disk.raw.gz").write_bytes(gzip.compress(self.disk.read_bytes()))
        self.assert_disk(self.folder / "disk.raw.gz")

    def test_an_unknown_file_is_named_where_it_is_known(self):
        for form, start in FOREIGN.items():
            base = self.folder / f"base.{form}"
            base.write_bytes(start.ljust(4096, b"\0"))
            self.assert_refused("is a", "not read here", image=base)

    def test_a_stream_whose_checksum_is_cut_off_is_told_by_every_tool(self):
        whole = gzip.compress(self.disk.read_bytes())
        (self.folder / "cut.raw.gz").write_bytes(whole[:-8])
        for command in (("hash",), ("info",), ("export", self.folder / "out.raw")):
            code, _, said = outcome(VDISK, command[0], self.folder / "cut.raw.gz", *command[1:])
            self.assertEqual(code, 1, f"{command} {said}")
            self.assertIn("cut.raw.gz", said)

    def test_verify_counts_what_nothing_vouches_for_as_a_fault(self):
        whole = gzip.compress(self.disk.read_bytes())
        (self.folder / "whole.raw.gz").write_bytes(whole)
        (self.folder / "cut.raw.gz").write_bytes(whole[:-8])
        self.assertIn(b"no faults", run(VDISK, "verify", self.folder / "whole.raw.gz"))
        code, told, _ = outcome(VDISK, "verify", self.folder / "cut.raw.gz")
        self.assertEqual(code, 1)
        self.assertRegex(told, rb"(?m)^error: not-vouched-for: .*cut\.raw\.gz: the stream is cut off")
        self.assertNotIn(b"no faults", told)
        code, told, _ = outcome(VDISK, "verify", "--json", self.folder / "cut.raw.gz")
        self.assertIn(("error", "not-vouched-for"), [(finding["severity"], finding["kind"]) for finding in json.loads(told)["findings"]])

    def test_a_file_called_raw_needs_no_format(self):
        for name in ("a.raw", "a.DD", "a.img"):
            path = self.folder / name
            path.write_bytes(self.disk.read_bytes())
            self.assert_disk(path)
        (self.folder / "a").write_bytes(self.disk.read_bytes())
        code, _, said = outcome(VDISK, "hash", self.folder / "a")
        self.assertEqual((code, said), (2, f"vdisk: {self.folder}/a: not of a format that is known here; '#format=raw' behind its name says that it is a "
                                           "raw disk\n"))
        self.assert_disk(self.folder / "a", "#format=raw")
        self.assert_disk(self.folder / "a", "#format=rawz")

    def test_the_sleuth_kit_takes_no_plain_file_for_a_compressed_one(self):
        tsk.require_plugin()
        code, _, said = tsk.outcome_with_plugin("img_stat", "-i", "rawz", self.disk)
        self.assertNotEqual(code, 0)
        self.assertIn("is not compressed", said)


if __name__ == "__main__":
    harness.main()
