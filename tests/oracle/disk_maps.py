#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vdisk map` beside `qemu-img map`, and of every format beside the bytes that really stand where it says."""
import gzip
import itertools
import json
import os
import re
import struct
import subprocess
import tarfile

import disk_cases
import harness
import vdi_builder
import vma_writer
from harness import FIXTURES, VDISK, outcome, run

KIB, MIB = 1 << 10, 1 << 20
# Of these qemu-img tells whether a layer has the bytes; of the others it says that all is present.
SAYS_PRESENT = {"qcow2", "qcow", "qed", "vmdk", "parallels", "raw"}


def as_path(shown):
    """A name as it is shown, as the path that it is."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match.group(1).decode()), os.fsencode(shown))


def pairs(ours, theirs):
    """(start, length, run of ours, run of theirs) of each stretch that lies in one run of both."""
    at, mine, other = 0, iter(ours), iter(theirs)
    a, b = next(mine, None), next(other, None)
    while a and b:
        end = min(a["start"] + a["length"], b["start"] + b["length"])
        yield at, end - at, a, b
        at = end
        if a["start"] + a["length"] == end:
            a = next(mine, None)
        if b["start"] + b["length"] == end:
            b = next(other, None)


class Maps(disk_cases.Cases):
    def runs(self, image, *options, status=0):
        code, out, said = outcome(VDISK, "map", "--json", *options, image, timeout=300)
        self.assertEqual(code, status, said)
        return json.loads(out) if out else said

    def exported(self, image, status=0):
        out = self.folder / "exported.raw"
        code, _, said = outcome(VDISK, "export", "--force", image, out, timeout=300)
        self.assertEqual(code, status, said)
        return out

    def check_tiling(self, runs, size):
        at = 0
        for run_ in runs:
            self.assertEqual(run_["start"], at)
            self.assertGreater(run_["length"], 0)
            at += run_["length"]
        self.assertEqual(at, size)
        for before, behind in zip(runs, runs[1:]):  # what could be one run is one
            if before["kind"] == behind["kind"] and before["depth"] == behind["depth"] and before["kind"] != "unreadable":
                self.assertIn("file", before)
                self.assertIn("file", behind)

    def check_bytes(self, runs, disk):
        """Each run beside the disk's bytes: zeros are zeros, and what has an offset stands there in the file."""
        with open(disk, "rb") as whole:
            for run_ in runs:
                for at in range(0, run_["length"], MIB):
                    length = min(MIB, run_["length"] - at)
                    if run_["kind"] == "unreadable":
                        break
                    if not run_["zero"] and "offset" not in run_:
                        self.assertIn(run_["kind"], ("compressed", "encrypted"))
                        self.assertIn("stored_offset", run_)
                        break
                    whole.seek(run_["start"] + at)
                    content = whole.read(length)
                    if run_["zero"]:
                        self.assertEqual(content.count(0), length, run_)
                    if "offset" in run_:
                        with open(as_path(run_["file"]), "rb") as file:
                            file.seek(run_["offset"] + at)
                            self.assertEqual(file.read(length), content, run_)

    def check_there_and_back(self, image, runs, of=4):
        """--at leads to a byte of a file, and --file-offset from there to the disk."""
        for run_ in self.random.sample(runs, min(of, len(runs))):
            byte = run_["start"] + self.random.randrange(run_["length"])
            (told,) = self.runs(image, "--at", byte, status=1 if run_["kind"] == "unreadable" else 0)
            self.assertEqual((told["start"], told["kind"], told["depth"], told.get("file")),
                             (byte, run_["kind"], run_["depth"], run_.get("file")))
            self.assertLessEqual(byte + told["length"], run_["start"] + run_["length"])
            if "offset" in run_:
                self.assertEqual(told["offset"] - run_["offset"], byte - run_["start"])
            offset = told.get("offset", told.get("stored_offset"))
            if offset is None:
                continue
            back = self.runs(image, "--file-offset", hex(offset), "--file", as_path(told["file"]).decode(errors="surrogateescape"))
            if "stored_length" in told:
                self.assertTrue(any(each["start"] <= byte < each["start"] + each["length"] for each in back), (told, back))
            else:
                self.assertIn(byte, [each["start"] for each in back])

    def check(self, image, status=0):
        disk = self.exported(image, status)
        runs = self.runs(image, status=status)
        self.check_tiling(runs, disk.stat().st_size)
        self.check_bytes(runs, disk)
        self.check_there_and_back(image, runs)
        return runs

    def check_with_qemu(self, image, form):
        runs = self.check(image)
        theirs = json.loads(run("qemu-img", "map", "--output=json", "-f", form, image))
        holes = 0
        for at, length, mine, other in pairs(runs, theirs):
            place = (form, at, length, mine, other)
            if form != "vhdx":  # of which it says that all is data
                self.assertEqual(mine["depth"], other["depth"], place)
            if form in SAYS_PRESENT:
                self.assertEqual(mine["present"], other["present"], place)
            if other["zero"] and not other["data"]:
                self.assertTrue(mine["zero"], place)
            elif mine["zero"]:  # it looks for holes in raw files alone; check_bytes() has compared
                holes += length
                self.assertTrue("offset" in mine or form == "vhdx", place)
            if mine["data"] and "offset" in other:
                self.assertEqual(mine["offset"] - mine["start"], other["offset"] - other["start"], place)
            if mine["data"] and "offset" not in other and form != "vhdx":
                self.assertIn(mine["kind"], ("compressed", "encrypted"), place)
            if "compressed" in other:  # QEMU 8.2 and later
                self.assertEqual(mine["compressed"], other["compressed"], place)
        return runs

    def scribble(self, image, form, size, compressed=None):
        words = ["write -P 7", "write -P 9", "write -z", "write -z -u", "discard"] if form == "qcow2" else ["write -P 7", "write -P 9"]
        commands = []
        for _ in range(20):
            at = self.random.randrange(size // 512) * 512
            length = min(self.random.choice([512, 4 * KIB, 64 * KIB, 300 * KIB]), size - at)
            word = self.random.choice(words)
            if compressed and self.random.random() < 0.4:
                at, word = at // compressed * compressed, "write -c -P 5"
                length = min(compressed, size - at)
            commands += ["-c", f"{word} {at} {length}"]
        run("qemu-io", "-f", form, *commands, image, status=None if compressed else 0)

    def create(self, name, form, size, *options):
        image = self.folder / name
        run("qemu-img", "create", "-q", "-f", form, *options, image, size)
        return image

    def test_qcow2_as_qemu_img_maps_it(self):
        size = 6 * MIB + 512 * 11
        for number, (bits, more) in enumerate(itertools.product([9, 12, 16], ["", ",extended_l2=on", ",compression_type=zstd"])):
            if "extended" in more and bits < 14:
                continue
            with self.subTest(cluster_bits=bits, more=more):
                image = self.create(f"{number}.qcow2", "qcow2", size, "-o", f"cluster_size={1 << bits}{more}")
                self.scribble(image, "qcow2", size, compressed=None if "extended" in more else 1 << bits)
                self.check_with_qemu(image, "qcow2")

    def test_chains_of_qcow2_and_raw(self):
        base = self.folder / "base.raw"
        base.write_bytes(b"".join(self.random.choice([bytes(64 * KIB), self.random_bytes(64 * KIB)]) for _ in range(40)))
        os.truncate(base, 3 * MIB)  # and a hole
        middle = self.create("middle.qcow2", "qcow2", 5 * MIB, "-b", base, "-F", "raw")
        top = self.create("top.qcow2", "qcow2", 8 * MIB, "-b", middle, "-F", "qcow2", "-o", "cluster_size=4096")
        for _ in range(4):
            self.scribble(middle, "qcow2", 5 * MIB)
            self.scribble(top, "qcow2", 8 * MIB)
            runs = self.check_with_qemu(top, "qcow2")
            self.assertEqual({run_["depth"] for run_ in runs}, {0, 1, 2})
            self.assertEqual({os.path.basename(run_["file"]) for run_ in runs if "file" in run_}, {"base.raw", "middle.qcow2", "top.qcow2"})

    def test_the_other_formats_that_qemu_writes(self):
        cases = [("vmdk", form) for form in ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")]
        cases += [("vdi", "off"), ("vdi", "on"), ("vpc", "dynamic"), ("vpc", "fixed"), ("vhdx", "dynamic"), ("vhdx", "fixed"),
                  ("qed", None), ("qcow", None), ("parallels", None), ("raw", None)]
        key = {"vmdk": "subformat", "vdi": "static", "vpc": "subformat", "vhdx": "subformat"}
        for form, kind in cases:
            with self.subTest(form=form, kind=kind):
                size = 8 * MIB
                image = self.create(f"{form}-{kind}.{'raw' if form == 'raw' else form}", form, size, *(["-o", f"{key[form]}={kind}"] if kind else []))
                if kind == "streamOptimized":
                    run("qemu-img", "convert", "-f", "raw", "-O", form, "-o", f"subformat={kind}", self.mixed(size), image)
                else:
                    self.scribble(image, form, size)
                self.check_with_qemu(image, form)

    def mixed(self, size):
        raw = self.folder / "mixed.raw"
        raw.write_bytes(b"".join(self.random.choice([bytes(64 * KIB), self.random_bytes(64 * KIB), b"line\n" * 13108]) for _ in range(size // (64 * KIB)))[:size].ljust(size, b"\0"))
        return raw

    def test_images_of_every_format_and_writer(self):
        folders = sorted(path.parent for path in FIXTURES.glob("*/MANIFEST.json") if "cases" in json.loads(path.read_text()))
        formats = {"vhd", "vhdx", "vmdk", "qcow", "qed", "parallels", "ova", "vdi"}
        kinds = set()
        for folder, case in disk_cases.cases(folders, formats):
            if (case.get("virtual_size") or 0) > 64 * MIB:
                continue
            with self.subTest(case["name"]):
                image = self.unpack(folder, case)
                if case["kind"] == "hostile" or case.get("virtual_size") is None:
                    status, out, _ = outcome(VDISK, "map", "--json", image, timeout=60)
                    self.assertIn(status, (0, 1, 2))
                    self.assertEqual(out == b"", status == 2)
                    continue
                disk = self.folder / "exported.raw"
                status = outcome(VDISK, "export", "--force", image, disk)[0]
                if status == 2:
                    continue
                code, out, said = outcome(VDISK, "map", "--json", image)
                self.assertIn(code, (0, status), said)
                runs = json.loads(out)
                self.check_tiling(runs, disk.stat().st_size)
                self.check_bytes(runs, disk)
                kinds.update(run_["kind"] for run_ in runs)
                for offset, length in case.get("lost", []):
                    if case["name"] != "vmdk-stream-bad-grain":  # which only expanding it can tell
                        told = [run_ for run_ in runs if run_["kind"] == "unreadable" and run_["start"] < offset + length and offset < run_["start"] + run_["length"]]
                        self.assertTrue(told, (case["name"], offset, length))
                        self.assertTrue(all(run_["why"] and run_["data"] and "offset" not in run_ for run_ in told))
                        self.assertEqual(code, 1)
        self.assertEqual(kinds, {"data", "zero", "compressed", "unallocated", "unreadable"})

    def test_vdi_chains_with_zero_blocks(self):
        base = vdi_builder.Vdi(3 * MIB + 512, block_size=64 * KIB, block_extra=512)
        base.write(2, self.random_bytes(64 * KIB))
        base.write(3, self.random_bytes(64 * KIB))
        child = vdi_builder.Vdi(3 * MIB + 512, block_size=64 * KIB, parent=base)
        child.write(3)
        child.write(48, self.random_bytes(64 * KIB))
        base.save(self.folder / "base.vdi")
        runs = self.check(child.save(self.folder / "child.vdi"))
        self.assertEqual([(run_["start"] // (64 * KIB), run_["kind"], run_["depth"]) for run_ in runs],
                         [(0, "unallocated", 1), (2, "data", 1), (3, "zero", 0), (4, "unallocated", 1), (48, "data", 0)])

    def test_archives_streams_and_parts(self):
        raw = self.mixed(4 * MIB)
        qcow2 = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
        vma_writer.write(self.folder / "backup.vma", [("drive-a", raw), ("drive-b", raw)])
        with tarfile.open(self.folder / "machine.ova", "w") as tar:
            tar.add(qcow2, arcname="disk.qcow2")
        run("split", "-d", "-a", "3", "-b", "700000", qcow2, self.folder / "parts.qcow2.")
        for name in ("backup.vma#drive-b", "machine.ova#format=ova", "parts.qcow2.000"):
            with self.subTest(name):
                runs = self.check(f"{self.folder}/{name}")
                self.assertIn("data", {run_["kind"] for run_ in runs})
        self.assertGreater(len({run_["file"] for run_ in runs if "file" in run_}), 3)  # of the parts
        plain = self.runs(qcow2)
        (self.folder / "disk.qcow2.gz").write_bytes(gzip.compress(qcow2.read_bytes()))
        packed = self.check(self.folder / "disk.qcow2.gz")
        self.assertIn(b"disk.qcow2.gz (offsets are of what it decompresses to)\n", run(VDISK, "map", self.folder / "disk.qcow2.gz"))
        for at, length, mine, other in pairs(packed, plain):
            if other["kind"] == "data":  # the offset is of what it decompresses to
                self.assertEqual((mine["kind"], mine["compressed"], mine["in_stream"], "offset" in mine), ("compressed", True, True, False))
                self.assertEqual(mine["stored_offset"] - mine["start"], other["offset"] - other["start"])

    def test_tables_in_a_part_that_is_missing_cost_what_they_map_and_no_more(self):
        size = 24 << 30
        image = self.create("whole.qcow2", "qcow2", size)
        run("qemu-io", *(word for at in range(0, size, 2 << 30) for word in ("-c", f"write -P 1 {at} 64k")), image)
        run("split", "-d", "-a", "3", "-b", "300000", image, self.folder / "d.qcow2.")
        parts = sorted(self.folder.glob("d.qcow2.*"))
        whole = self.runs(parts[0])
        longest = 0
        for part in parts[1:-1]:
            content = part.read_bytes()
            part.unlink()
            code, out, said = outcome(VDISK, "map", "--json", parts[0], timeout=100)
            part.write_bytes(content)
            if code == 2:  # what the header leads to first
                self.assertIn(part.name, said)
                continue
            now = json.loads(out)
            self.check_tiling(now, size)
            self.assertEqual(code, 1)
            for at, length, mine, other in pairs(now, whole):
                if mine["kind"] == "unreadable":
                    longest = max(longest, length)
                else:
                    self.assertEqual((mine["kind"], mine.get("file")), (other["kind"], other.get("file")))
            lost = sum(run_["length"] for run_ in now if run_["kind"] == "unreadable")
            self.assertLess(lost, 5 << 30, part)  # of tables that map 512 MiB each, of which nine lie in a part at most
        self.assertGreater(longest, 500 * MIB)

    def test_encrypted_bytes_have_no_offset_to_read_them_from(self):
        image, key, opened = harness.luks_image(self.folder, "write -P 5 128k 64k")
        runs = self.check(f"{image}#{key}")
        theirs = json.loads(run("qemu-img", "map", "--output=json", *opened))
        self.assertEqual([(run_["kind"], run_["data"], run_["zero"], run_["present"]) for run_ in runs],
                         [("unallocated", False, True, False), ("encrypted", True, False, True), ("unallocated", False, True, False)])
        self.assertEqual([(run_["data"], "offset" in run_) for run_ in theirs], [(run_["data"], "offset" in run_) for run_ in runs])

    def test_a_snapshot_is_mapped_as_it_was(self):
        image = self.create("disk.qcow2", "qcow2", 4 * MIB)
        self.scribble(image, "qcow2", 4 * MIB)
        before = self.runs(image)
        run("qemu-img", "snapshot", "-c", "then", image)
        self.scribble(image, "qcow2", 4 * MIB)
        for _, _, now, then in pairs(self.runs(f"{image}#then"), before):  # which cluster has holes may change when it is flushed
            if "offset" in now or "offset" in then:
                self.assertEqual(now["offset"] - now["start"], then["offset"] - then["start"])
            else:
                self.assertEqual(now["kind"], then["kind"])
        self.check(f"{image}#then")
        self.assertNotEqual(self.runs(image), before)

    def test_holes_of_a_raw_file(self):
        raw = self.folder / "disk.raw"
        with open(raw, "wb") as file:
            for at in (0, 3 * MIB, 3 * MIB + 256 * KIB):
                file.seek(at)
                file.write(self.random_bytes(64 * KIB))
            file.truncate(5 * MIB + 100)
        self.check_with_qemu(raw, "raw")

    def test_a_byte_that_no_disk_shows_and_wrong_offsets(self):
        image = self.create("disk.qcow2", "qcow2", MIB)
        code, out, said = outcome(VDISK, "map", "--file-offset", 0, image)
        self.assertEqual(code, 1)
        self.assertIn("byte 0 of the file is not read by this disk", said)
        self.assertEqual(self.runs(image, "--file-offset", 0, status=1), [])
        base = self.create("top.qcow2", "qcow2", MIB, "-b", image, "-F", "qcow2")
        for words, told in (([base, "--file-offset", 0], "say which by --file:\n"), ([image, "--at", MIB], "the disk ends at 1048576"),
                            ([image, "--at", ""], "--at can't be ''"), ([image, "--at", "-1"], "--at can't be '-1'"),
                            ([image, "--file-offset", "1k"], "--file-offset can't be '1k'"), ([image, "--file-offset", 1 << 40], "disk.qcow2 ends at "),
                            ([image, "--file-offset", 0, "--file", "gone"], "is none of the files"),
                            ([image, "--file", image], "--file is for use with --file-offset only"),
                            ([image, "--at", 0, "--file-offset", 0], "exclude each other")):
            code, out, said = outcome(VDISK, "map", *words)
            self.assertEqual((code, out), (2, b""), words)
            self.assertIn(told, said)

    def test_the_table_fits_80_columns_and_says_what_json_says(self):
        size = 40 << 40
        image = self.create("disk.qcow2", "qcow2", size, "-o", "cluster_size=2M")
        run("qemu-io", "-c", f"write -P 1 {size - 6 * MIB} 4M", image)
        lines = run(VDISK, "map", image.name, cwd=self.folder).decode().splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual(lines[0], "file 0: disk.qcow2")
        self.assertEqual(lines[1].split(), ["START", "LENGTH", "KIND", "DEPTH", "FILE", "OFFSET"])
        told = [tuple(line.split()) for line in lines[2:]]
        runs = self.runs(image)
        self.assertEqual(told, [(str(run_["start"]), str(run_["length"]), run_["kind"], str(run_["depth"]), "0" if "file" in run_ else "-",
                                 str(run_.get("offset", "-"))) for run_ in runs])
        self.assertEqual(len(runs), 3)

    def test_an_output_that_takes_no_more_is_an_error(self):
        image = self.create("disk.qcow2", "qcow2", 4 * MIB)
        for options in ([], ["--json"]):
            with open("/dev/full", "wb") as full:
                self.assertEqual(subprocess.run([VDISK, "map", *options, image], stdout=full, stderr=subprocess.PIPE).returncode, 2)

    def test_a_disk_of_very_many_runs_takes_little_memory(self):
        """Every second cluster of 512 bytes, backwards in the file, of a disk whose map would take hundreds of MiB."""
        clusters = 600_064
        image = vdi_builder.Vdi(0, block_size=512)  # without its flat model: the test's own memory counts until the program runs
        image.size, image.map, image.data_offset = clusters * 512, [vdi_builder.FREE] * clusters, 512 + clusters * 4
        header = image.save(self.folder / "disk.vdi").read_bytes()[:512]
        entries = [vdi_builder.FREE if i % 2 else (clusters - i) // 2 - 1 for i in range(clusters)]
        with open(self.folder / "disk.vdi", "wb") as file:
            file.write(header[:388] + struct.pack("<I", clusters // 2) + header[392:])
            file.write(struct.pack(f"<{clusters}I", *entries))
            file.truncate(image.data_offset + clusters // 2 * 512)
            for at in range(image.data_offset, image.data_offset + clusters // 2 * 512, MIB):  # holes would be zeros
                file.seek(at)
                file.write(b"\1" * min(MIB, image.data_offset + clusters // 2 * 512 - at))
        out = self.folder / "map"
        with open(out, "wb") as file:
            process = subprocess.Popen([VDISK, "map", "--json", self.folder / "disk.vdi"], stdout=file)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        with open(out, "rb") as file:
            self.assertEqual(sum(1 for _ in file), clusters)
        self.assertLess(usage.ru_maxrss, 150 * KIB)  # in KiB, with the tool's libraries


if __name__ == "__main__":
    harness.main()
