#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""VDI images: those that qemu-img makes, compared with what it reads from them; chains and damage that it refuses, compared with
the builder's flat model."""
import json
import types
import uuid

import harness
from harness import outcome, run
from vdi_builder import Vdi, settings

KIB, MIB = 1 << 10, 1 << 20


class VdiImages(harness.FolderTest):
    def exported(self, image, status=0):
        out = self.folder / "ours.raw"
        run(harness.VDISK, "export", "--force", image, out, status=status)
        return out

    def assert_reads_as(self, image, disk, status=0):
        expected = self.folder / "expected.raw"
        expected.write_bytes(disk)
        self.assert_same_file(self.exported(image, status), expected)

    def random_image(self, size, parent=None, **geometry):
        image = Vdi(size, parent=parent, **geometry)
        for number in self.random.sample(range(len(image.map)), len(image.map) * 2 // 3):
            image.write(number, None if self.random.random() < 0.2 else self.random_bytes(image.block_size))
        return image

    def machine(self):
        """base.vdi, m.vbox and two snapshots' images in Snapshots/; returns the images, base first."""
        images = [self.random_image(300 * KIB + 512, block_size=16 * KIB)]
        media = [(images[0], "base.vdi")]
        images[0].save(self.folder / "base.vdi")
        (self.folder / "Snapshots").mkdir()
        for _ in range(2):
            images.append(self.random_image(300 * KIB + 512, parent=images[-1], block_size=4 * KIB))
            location = f"Snapshots/{{{images[-1].create}}}.vdi"
            images[-1].save(self.folder / location)
            media.append((images[-1], location))
        (self.folder / "m.vbox").write_text(settings(media, images[-1], [("clean", images[0]), ("updated", images[1])]))
        return images, [self.folder / location for _, location in media]

    def test_images_of_qemu_with_random_writes(self):
        for static in ["off", "on"]:
            with self.subTest(static=static):
                image, raw, size = self.folder / "disk.vdi", self.folder / "disk.raw", 12 * MIB + 37 * 512
                run("qemu-img", "create", "-q", "-f", "vdi", "-o", f"static={static}", image, size)
                commands = []
                for _ in range(40):
                    at = self.random.randrange(size // 512) * 512
                    length = min(self.random.choice([512, 4 * KIB, 300 * KIB, 2 * MIB]), size - at)
                    commands += ["-c", self.random.choice(["write -P {}", "write -P {}", "write -z"]).format(self.random.randrange(1, 256)) + f" {at} {length}"]
                run("qemu-io", *commands, image)
                run("qemu-img", "convert", "-O", "raw", image, raw)
                self.assert_same_file(self.exported(image), raw)
                run(harness.VDISK, "audit", image)

    def test_a_converted_file_system_is_the_same_in_a_child_of_a_child(self):
        raw = self.folder / "fs.raw"
        run("mke2fs", "-q", "-t", "ext2", "-d", harness.SOURCE / "tests" / "support", raw, "6M")
        first = Vdi(6 * MIB, block_size=MIB)
        first.write_disk(raw.read_bytes())
        first.save(self.folder / "first.vdi")
        second = Vdi(6 * MIB, block_size=64 * KIB, parent=first)
        second.write(3, self.random_bytes(64 * KIB))
        second.save(self.folder / "second.vdi")
        self.assert_reads_as(self.folder / "first.vdi", raw.read_bytes())
        self.assert_reads_as(self.folder / "second.vdi", second.disk)
        self.assertEqual(run("qemu-img", "compare", self.folder / "first.vdi", raw), b"Images are identical.\n")

    def test_a_snapshot_finds_its_chain_and_info_tells_it(self):
        images, paths = self.machine()
        for image, path in zip(images, paths):
            self.assert_reads_as(path, image.disk)
        chain = json.loads(run(harness.VDISK, "info", "--json", paths[2]))["chain"]
        self.assertEqual([link["file"] for link in chain], [str(path) for path in reversed(paths)])
        (self.folder / "m.vbox").unlink()
        self.assert_reads_as(paths[2], images[2].disk)

    def test_a_relative_path_is_enough(self):
        images, paths = self.machine()
        run(harness.VDISK, "export", paths[2].name, "out.raw", cwd=self.folder / "Snapshots")
        self.assertEqual((self.folder / "Snapshots" / "out.raw").read_bytes(), bytes(images[2].disk))
        run(harness.VDISK, "export", "m.vbox", "out.raw", cwd=self.folder)
        self.assertEqual((self.folder / "out.raw").read_bytes(), bytes(images[2].disk))

    def test_a_machine_lists_its_disks_and_snapshots(self):
        images, _ = self.machine()
        vbox = self.folder / "m.vbox"
        disks = json.loads(run(harness.VDISK, "ls", "--json", vbox))["disks"]
        self.assertEqual([(disk["kind"], disk["name"]) for disk in disks], [("device", "SATA-0-0"), ("snapshot", "clean"), ("snapshot", "updated")])
        self.assertEqual(disks[2]["after"], "clean")
        for disk, image in zip(disks, [images[2], images[0], images[1]]):
            self.assert_reads_as(disk["selector"], image.disk)
            self.assertEqual(disk["size"], image.size)
        self.assert_reads_as(vbox, images[2].disk)
        self.assertIn(b"updated", run(harness.VDISK, "ls", vbox))

    def test_a_machine_leads_to_disks_of_other_formats(self):
        raw = self.folder / "other.raw"
        raw.write_bytes(self.random_bytes(1 << 20))
        for name, form in (("QCOW", "qcow"), ("QCOW", "qcow2"), ("QED", "qed"), ("Parallels", "parallels"), ("VMDK", "vmdk")):
            with self.subTest(form):
                image = self.folder / f"other.{form}"
                run("qemu-img", "convert", "-f", "raw", "-O", form, raw, image)
                medium = types.SimpleNamespace(create=uuid.uuid4(), parent=None)
                machine = self.folder / "other.vbox"
                machine.write_text(settings([(medium, image.name)], medium).replace('format="VDI"', f'format="{name}"'))
                self.assertEqual(run(harness.VDISK, "export", machine, "-"), raw.read_bytes())

    def test_a_parent_modified_after_the_snapshot_is_told_and_read(self):
        images, paths = self.machine()
        images[0].modify = uuid.uuid4()
        images[0].save(paths[0])
        self.assertIn(b"was modified after", run(harness.VDISK, "info", paths[1], status=1))
        read = self.folder / "read.raw"
        status, _, said = outcome(harness.VDISK, "export", paths[1], read)
        self.assertEqual(status, 1)
        self.assertIn("was modified after", said)
        self.assertEqual(read.read_bytes(), images[1].disk)
        status, out, _ = outcome(harness.VDISK, "audit", paths[1])
        self.assertEqual(status, 1)
        self.assertIn(b"parent-mismatch", out)

    def test_a_missing_parent_leaves_info_and_says_how_to_point_to_it(self):
        images, paths = self.machine()
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        paths[0].rename(elsewhere / "renamed")
        status, out, error = outcome(harness.VDISK, "info", "--json", paths[2])
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(out)["parent_uuid"], str(images[1].create))
        self.assertIn(str(images[0].create), error)
        self.assertIn("#parent=", error)
        self.assert_reads_as(f"{paths[2]}#parent={paths[1]}#parent={elsewhere / 'renamed'}", images[2].disk)

    def test_a_vdi_stands_over_raw_and_qcow2_and_a_qcow2_over_a_vdi(self):
        base = self.random_image(300 * KIB, block_size=4 * KIB)
        raw, qcow2, child, top = (self.folder / name for name in ["base.raw", "base.qcow2", "child.vdi", "top.qcow2"])
        raw.write_bytes(base.disk)
        run("qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
        image = self.random_image(300 * KIB, parent=base, block_size=8 * KIB)
        image.save(child)
        for parent in [raw, qcow2]:
            self.assert_reads_as(f"{child}#parent={parent}", image.disk, status=1)  # nothing tells that it is the parent

        disk = self.random_image(2 * MIB + 512)
        disk.save(self.folder / "disk.vdi")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.vdi", "-F", "vdi", top)
        run("qemu-io", "-c", "write -P 7 100000 200000", "-c", "write -z 1500000 100000", top)
        run("qemu-img", "convert", "-O", "raw", top, self.folder / "top.raw")
        self.assert_reads_as(top, (self.folder / "top.raw").read_bytes())

    def test_leaked_blocks_are_written_out_with_their_places(self):
        image = Vdi(64 * KIB, block_size=4 * KIB)
        for number in range(10):
            image.write(number, bytes([number + 1]) * 4 * KIB)
        for number in [2, 3, 7]:
            image.map[number] = 0xFFFFFFFF
        image.allocated = 7
        path = image.save(self.folder / "disk.vdi")
        status, out, _ = outcome(harness.VDISK, "audit", "--json", path)
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(out)["counts"], {"leaked": 2})
        listed = run(harness.VDISK, "leaked", path, self.folder / "out").decode()
        stride = 4 * KIB
        places = [(image.data_offset + 2 * stride, 2 * stride, 0), (image.data_offset + 7 * stride, stride, 2 * stride)]
        self.assertEqual([tuple(map(int, line.split())) for line in listed.splitlines()], places)
        whole = path.read_bytes()
        self.assertEqual((self.folder / "out").read_bytes(), b"".join(whole[at:at + length] for at, length, _ in places))
        self.assertEqual(outcome(harness.VDISK, "leaked", path, self.folder / "out")[0], 2)
        as_json = json.loads(run(harness.VDISK, "leaked", "--force", "--json", path, self.folder / "out"))
        self.assertEqual([tuple(item.values()) for item in as_json["ranges"]], places)

    def test_damage_costs_its_range_alone(self):
        image = self.random_image(256 * KIB, block_size=16 * KIB)
        for number in range(16):
            image.write(number, self.random_bytes(16 * KIB))
        image.map[5] = 0xFFFFFFFD
        image.disk[5 * 16 * KIB:6 * 16 * KIB] = bytes(16 * KIB)
        path = image.save(self.folder / "disk.vdi")
        out = self.folder / "out.raw"
        status, _, error = outcome(harness.VDISK, "export", path, out)
        self.assertEqual(status, 1)
        self.assertIn(f"disk offset {5 * 16 * KIB}, {16 * KIB} bytes", error)
        self.assertEqual(out.read_bytes(), bytes(image.disk))


if __name__ == "__main__":
    harness.main()
