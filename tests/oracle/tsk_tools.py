#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The distribution's TSK programs on images of ours: they must say of each just what they say of the raw disk."""
import gzip
import hashlib
import pathlib
import random
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

import harness
import tsk
import vma_writer
from harness import run
from tsk import MIB, with_plugin

FILES = 210


def setUpModule():
    tsk.require_plugin()


class Disk:
    """A raw disk with an ext4 and an NTFS file system, and images of it."""

    def __init__(self, folder):
        source = random.Random("a disk with two file systems")
        self.folder = folder
        tree = folder / "tree"
        tree.mkdir()
        self.ext4 = tsk.make_tree(tree, FILES, source)
        self.ntfs = {f"File {n}": source.randbytes(source.choice([10, 700, 5000, 80_000])) for n in range(FILES // 2)}
        ext4, ntfs = folder / "ext4", folder / "ntfs"
        tsk.make_ext4(ext4, 24 * MIB, tree)
        tsk.make_ntfs(ntfs, 12 * MIB, self.ntfs, folder / "scratch")
        self.raw = folder / "disk.raw"
        self.starts = tsk.make_disk(self.raw, [ext4, ntfs])
        self.images = [self.packed(), self.overlay(), self.vdi(), self.vma(), self.vhd(), self.vhdx(), self.vmdk(), *self.tables()]

    def packed(self):
        image = self.folder / "packed.qcow2"
        run("qemu-img", "convert", "-c", "-O", "qcow2", self.raw, image)
        return image

    def overlay(self):
        """Two layers of different cluster sizes; in the lower one, every third MiB is something else."""
        stale = self.folder / "stale.raw"
        shutil.copy(self.raw, stale)
        with open(stale, "r+b") as file:
            for at in range(0, self.raw.stat().st_size, 3 * MIB):
                file.seek(at)
                file.write(b"stale data here!" * (MIB // 16))
        run("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=4096", stale, self.folder / "base.qcow2")
        stale.unlink()
        image = self.folder / "overlay.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", self.raw, image, cwd=self.folder)
        return image


    def vdi(self):
        image = self.folder / "disk.vdi"
        run("qemu-img", "convert", "-O", "vdi", self.raw, image)
        return image

    def vhd(self):
        image = self.folder / "disk.vhd"
        run("qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", self.raw, image)
        return image

    def vhdx(self):
        image = self.folder / "disk.vhdx"
        run("qemu-img", "convert", "-O", "vhdx", "-o", "block_size=1M", self.raw, image)
        return image

    def tables(self):
        images = [self.folder / f"disk.{kind}" for kind in ("qcow", "qed", "parallels")]
        for image in images:
            run("qemu-img", "convert", "-O", image.suffix[1:], self.raw, image)
        return images

    def vmdk(self):
        image = self.folder / "disk.vmdk"
        run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", self.raw, image)
        return image

    def vma(self):
        image = self.folder / "backup.vma"
        vma_writer.write(image, [("drive-scsi0", self.raw), ("drive-efidisk0", harness.SOURCE / "LICENSE")])
        return image


def type_of(image):
    return image.suffix[1:]


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vdisk-oracle-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.disk = Disk(cls.folder)
        cls.ext4, cls.ntfs = cls.disk.starts

    def check(self, *command, end=(), normal=lambda text: text):
        """`command IMAGE end` prints the same of the raw disk as of each image of it: the commonest commands with -i and without."""
        command = [str(word) for word in command]
        status, expected, _ = tsk.without_plugin(*command, self.disk.raw, *end)
        self.assertEqual(status, 0)
        self.assertTrue(expected)
        for number, image in enumerate(self.disk.images):
            kinds = [[], ["-i", type_of(image)]]
            for kind in kinds if command[0] in ("mmls", "fls") else [kinds[number % 2]]:
                with self.subTest(command=command, image=image.name, kind=kind):
                    got = with_plugin(command[0], *kind, *command[1:], image, *end)
                    self.assertEqual(normal(got), normal(expected))

    def test_the_volume_system_and_blocks_are_the_same(self):
        self.check("mmls")
        self.check("mmstat")
        for start in self.disk.starts:
            self.check("blkcat", "-o", start, end=("3", "40"))
            self.check("blkls", "-o", start)
        self.check("blkcat", "-f", "raw", end=("2048", "700"))
        self.check("img_cat")
        self.check("img_cat", "-s", 2049, "-e", 9000)

    def test_file_systems_are_the_same(self):
        for start in self.disk.starts:
            self.check("fsstat", "-o", start)
            self.check("fls", "-r", "-p", "-l", "-o", start)
            self.check("ils", "-a", "-o", start, normal=lambda text: b"\n".join(text.splitlines()[3:]))  # the 3rd has the time
            self.check("istat", "-o", start, end=("5",))
        self.check("tsk_gettimes", "-m")

    def test_each_file_has_its_content(self):
        image = self.disk.images[1]  # the one in two layers
        for start, expected in ((self.ext4, self.disk.ext4), (self.ntfs, self.disk.ntfs)):
            files = tsk.files_of(with_plugin("fls", "-r", "-p", "-i", "qcow2", "-o", start, image))
            self.assertLessEqual(expected.keys(), files.keys())
            for path, data in expected.items():
                self.assertEqual(with_plugin("icat", "-i", "qcow2", "-o", start, image, files[path]), data, path)

    @unittest.skipUnless(harness.have("zstd"), "zstd is missing")
    def test_a_compressed_archive_reads_like_a_plain_one(self):
        archive = self.disk.images[3]
        packed = archive.with_name("packed.vma.zst")
        run("zstd", "-q", "-k", archive, "-o", packed)
        for kind in ([], ["-i", "vma"]):
            self.assertEqual(with_plugin("fls", "-r", *kind, "-o", self.ext4, packed), with_plugin("fls", "-r", "-o", self.ext4, archive))

    @unittest.skipUnless(harness.have("zstd"), "zstd is missing")
    def test_a_compressed_raw_image_reads_like_the_plain_one(self):
        expected = tsk.without_plugin("fls", "-r", "-o", self.ext4, self.disk.raw)[1]
        packed = self.folder / "packed.raw.zst"
        run("zstd", "-q", self.disk.raw, "-o", packed)
        (self.folder / "packed.raw.gz").write_bytes(gzip.compress(self.disk.raw.read_bytes(), 1))
        for image in (packed, packed.with_suffix(".gz")):
            self.assertEqual(with_plugin("fls", "-r", "-i", "rawz", "-o", self.ext4, image), expected)
            run(harness.VDISK, "ref", "-d", self.folder, image)
            reference = self.folder / "packed.vdisk"
            self.assertEqual(with_plugin("fls", "-r", "-o", self.ext4, reference), expected)
            self.assertEqual(with_plugin("img_stat", "-t", reference), b"rawz\n")
            reference.unlink()
        # Nobody but who asks for it gets what is in it.
        self.assertEqual(tsk.outcome_with_plugin("fls", packed)[::2], tsk.without_plugin("fls", packed)[::2])

    def test_an_image_in_parts_reads_like_the_whole(self):
        expected = tsk.without_plugin("fls", "-r", "-o", self.ext4, self.disk.raw)[1]
        for image in self.disk.images[1:]:
            folder = self.folder / f"parts of {image.name}"
            folder.mkdir()
            run("split", "-d", "-a", "3", "-b", "1000000", image, folder / (image.name + "."))
            parts = sorted(folder.iterdir())
            self.assertGreater(len(parts), 3)
            if image.suffix == ".qcow2":
                shutil.copy(image.with_name("base.qcow2"), folder)
            for kind in ([], ["-i", type_of(image)]):
                for given in (parts[:1], parts):
                    self.assertEqual(with_plugin("fls", "-r", *kind, "-o", self.ext4, *given), expected)
            stat = with_plugin("img_stat", *parts)
            self.assertTrue(all(str(part).encode() in stat for part in parts), stat)
            _, _, said = tsk.outcome_with_plugin("fls", "-o", self.ext4, parts[0], parts[2], parts[1], *parts[3:])
            self.assertIn(parts[1].name, said)

    def test_tsk_recover_gives_every_file(self):
        with_data = {path: data for path, data in self.disk.ext4.items() if data}  # it leaves out empty files
        for image in self.disk.images:
            out = self.folder / f"recovered-{image.name}"
            with_plugin("tsk_recover", "-a", "-o", self.ext4, image, out)
            recovered = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
            self.assertEqual(recovered, with_data)

    def test_tsk_loaddb_makes_the_same_database(self):
        def dump(image, program):
            database = self.folder / f"{image.name}.db"
            program("tsk_loaddb", "-h", "-d", database, image)
            with sqlite3.connect(database) as connection:
                connection.execute("update tsk_image_info set type = 0")
                connection.execute("update tsk_image_names set name = ''")
                return list(connection.iterdump())

        expected = dump(self.disk.raw, lambda *command: tsk.without_plugin(*command))
        self.assertGreater(len(expected), FILES)
        for image in self.disk.images:
            self.assertEqual(dump(image, with_plugin), expected)

    def test_tsk_loaddb_keeps_the_type_and_the_path(self):
        numbers = {"qcow2": 0x0400, "vdi": 0x0800, "vma": 0x2000, "vhd": 0x0100, "vmdk": 0x0080, "vhdx": 0x10000, "qcow": 0x20000, "qed": 0x40000, "parallels": 0x80000, "ova": 0x100000, "pbs": 0x200000}
        for image in self.disk.images[1:]:
            database = self.folder / f"named-{image.name}.db"
            with_plugin("tsk_loaddb", "-k", "-d", database, image)
            with sqlite3.connect(database) as connection:
                self.assertEqual(connection.execute("select type from tsk_image_info").fetchall(), [(numbers[type_of(image)],)])
                self.assertEqual(connection.execute("select name from tsk_image_names").fetchall(), [(str(image),)])

    def test_fiwalk_walks_the_same(self):
        def walk(image, program):
            lines = program("fiwalk", "-x", image).decode(errors="replace").splitlines()
            return [line for line in lines if line.lstrip().startswith(("<filename>", "<hashdigest", "<byte_run", "<inode>", "<filesize>"))]

        expected = walk(self.disk.raw, lambda *command: tsk.without_plugin(*command)[1])
        self.assertGreater(len(expected), FILES)
        for image in self.disk.images:
            self.assertEqual(walk(image, with_plugin), expected)

    def test_the_list_of_types_grows_by_ours(self):
        _, _, before = tsk.without_plugin("fls", "-i", "list")
        _, _, after = tsk.outcome_with_plugin("fls", "-i", "list")
        self.assertTrue(after.startswith(before))
        self.assertRegex(after[len(before):], r"\A\tqcow2 \(\S.*\)\n\tvdi \(\S.*\)\n\tvma \(\S.*\)\n\tvhdx \(\S.*\)\n\tqcow \(\S.*\)\n\tqed \(\S.*\)\n\tparallels \(\S.*\)\n\tova \(\S.*\)\n\tpbs \(\S.*\)\n\trawz \(\S.*\)\n\Z")

    def test_the_printed_type_can_be_given_back(self):
        for image in self.disk.images:
            word = with_plugin("img_stat", "-t", image).decode().strip()
            self.assertEqual(word, type_of(image))
            self.assertEqual(with_plugin("img_stat", "-t", "-i", word, image).decode().strip(), word)

    def test_a_selector_is_taken_where_a_path_is(self):
        image = f"{self.disk.images[3]}#drive-scsi0"
        self.assertEqual(with_plugin("mmls", image), with_plugin("mmls", self.disk.raw))
        status, _, said = tsk.outcome_with_plugin("mmls", f"{self.disk.images[3]}#drive-none")
        self.assertEqual(status, 1)
        self.assertIn("drive-scsi0", said)

    def test_img_stat_tells_the_chain(self):
        text = with_plugin("img_stat", self.disk.images[1]).decode()
        for part in ("Image Type:\t\tqcow2", f"Size of data in bytes:\t{self.disk.raw.stat().st_size}\n", "cluster size: 65536",
                     "backing file: base.qcow2", str(self.folder / "base.qcow2"), "snapshots"):
            self.assertIn(part, text)

    def test_verbose_tells_which_files_were_opened(self):
        _, _, said = tsk.outcome_with_plugin("img_stat", "-v", self.disk.images[1])
        for path in (self.disk.images[1], self.folder / "base.qcow2"):
            self.assertIn(f"opened {path}", said)


class RandomImages(harness.FolderTest):
    def test_img_cat_gives_what_qemu_img_gives(self):
        for compat, cluster in (("0.10", 512), ("0.10", 65536), ("1.1", 4096), ("1.1", 2 * MIB)):
            with self.subTest(compat=compat, cluster=cluster):
                image, raw = self.folder / "disk.qcow2", self.folder / "disk.raw"
                size = 6 * MIB + 512 * 5
                run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={compat},cluster_size={cluster}", image, size)
                commands = []
                for _ in range(30):
                    at = self.random.randrange(size // 512) * 512
                    length = min(self.random.choice([512, 3584, 65536, 300_032]), size - at)
                    what = self.random.choice(["write -P 17", "write -P 201", "write -z", "discard"])
                    commands += ["-c", f"{what} {at} {length}"]
                run("qemu-io", *commands, image)
                run("qemu-img", "convert", "-O", "raw", image, raw)
                expected = hashlib.sha256(raw.read_bytes()).digest()
                self.assertEqual(hashlib.sha256(with_plugin("img_cat", "-i", "qcow2", image)).digest(), expected)


class Demo(unittest.TestCase):
    IMAGE = harness.FIXTURES / "qcow2" / "demo.qcow2"

    def test_it_is_small(self):
        self.assertLessEqual(self.IMAGE.stat().st_size, MIB)

    def test_a_deleted_file_is_listed_and_recovered(self):
        listing = with_plugin("fls", "-r", "-p", "-o", 2048, "-i", "qcow2", self.IMAGE).decode()
        self.assertIn("r/r 14:\tdocuments/2024/figures.csv\n", listing)
        self.assertIn("r/r * 15:\tdocuments/2024/secret-plan.txt\n", listing)
        content = with_plugin("icat", "-o", 2048, self.IMAGE, "15")
        self.assertEqual(content, b"Delivery moved to pier 7, 23:15. Delete this.\n")

    def test_data_come_from_their_own_places(self):
        content = with_plugin("icat", "-o", 2048, self.IMAGE, "17")
        self.assertEqual(len(content), 262144)
        for at in range(0, len(content) - 20, 20):
            self.assertEqual(content[at:at + 20], b"offset %012d\n" % at)


if __name__ == "__main__":
    harness.main()
