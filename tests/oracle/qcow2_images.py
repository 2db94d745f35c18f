#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""qcow2 images made by qemu-img and qemu-io, compared with what qemu-img itself reads from them."""
import itertools
import struct

import harness
import tsk
from harness import run

KIB, MIB = 1 << 10, 1 << 20


def create(image, size, backing=None, **options):
    """qemu-img create; options by the names that qemu-img has for them."""
    words = ["-b", backing, "-F", "raw" if str(backing).endswith(".raw") else "qcow2"] if backing else []
    listed = ",".join(f"{name}={value}" for name, value in options.items())
    run("qemu-img", "create", "-q", "-f", "qcow2", *words, *(["-o", listed] if listed else []), image, size, cwd=image.parent)
    return image


def field(image, offset, form):
    with open(image, "rb") as file:
        file.seek(offset)
        return struct.unpack(">" + form, file.read(struct.calcsize(">" + form)))[0]


def patch(image, offset, form, *values):
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack(">" + form, *values))


class Qcow2Images(harness.FolderTest):
    def random_commands(self, size, count, lengths=(512, 4 * KIB, 64 * KIB, 300 * KIB), compressed=None):
        """qemu-io's commands for random writes, zero writes, discards and, if given, compressed writes of one cluster."""
        kinds = ["write -P {pattern}", "write -P {pattern}", "write -z", "write -z -u", "discard"]
        commands = []
        for _ in range(count):
            at = self.random.randrange(size // 512) * 512
            length = min(self.random.choice(lengths), size - at)
            what = self.random.choice(kinds)
            if compressed and self.random.random() < 0.3:
                at, what = at // compressed * compressed, "write -c -P {pattern}"
                length = min(compressed, size - at)
            commands += ["-c", f"{what.format(pattern=self.random.randrange(1, 256))} {at} {length}"]
        return commands

    def scribble(self, image, size, count=25, **keywords):
        # qemu-io goes on after a command that failed: a compressed write to a cluster that is allocated.
        status = None if keywords.get("compressed") else 0
        run("qemu-io", "-f", "qcow2", *self.random_commands(size, count, **keywords), image, status=status, cwd=image.parent)

    def mixed_raw(self, name, size):
        """A raw file of pieces that compress well, badly and not at all, and of zeros."""
        path = self.folder / name
        with open(path, "wb") as file:
            while (left := size - file.tell()) > 0:
                length = min(left, self.random.choice([700, 9000, 70000]))
                piece = self.random.choice([bytes(length), self.random_bytes(length), (b"a line of text %d\n" % left) * length,
                                            self.random_bytes(64) * length])
                file.write(piece[:length])
        return path

    def expected(self, image, *options):
        raw = self.folder / "expected.raw"
        run("qemu-img", "convert", *options, "-O", "raw", image, raw, cwd=image.parent)
        return raw

    def check(self, image, selector="", expected=None):
        ours = self.folder / "ours.raw"
        expected = expected or self.expected(image)
        run(harness.VDISK, "export", "--force", f"{image}{selector}", ours, cwd="/")
        self.assert_same_file(ours, expected)
        if tsk.PLUGIN.exists() and not tsk.sanitized():  # the distribution's own tool reads the same
            ours.write_bytes(tsk.with_plugin("img_cat", "-i", "qcow2", f"{image}{selector}", cwd="/"))
            self.assert_same_file(ours, expected)

    def test_versions_and_cluster_sizes(self):
        for compat, bits in itertools.product(["0.10", "1.1"], [9, 12, 16, 18, 21]):
            with self.subTest(compat=compat, cluster_bits=bits):
                size = 8 * MIB + 512 * 37
                image = create(self.folder / "disk.qcow2", size, compat=compat, cluster_size=1 << bits)
                self.scribble(image, size)
                self.check(image)

    def test_compressed_clusters(self):
        codecs = [("0.10", "zlib"), ("1.1", "zlib"), ("1.1", "zstd")]
        for (compat, codec), bits in itertools.product(codecs, [9, 12, 16, 21]):
            with self.subTest(compat=compat, codec=codec, cluster_bits=bits):
                size = (MIB if bits == 9 else 4 * MIB) + 512 * 5
                options = f"compat={compat},cluster_size={1 << bits}" + (f",compression_type={codec}" if codec != "zlib" else "")
                image = self.folder / "disk.qcow2"
                run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", options, self.mixed_raw("mixed.raw", size), image)
                self.check(image, expected=self.folder / "mixed.raw")
                self.scribble(image, size, compressed=1 << bits)
                self.check(image)

    def test_compressed_data_at_a_file_end_that_is_no_sector(self):
        raw = self.mixed_raw("mixed.raw", 2 * MIB)
        for codec in ["zlib", "zstd"]:
            with self.subTest(codec=codec):
                image = self.folder / f"{codec}.qcow2"
                run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", f"compression_type={codec}", raw, image)
                data = image.read_bytes()
                used = len(data.rstrip(b"\0"))
                self.assertLess(len(data) - used, 512)
                image.write_bytes(data[:used])
                self.check(image, expected=raw)

    def test_extended_l2_entries(self):
        for bits, kind in itertools.product([14, 16, 18, 21], ["alone", "backed", "zlib", "zstd"]):
            with self.subTest(cluster_bits=bits, kind=kind):
                size = 18 * MIB + 512 * 3 if bits == 14 else 5 * MIB + 512 * 3
                subcluster = (1 << bits) // 32
                options = {"compression_type": "zstd"} if kind == "zstd" else {}
                backing = None
                if kind == "backed":
                    backing = create(self.folder / "base.qcow2", size - 700 * KIB)
                    self.scribble(backing, size - 700 * KIB)
                image = create(self.folder / "disk.qcow2", size, backing=backing and backing.name, cluster_size=1 << bits, extended_l2="on", **options)
                lengths = (512, subcluster, 3 * subcluster, 1 << bits, 5 << bits)
                self.scribble(image, size, 60, lengths=lengths, compressed=1 << bits if kind.startswith("z") else None)
                self.check(image)

    def test_chains_of_other_cluster_sizes_lengths_and_formats(self):
        """Six layers: raw at the bottom; each overlay longer or shorter than what it lies on."""
        sizes = [3 * MIB + 1024, 5 * MIB, 4 * MIB + 512, 4 * MIB + 512 * 9, 2 * MIB, 6 * MIB + 512]
        options = [{}, {"cluster_size": 512}, {"compat": "0.10", "cluster_size": 2 * MIB}, {"extended_l2": "on", "cluster_size": 64 * KIB},
                   {"compression_type": "zstd", "cluster_size": 4096}, {"cluster_size": 128 * KIB, "extended_l2": "on"}]
        for round_ in range(3):
            with self.subTest(round=round_):
                below = self.mixed_raw("base.raw", sizes[0])
                for depth, size in enumerate(sizes[1:], 1):
                    image = create(self.folder / f"layer{depth}.qcow2", size, backing=below.name, **options[depth])
                    self.scribble(image, size, 12, compressed=4096 if depth == 4 else None)
                    self.check(image)
                    below = image

    def test_a_deep_chain(self):
        below = self.mixed_raw("base.raw", MIB)
        for depth in range(20):
            image = create(self.folder / f"layer{depth}.qcow2", MIB, backing=below.name, cluster_size=4096)
            run("qemu-io", "-c", f"write -P {depth + 1} {depth * 20 * KIB} 9k", image)
            below = image
        self.check(below)

    def test_data_files(self):
        kinds = [{}, {"data_file_raw": "on"}, {"extended_l2": "on"}, {"preallocation": "metadata"}, {"preallocation": "falloc"}]
        for bits, kind in itertools.product([14, 16, 21], kinds):
            with self.subTest(cluster_bits=bits, kind=kind):
                size = 5 * MIB + 512 * 7
                image = create(self.folder / "disk.qcow2", size, data_file="disk.data", cluster_size=1 << bits, **kind)
                self.scribble(image, size)
                self.check(image)
                if "data_file_raw" in kind:
                    raw = self.folder / "disk.data"  # with the rest of its last cluster
                    self.assertGreaterEqual(raw.stat().st_size, size)
                    run("truncate", "-s", size, raw)
                    self.check(image, expected=raw)

    def test_a_data_file_over_a_backing_file(self):
        create(self.folder / "base.qcow2", 3 * MIB)
        self.scribble(self.folder / "base.qcow2", 3 * MIB)
        image = create(self.folder / "disk.qcow2", 4 * MIB, backing="base.qcow2", data_file="disk.data", cluster_size=16 * KIB)
        self.scribble(image, 4 * MIB)
        self.check(image)
        expected = self.expected(image)
        moved = (self.folder / "disk.data").rename(self.folder / "moved, away")
        status, _, error = harness.outcome(harness.VDISK, "info", image)
        self.assertEqual(status, 1)
        self.assertIn(str(self.folder / "disk.data"), error)
        self.check(image, f"#data-file={moved}".replace(", ", "\\, "), expected)
        self.assertIn(str(moved), run(harness.VDISK, "info", f"{image}#data-file={moved}".replace(", ", "\\, ")).decode())

    def test_snapshots(self):
        for options in [{"compat": "0.10"}, {"cluster_size": 512}, {"cluster_size": 16 * KIB, "extended_l2": "on"}, {"refcount_bits": 64}]:
            with self.subTest(options=options):
                size = 3 * MIB + 512
                create(self.folder / "base.qcow2", size - 64 * KIB)
                self.scribble(self.folder / "base.qcow2", size - 64 * KIB)
                image = create(self.folder / "disk.qcow2", size, backing="base.qcow2", **options)
                for name in ["first", "second, one", "third"]:
                    self.scribble(image, size, 12)
                    run("qemu-img", "snapshot", "-c", name, image)
                self.scribble(image, size, 12)
                self.check(image)
                for number, name in enumerate(["first", "second, one", "third"], 1):
                    raw = self.expected(image, "-l", f"snapshot.id={number}")
                    self.check(image, f"#snapshot={number}", raw)
                    self.check(image, "#" + name.replace(",", "\\,"), raw)

    def test_snapshots_keep_their_size(self):
        image = create(self.folder / "disk.qcow2", 3 * MIB, cluster_size=4096)
        kept = {}
        for name, size in [("small", 3 * MIB), ("large", 7 * MIB + 512), ("tiny", 1 * MIB)]:
            run("qemu-img", "resize", "-q", "--shrink", image, size)
            self.scribble(image, size, 12)
            kept[name] = self.expected(image).rename(self.folder / f"{name}.raw")
            run("qemu-img", "snapshot", "-c", name, image)
        for name, raw in kept.items():
            self.check(image, f"#{name}", raw)

    def test_machine_states(self):
        """qemu-io writes behind the disk's end as a hypervisor does that saves its guest; only the size in the table is ours."""
        for size, options in [(3 * MIB, {}), (3 * MIB + 512, {"cluster_size": 512}), (40 * MIB, {"cluster_size": 16 * KIB, "extended_l2": "on"})]:
            with self.subTest(options=options):
                image = create(self.folder / "disk.qcow2", size, **options)
                state = b"".join(bytes([self.random.randrange(1, 256)]) * 5120 for _ in range(60))
                pieces = [c for i in range(60) for c in ("-c", f"write -b -P {state[i * 5120]} {i * 5120} 5120")]
                run("qemu-io", *pieces, image)
                run("qemu-img", "snapshot", "-c", "saved", image)
                patch(image, field(image, 64, "Q") + 40, "Q", len(state) - 5)
                self.scribble(image, size)
                out = self.folder / "state"
                run(harness.VDISK, "export", "--vm-state", "--force", f"{image}#saved", out)
                self.assertEqual(out.read_bytes(), state[:-5])

    def test_refcount_widths_and_preallocation(self):
        for order, mode in zip(range(7), itertools.cycle(["off", "metadata"])):
            with self.subTest(refcount_bits=1 << order, preallocation=mode):
                image = create(self.folder / "disk.qcow2", 2 * MIB + 512, refcount_bits=1 << order, preallocation=mode)
                self.scribble(image, 2 * MIB + 512)
                self.check(image)

    def test_preallocated_and_partial_last_clusters(self):
        for mode, size, bits in itertools.product(["metadata", "falloc"], [MIB, MIB + 512 * 3], [9, 16, 21]):
            for extended in ["off", "on"] if bits > 14 and mode == "metadata" else ["off"]:
                with self.subTest(preallocation=mode, size=size, cluster_bits=bits, extended=extended):
                    image = create(self.folder / "disk.qcow2", size, preallocation=mode, cluster_size=1 << bits, extended_l2=extended)
                    run("qemu-io", "-c", f"write -P 3 {size - 512} 512", "-c", "discard 64k 64k", image)
                    self.check(image)
                    run("qemu-img", "resize", "-q", f"--preallocation={mode}", image, size + MIB + 512)
                    self.check(image)

    def test_an_image_left_dirty_with_lazy_refcounts(self):
        image = create(self.folder / "disk.qcow2", 2 * MIB, lazy_refcounts="on")
        status, _, _ = harness.outcome("qemu-io", "-c", "write -P 5 0 200k", "-c", "flush", "-c", "abort", image, cwd=self.folder)
        self.assertNotEqual(status, 0)
        self.assertEqual(field(image, 72, "Q"), 1)
        text = run(harness.VDISK, "info", image).decode()
        self.assertIn("dirty: yes", text)
        self.assertIn("lazy refcounts", text)
        self.check(image)

    def test_bits_and_extensions_that_a_reader_may_ignore(self):
        image = create(self.folder / "disk.qcow2", 2 * MIB)
        self.scribble(image, 2 * MIB)
        raw = self.expected(image)
        patch(image, 72, "QQQ", 3, 1 << 40, 1 << 63)  # dirty, corrupt; unknown compatible and autoclear features
        end = field(image, 100, "I")
        self.assertEqual(field(image, end, "I"), 0x6803F857)
        patch(image, end, "II", 0x12345678, field(image, end + 4, "I"))  # the feature name table under an unknown type
        text = run(harness.VDISK, "info", image).decode()
        for said in ["marked corrupt: yes", "0x12345678", "bit 40", "bit 63"]:
            self.assertIn(said, text)
        self.check(image, expected=raw)
        self.check(image)  # qemu-img agrees

    def test_an_l1_table_longer_than_the_disk_needs(self):
        image = create(self.folder / "disk.qcow2", 200 * KIB, cluster_size=512)
        self.scribble(image, 200 * KIB)
        run("qemu-img", "resize", "-q", image, 900 * KIB)
        run("qemu-img", "resize", "-q", "--shrink", image, 100 * KIB)
        self.assertGreater(field(image, 36, "I"), 4)
        self.check(image)

    def test_sparse_disks_over_many_l2_tables(self):
        image = create(self.folder / "disk.qcow2", 200 * MIB, cluster_size=4096)
        self.scribble(image, 200 * MIB, 40, lengths=(512, 5 * MIB))
        self.check(image)


if __name__ == "__main__":
    harness.main()
