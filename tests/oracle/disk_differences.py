#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vdisk diff` beside `cmp` and `qemu-img compare`, and beside the bytes themselves."""
import json
import os
import re
import struct
import subprocess

import disk_cases
import harness
import vdi_builder
from harness import FIXTURES, VDISK, outcome, run

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512


def differing(a, b):
    """(start, length) of each run of sectors that differ, as far as both reach."""
    ranges = []
    for at in range(0, min(len(a), len(b)), SECTOR):
        end = min(at + SECTOR, len(a), len(b))
        if a[at:end] != b[at:end]:
            if ranges and sum(ranges[-1]) == at:
                ranges[-1] = (ranges[-1][0], end - ranges[-1][0])
            else:
                ranges.append((at, end - at))
    return ranges


class Differences(disk_cases.Cases):
    def diff(self, a, b, *options, status=0):
        code, out, said = outcome(VDISK, "diff", "--json", *options, a, b, timeout=300)
        self.assertEqual(code, status, said)
        return json.loads(out) if out else said

    def raw(self, image):
        out = self.folder / "exported.raw"
        run(VDISK, "export", "--force", image, out)
        return out.read_bytes()

    def ranges(self, told, state):
        return [(each["start"], each["length"]) for each in told["ranges"] if each["state"] == state]

    def check(self, a, b):
        """Both ways of comparing two disks that can be read; returns what metadata alone told."""
        one, other = self.raw(a), self.raw(b)
        differ = differing(one, other)
        same = one == other
        told = self.diff(a, b, "--content", status=0 if same else 1)
        both = min(len(one), len(other))
        tail = max(len(one), len(other)) - both
        self.assertEqual(self.ranges(told, "different"), differ)
        self.assertEqual(self.ranges(told, "only-in-a") + self.ranges(told, "only-in-b"), [(both, tail)] if tail else [])
        summary = told["summary"]
        self.assertEqual(summary["result"], "same" if same else "different")
        self.assertEqual(summary["different_bytes"], sum(length for _, length in differ))
        self.assertEqual(summary["same_by_metadata_bytes"] + summary["same_by_content_bytes"] + summary["different_bytes"], both)
        self.assertEqual(summary["ranges"], len(told["ranges"]))
        self.assertEqual(summary.get("first_difference"), next((at for at in range(both) if one[at] != other[at]), None) if differ else None)

        code, out, said = outcome(VDISK, "diff", "--json", a, b)
        quick = json.loads(out)
        self.assertEqual(code, 1 if quick["ranges"] else 0, said)
        may = self.ranges(quick, "may-differ")
        self.assertEqual(quick["summary"]["same_by_metadata_bytes"], summary["same_by_metadata_bytes"])
        self.assertEqual(sum(length for _, length in may) + summary["same_by_metadata_bytes"], both)
        for start, length in differ:
            self.assertTrue(any(at <= start and start + length <= at + more for at, more in may), (start, length))
        return quick

    def create(self, name, size, *options, form="qcow2"):
        image = self.folder / name
        run("qemu-img", "create", "-q", "-f", form, *options, image, size)
        return image

    def scribble(self, image, size, form="qcow2", count=15):
        commands = []
        for _ in range(count):
            at = self.random.randrange(size // 512) * 512
            word = self.random.choice(["write -P 1", "write -P 2", "write -z", "discard"] if form == "qcow2" else ["write -P 1", "write -P 2"])
            commands += ["-c", f"{word} {at} {min(self.random.choice([512, 4 * KIB, 100 * KIB]), size - at)}"]
        run("qemu-io", "-f", form, *commands, image)

    def compare_by_qemu(self, a, b):
        return outcome("qemu-img", "compare", a, b)[0]

    def test_snapshots_overlays_and_the_states_of_one_image(self):
        size = 4 * MIB + 512 * 3
        base = self.create("base.qcow2", size)
        self.scribble(base, size)
        top = self.create("top.qcow2", size, "-b", base, "-F", "qcow2", "-o", "cluster_size=4096")
        told = self.check(base, top)
        self.assertEqual((told["summary"]["result"], told["ranges"]), ("same", []))
        self.assertEqual(self.compare_by_qemu(base, top), 0)
        for number in range(3):
            run("qemu-img", "snapshot", "-c", f"s{number}", top)
            self.scribble(top, size, count=5)
            self.assertEqual(self.compare_by_qemu(base, top), 0 if self.check(base, top)["summary"]["result"] == "same" else 1)
        for a, b in (("s0", "s1"), ("s0", "s2"), ("s2", "s1")):
            told = self.check(f"{top}#{a}", f"{top}#{b}")
            self.assertGreater(told["summary"]["same_by_metadata_bytes"], size // 2)
        self.check(f"{top}#s1", top)
        self.assertEqual(self.check(top, top)["summary"]["same_by_metadata_bytes"], size)

    def test_shared_compressed_clusters_are_not_read(self):
        raw = self.folder / "disk.raw"
        raw.write_bytes(b"".join(b"line %d\n" % i for i in range(300_000)))
        os.truncate(raw, 4 * MIB)
        image = self.folder / "disk.qcow2"
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image)
        run("qemu-img", "snapshot", "-c", "s", image)
        run("qemu-io", "-c", "write -P 3 1M 64k", image)
        told = self.check(f"{image}#s", image)
        self.assertEqual(self.ranges(told, "may-differ"), [(MIB, 64 * KIB)])

    def test_other_formats_of_one_disk_are_the_same_by_content(self):
        raw = self.folder / "disk.raw"
        raw.write_bytes(b"".join(self.random.choice([bytes(64 * KIB), self.random_bytes(64 * KIB)]) for _ in range(64)))
        images = [raw]
        for form in ("qcow2", "vmdk", "vdi", "vhdx", "qed", "parallels"):
            images.append(self.folder / f"disk.{form}")
            run("qemu-img", "convert", "-f", "raw", "-O", form, raw, images[-1])
        for a, b in zip(images, images[1:] + images[:1]):
            with self.subTest(a=a.name, b=b.name):
                self.check(a, b)
                self.assertEqual(self.diff(a, b, "--content")["summary"]["result"], "same")
        with open(raw, "r+b") as file:
            file.seek(MIB + 700)
            file.write(b"x" if raw.read_bytes()[MIB + 700:MIB + 701] != b"x" else b"y")
        told = self.diff(raw, images[1], "--content", status=1)
        self.assertEqual((self.ranges(told, "different"), told["summary"]["first_difference"]), ([(MIB + 512, 512)], MIB + 700))
        (self.folder / "other.raw").write_bytes(self.raw(images[1]))
        byte = int(re.search(rb"(?:byte|char) (\d+)", outcome("cmp", raw, self.folder / "other.raw", env=dict(os.environ, LC_ALL="C"))[1]).group(1))
        self.assertEqual(told["summary"]["first_difference"], byte - 1)  # cmp counts from 1

    def test_disks_of_different_sizes(self):
        small = self.create("small.qcow2", MIB)
        run("qemu-io", "-c", "write -P 1 0 64k", small)
        large = self.create("large.qcow2", 2 * MIB + 512, "-b", small, "-F", "qcow2")
        told = self.check(small, large)
        self.assertEqual(self.ranges(told, "only-in-b"), [(MIB, MIB + 512)])
        self.assertEqual(self.compare_by_qemu(small, large), 0)  # which takes zeros behind the end for nothing
        self.assertEqual(self.ranges(self.diff(large, small, status=1), "only-in-a"), [(MIB, MIB + 512)])

    def test_what_cant_be_read_is_never_the_same(self):
        image = self.create("disk.qcow2", 4 * MIB)
        run("qemu-io", "-c", "write -P 1 0 4M", image)
        good = image.read_bytes()
        l1 = struct.unpack_from(">Q", good, 40)[0]
        l2 = struct.unpack_from(">Q", good, l1)[0] & 0x00FFFFFFFFFFFE00
        damaged = bytearray(good)
        struct.pack_into(">Q", damaged, l2 + 8 * 5, 1 << 63 | 1 << 40)
        (self.folder / "damaged.qcow2").write_bytes(damaged)
        damaged = self.folder / "damaged.qcow2"
        for a, b, sides in ((image, damaged, {"why_b"}), (damaged, image, {"why_a"}), (damaged, damaged, {"why_a", "why_b"})):
            for options in ([], ["--content"]):
                told = self.diff(a, b, *options, status=2)
                self.assertEqual(self.ranges(told, "unreadable"), [(5 * 64 * KIB, 64 * KIB)])
                self.assertEqual(told["summary"]["result"], "unreadable")
                row = next(each for each in told["ranges"] if each["state"] == "unreadable")
                self.assertEqual(set(row) & {"why_a", "why_b"}, sides)
        status, text, _ = outcome(VDISK, "diff", image, damaged)
        self.assertEqual(status, 2)
        self.assertIn(b"\n  B: ", text)
        self.assertLessEqual(max(map(len, text.decode().splitlines())), 80)

    def test_a_cluster_that_does_not_decompress_is_told_by_content(self):
        raw = self.folder / "disk.raw"
        raw.write_bytes(b"text of a line\n" * 20_000)
        os.truncate(raw, MIB)
        image, other = self.folder / "a.qcow2", self.folder / "b.qcow2"
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image)
        runs = json.loads(run(VDISK, "map", "--json", image))
        first = next(each for each in runs if each["compressed"])
        data = bytearray(image.read_bytes())
        data[first["stored_offset"]:first["stored_offset"] + 20] = b"\xff" * 20
        other.write_bytes(data)
        told = self.diff(image, other, "--content", status=2)
        self.assertEqual(self.ranges(told, "unreadable"), [(0, 64 * KIB)])
        self.assertTrue(all("why_a" not in each for each in told["ranges"]))

    def test_encrypted_states_share_by_key(self):
        image, key, (*options, opened) = harness.luks_image(self.folder, "write -P 5 128k 256k")
        run("qemu-img", "snapshot", *options, "-c", "s", opened)
        run("qemu-io", *options, "-c", "write -P 6 128k 64k", opened)
        told = self.check(f"{image}#snapshot=s,{key}", f"{image}#{key}")
        self.assertEqual(self.ranges(told, "may-differ"), [(128 * KIB, 64 * KIB)])

    def test_a_doubt_is_trouble(self):
        folder, case = next((folder, case) for folder, case in disk_cases.cases([FIXTURES / "parallels"], {"parallels"}) if case["name"] == "parallels-in-use")
        image = self.unpack(folder, case)
        told = self.diff(image, image, status=2)
        self.assertEqual(told["summary"]["result"], "same")

    def test_a_tebibyte_of_which_one_percent_was_written(self):
        """Tables that stand for 1 TiB: a snapshot with all clusters, and 1 % of them elsewhere since."""
        size = 1 << 40
        base, top = self.folder / "base.vdi", self.folder / "top.vdi"
        parent = vdi_builder.Vdi(0, block_size=MIB)
        parent.size, blocks = size, size // MIB
        parent.map = list(range(blocks))
        parent.data_offset, parent.allocated = 512 + 4 * blocks, blocks
        parent.save(base)
        os.truncate(base, parent.data_offset + size)  # a hole, which would be zeros, but for the first block
        child = vdi_builder.Vdi(0, block_size=MIB)
        child.kind, child.parent = vdi_builder.DIFFERENCING, parent
        child.size, child.parent_modify = size, parent.modify
        changed = set(range(0, blocks, 100))
        child.map = [vdi_builder.FREE] * blocks
        for number, block in enumerate(sorted(changed)):
            child.map[block] = number
        child.data_offset, child.allocated = 512 + 4 * blocks, len(changed)
        child.save(top)
        os.truncate(top, child.data_offset + len(changed) * MIB)
        with open(top, "r+b") as file:
            for number in range(len(changed)):
                file.seek(child.data_offset + number * MIB)
                file.write(b"\1" * 4096)
        told = self.diff(base, top, status=1)
        may = self.ranges(told, "may-differ")
        self.assertTrue(all(at // MIB in changed and length <= MIB for at, length in may))
        self.assertEqual({at // MIB for at, _ in may}, changed)
        self.assertGreater(told["summary"]["same_by_metadata_bytes"], size - len(changed) * MIB - 1)
        told = self.diff(base, top, "--content", status=1)
        self.assertEqual(self.ranges(told, "different"), [(block * MIB, 4096) for block in sorted(changed)])

    def test_the_text_has_a_line_a_range_and_a_summary(self):
        a, b = self.create("a.qcow2", MIB), self.create("b.qcow2", MIB)
        run("qemu-io", "-c", "write -P 1 64k 64k", a)
        run("qemu-io", "-c", "write -P 1 64k 64k", "-c", "write -P 1 512k 64k", b)
        status, out, _ = outcome(VDISK, "diff", "a.qcow2", "b.qcow2", cwd=self.folder)
        self.assertEqual(status, 1)
        table, summary = out.decode().split("\n\n")
        self.assertEqual([line.split() for line in table.splitlines()],
                         [["START", "LENGTH", "STATE"], ["65536", "65536", "may-differ"], ["524288", "65536", "may-differ"]])
        self.assertIn("a: a.qcow2\nb: b.qcow2\n", summary)
        self.assertIn("\nresult: may-differ\n", summary)
        status, out, _ = outcome(VDISK, "diff", "--content", "a.qcow2", "b.qcow2", cwd=self.folder)
        self.assertEqual(status, 1)
        self.assertIn(b"              524288                 65536  different\n", out)
        self.assertIn(b"\nfirst difference: 524288\n", out)

    def test_an_output_that_takes_no_more_is_an_error(self):
        a, b = self.create("a.qcow2", MIB), self.create("b.qcow2", MIB)
        for options in ([], ["--json"]):
            with open("/dev/full", "wb") as full:
                self.assertEqual(subprocess.run([VDISK, "diff", *options, a, b], stdout=full, stderr=subprocess.PIPE).returncode, 2)


if __name__ == "__main__":
    harness.main()
