#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vdisk-diff-files` on file systems whose changes are known because this test made them."""
import csv
import io
import json
import os
import shutil
import subprocess
import unittest

import harness
import tsk
from harness import BUILD, outcome, run

PROGRAM = BUILD / "vdisk-diff-files"
MIB = 1 << 20
SIZE = 24 * MIB


def debugfs(image, *commands):
    run("debugfs", "-w", "-f", "/dev/stdin", image, stdin="\n".join(commands).encode())


@unittest.skipUnless(PROGRAM.exists(), "built without libtsk")
class ChangedFiles(harness.FolderTest):
    def files(self, contents):
        folder = self.folder / "tree"
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            os.utime(folder / name, (1700000000, 1700000000))
        return folder

    def ext4(self, name="a.raw", **contents):
        image = self.folder / name
        tsk.make_ext4(image, SIZE, self.files(contents or self.contents()), "-O", "^has_journal")
        return image

    def contents(self):
        self.kept = self.random_bytes(50000)
        return {"keep": self.kept, "edit": self.random_bytes(9000), "gone": b"gone", "old": self.random_bytes(5000), "dir/deep": b"deep"}

    def later(self, image, name="b.raw"):
        return shutil.copy(image, self.folder / name)

    def diff(self, *words, status=1):
        got, out, said = outcome(PROGRAM, *words, timeout=120)
        self.assertEqual(got, status, said)
        return out.decode()

    def changes(self, a, b, status=1):
        """{path: (change, what, old path)} of all file systems."""
        told = json.loads(self.diff("--json", a, b, status=status))
        return {each["path"]: (each["change"], set(each["what"]), each.get("old_path"))
                for system in told["file_systems"] for each in system["changes"]}, told

    def host(self, content):
        path = self.folder / "host"
        path.write_bytes(content)
        return path

    def test_the_same_state_twice(self):
        a = self.ext4()
        self.assertEqual(self.changes(a, self.later(a), status=0)[0], {})

    def test_what_debugfs_did(self):
        a = self.ext4()
        b = self.later(a)
        debugfs(b, f"write {self.host(b'new')} new", "rm gone", "ln old renamed", "unlink old", "set_inode_field dir/deep mode 0100600",
                "set_inode_field keep mtime 20200101000000")
        changes, told = self.changes(a, b)
        self.assertEqual(changes["/new"][0], "created")
        self.assertEqual(changes["/gone"][0], "deleted")
        self.assertEqual((changes["/renamed"][0], changes["/renamed"][2]), ("renamed", "/old"))
        self.assertEqual(changes["/dir/deep"][:2], ("changed", {"attributes"}))
        self.assertEqual(changes["/keep"][:2], ("changed", {"times"}))
        self.assertNotIn("/edit", changes)
        self.assertIn("metadata", {area["kind"] for system in told["file_systems"] for area in system["areas"]})

    def test_a_number_that_another_file_got_is_no_new_name(self):
        for inode_size in (128, 256):  # without a time of creation, and with one
            a = self.folder / "a.raw"
            tsk.make_ext4(a, SIZE, self.files(self.contents()), "-O", "^has_journal", "-I", str(inode_size))
            b = self.later(a)
            debugfs(b, "rm gone", f"write {self.host(b'another')} other", "set_inode_field other crtime 20300101000000" if inode_size > 128 else "")
            changes, told = self.changes(a, b)
            self.assertEqual((changes["/gone"][0], changes["/other"][0]), ("deleted", "created"))
            numbers = {each["path"]: (each.get("before") or each["after"])["inode"] for each in told["file_systems"][0]["changes"] if each["path"] in ("/gone", "/other")}
            self.assertEqual(len(set(numbers.values())), 1)

    def test_content_that_changed_behind_the_file_systems_back(self):
        """One byte of a file's block is written: size and times stay, and the file is found."""
        a = self.ext4()
        b = self.later(a)
        data = bytearray(b.read_bytes())
        place = data.index(self.kept[4096:4200])
        data[place] ^= 1
        b.write_bytes(data)
        changes, _ = self.changes(a, b)
        self.assertEqual(changes, {"/keep": ("changed", {"content", "hidden"}, None)})
        self.assertIn("/keep (content,hidden)", self.diff(a, b))

    def test_bytes_behind_a_files_end_are_not_its_content(self):
        a = self.ext4()
        b = self.later(a)
        data = bytearray(b.read_bytes())
        place = data.index(self.kept[-100:]) + 100
        data[place] ^= 1
        b.write_bytes(data)
        changes, told = self.changes(a, b)
        self.assertEqual(changes, {})
        self.assertEqual([area["kind"] for area in told["file_systems"][0]["areas"]], ["allocated"])

    def test_changed_unallocated_blocks(self):
        a = self.ext4()
        b = self.later(a)
        data = bytearray(b.read_bytes())
        place = SIZE - 5 * 4096
        self.assertFalse(any(data[place:place + 4096]))
        data[place:place + 5] = b"relic"
        b.write_bytes(data)
        changes, told = self.changes(a, b)
        self.assertEqual(changes, {})
        (area,) = told["file_systems"][0]["areas"]
        self.assertEqual(area["kind"], "unallocated")
        self.assertTrue(area["start"] <= place < area["start"] + area["length"])

    def test_what_cannot_be_read_is_no_verdict(self):
        """A file whose block is lost in one of the images: nobody can say that it is the same."""
        raw = self.ext4()
        place = raw.read_bytes().index(self.kept[4096:4200]) // 65536 * 65536
        a, b = self.folder / "a.qcow2", self.folder / "b.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", raw, a)
        shutil.copy(a, b)
        harness.lose_cluster(b, place)
        got, out, said = outcome(PROGRAM, "--json", a, b, timeout=120)
        self.assertEqual(got, 2)
        self.assertIn("can't be read", said)
        told = {each["path"]: set(each["what"]) for system in json.loads(out)["file_systems"] for each in system["changes"]}
        self.assertTrue("unreadable" in told.get("/keep", ()) or json.loads(out)["file_systems"][0]["problems"], told)

    def test_partitions_and_snapshots_and_a_series(self):
        a = self.ext4()
        disk = self.folder / "disk.raw"
        disk.write_bytes(bytes(MIB) + a.read_bytes() + bytes(MIB))
        run("sfdisk", "-q", disk, stdin=f"label: dos\n2048,{SIZE // 512},83\n".encode())
        image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", disk, image)
        part = self.later(a)
        for number, commands in enumerate((["rm gone"], [f"write {self.host(b'x' * 5000)} new"], ["rm new"])):
            run("qemu-img", "snapshot", "-c", f"s{number}", image)
            debugfs(part, *commands)
            run("qemu-img", "dd", "-f", "raw", "-O", "raw", f"if={part}", f"of={self.folder / 'part'}", "bs=1M")
            patch = self.folder / "whole"
            patch.write_bytes(disk.read_bytes()[:MIB] + part.read_bytes() + bytes(MIB))
            run("qemu-io", "-f", "qcow2", "-c", f"write -q -s {patch} 0 {patch.stat().st_size}", image)
        lines = [json.loads(line) for line in self.diff("--json", "--snapshots", image).splitlines()]
        steps, series = lines[:-1], lines[-1]
        self.assertEqual([[(each["change"], each["path"]) for each in step["file_systems"][0]["changes"] if each["path"] in ("/gone", "/new")] for step in steps],
                         [[("deleted", "/gone")], [("created", "/new")], [("deleted", "/new")]])
        self.assertEqual(steps[0]["file_systems"][0]["offset"], MIB)
        self.assertEqual({(each["path"], each["first"], each["last"]) for each in series["files"]}, {("/gone", 0, 0), ("/new", 2, 2)})

    def test_all_backups_in_a_group(self):
        archive = harness.FIXTURES / "pbs" / "datastores.tar.zst"
        subprocess.run(f"zstd -dcq '{archive}' | tar -xf - -C '{self.folder}' store keys", shell=True, check=True)
        group = self.folder / "store" / "vm" / "101"
        got, out, said = outcome(PROGRAM, "--snapshots", group)
        self.assertEqual((got, out), (2, b""))
        self.assertIn("--device", said)
        keys = dict(os.environ, VDISK_KEY_FILE=str(self.folder / "keys" / "plain-key.json"))
        got, out, said = outcome(PROGRAM, "--json", "--snapshots", "--device", "drive-scsi0", group, timeout=120, env=keys)
        self.assertIn(got, (0, 1), said)
        *steps, series = [json.loads(line) for line in out.splitlines()]
        backups = sorted(path.name for path in group.iterdir() if path.is_dir())
        self.assertEqual([state.partition("#device=")[2].split("/")[0] for state in series["states"]], backups)
        self.assertEqual(len(steps), len(backups) - 1)

    @unittest.skipUnless(harness.have("mkfs.vfat"), "needs dosfstools")
    def test_fat(self):
        a = self.folder / "a.raw"
        with open(a, "wb") as file:
            file.truncate(SIZE)
        run("mkfs.vfat", "-F", "16", a)
        self.write_fat(a, "KEEP    TXT", 2, b"keep" * 10, entry=0)
        self.write_fat(a, "GONE    TXT", 3, b"gone" * 10, entry=1)
        self.write_fat(a, "OLD     TXT", 4, b"oldname" * 10, entry=2)
        b = self.later(a)
        self.write_fat(b, "NEWNAME TXT", 4, b"oldname" * 10, entry=4)
        self.write_fat(b, "KEEP    TXT", 2, b"kept" * 10, entry=0)
        for entry in (1, 2):
            self.patch(b, self.root + 32 * entry, b"\xe5")
        changes, _ = self.changes(a, b)
        self.assertEqual(changes["/KEEP.TXT"][:2], ("changed", {"content", "hidden"}))
        self.assertEqual(changes["/GONE.TXT"][0], "deleted")
        self.assertEqual((changes["/NEWNAME.TXT"][0], changes["/NEWNAME.TXT"][2]), ("renamed", "/OLD.TXT"))

    def patch(self, image, at, content):
        with open(image, "r+b") as file:
            file.seek(at)
            file.write(content)

    def write_fat(self, image, name, cluster, content, entry):
        """A file of one cluster in the root of a FAT16, without a driver."""
        data = image.read_bytes()
        number = lambda at, size=2: int.from_bytes(data[at:at + size], "little")
        reserved, fats, roots, per_fat, per_cluster = number(14), data[16], number(17), number(22), data[13]
        self.root = (reserved + fats * per_fat) * 512
        for copy in range(fats):
            self.patch(image, (reserved + copy * per_fat) * 512 + 2 * cluster, b"\xff\xff")
        self.patch(image, self.root + roots * 32 + (cluster - 2) * per_cluster * 512, content)
        stamp = (0x6000).to_bytes(2, "little") + (0x5821).to_bytes(2, "little")
        self.patch(image, self.root + 32 * entry, name.encode() + b"\x20\0\0" + stamp + (0x5821).to_bytes(2, "little") + b"\0\0" + stamp
                   + cluster.to_bytes(2, "little") + len(content).to_bytes(4, "little"))

    @unittest.skipUnless(harness.have("mkntfs") and harness.have("ntfscp"), "needs ntfs-3g")
    def test_ntfs_with_streams(self):
        a = self.folder / "a.raw"
        with open(a, "wb") as file:
            file.truncate(SIZE)
        run("mkntfs", "-q", "-F", "-Q", a)
        large, small = self.random_bytes(70000), self.random_bytes(300)
        for name, content in (("large", large), ("small", small)):
            run("ntfscp", "-q", a, self.host(content), name)
        run("ntfscp", "-q", "-N", "ads", a, self.host(b"hidden stream"), "small")
        b = self.later(a)
        data = bytearray(b.read_bytes())
        data[data.index(large[4096:4200])] ^= 1
        data[data.index(small[:60]) + 3] ^= 1
        data[data.index(b"hidden stream")] ^= 1
        b.write_bytes(data)
        changes, _ = self.changes(a, b)
        for path in ("/large", "/small", "/small:ads"):
            self.assertEqual(changes[path], ("changed", {"content", "hidden"}, None), path)
        run("ntfscp", "-q", b, self.host(b"later"), "new")
        self.assertEqual(self.changes(a, b)[0]["/new"][0], "created")

    def test_csv_and_body_file(self):
        a = self.ext4()
        b = self.later(a)
        debugfs(b, f"write {self.host(b'new')} =cmd|x", "rm gone")
        rows = list(csv.DictReader(io.StringIO(self.diff("--csv", a, b), newline="")))
        self.assertLessEqual({("created", "/=cmd|x"), ("deleted", "/gone")}, {(row["change"], row["path"]) for row in rows})
        body = self.diff("--body", a, b)
        for line in body.splitlines():
            self.assertEqual(line.count("|"), 10, line)
        if harness.have("mactime"):
            self.assertIn("/gone (deleted)", run("mactime", "-b", "-", "-z", "UTC", stdin=body.encode()).decode())

    def test_wrong_words(self):
        a = self.ext4()
        for words, told in (([], "IMAGE is missing"), ([a], "two states are needed"), (["--json", "--csv", a, a], "exclude each other"),
                            ([a, self.folder / "none"], "No such file")):
            got, out, said = outcome(PROGRAM, *words)
            self.assertEqual((got, out), (2, b""))
            self.assertIn(told, said)
        self.assertTrue(run(PROGRAM, "--help").startswith(b"Usage: vdisk-diff-files "))
        self.assertTrue(run(PROGRAM, "--version").startswith(b"tsk-vdisk "))


if __name__ == "__main__":
    harness.main()
