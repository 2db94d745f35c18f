#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Parallels images and bundles of several writers, and such images of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import disk_cases
import harness
import tsk
from disk_cases import MIB
from harness import VDISK, outcome


class Manifest(disk_cases.Cases):
    def cases(self):
        return disk_cases.cases([harness.FIXTURES / "parallels"], ("parallels",))

    def image(self, folder, case):
        """What is to be opened: of a bundle its descriptor; VirtualBox's child needs its parent said."""
        image = self.unpack(folder, case)
        if image.is_dir():
            return image / "DiskDescriptor.xml"
        return f"{image}#parent={image.parent / case['chain'][1]}" if len(case["chain"]) > 1 else image

    def test_every_case(self):
        for folder, case in self.cases():
            with self.subTest(case["name"]):
                image = self.image(folder, case)
                if case["kind"] == "hostile" and case["name"] != "parallels-x-bat":
                    self.check_refused(image, str(image))
                    continue
                self.check_disk(image, case)
                if str(image).endswith("/DiskDescriptor.xml"):
                    self.check_disk(image.parent, case)
                for shot, digest in case.get("snapshots", {}).items():
                    self.check_disk(f"{image}#{shot}", {**case, "sha256": digest})
                    self.check_disk(f"{image.parent}#{shot}", {**case, "sha256": digest})
                for command in ("info", "audit", "ls"):
                    status, _, said = outcome(VDISK, command, image, timeout=300)
                    self.assertEqual(status, 0 if case["kind"] == "good" or command == "ls" else 1, said)

    def test_an_image_of_a_bundle_is_read_over_its_parents(self):
        for folder, case in self.cases():
            for shot, digest in case.get("snapshots", {}).items():
                bundle = self.unpack(folder, case)
                image = bundle / f"disk.hdd.0.{shot}.hds"
                status, out, said = self.export(image)
                self.assertEqual(status, 0, said)
                self.assertIn("DiskDescriptor.xml", said)
                self.assertEqual(harness.sha256_file(out), digest)

    def test_files_by_the_sleuth_kit(self):
        tsk.require_plugin()
        for folder, case in self.cases():
            if "file_systems" in case:
                for kind in ([], ["-i", "parallels"]):
                    self.check_file_systems(self.image(folder, case), case, kind)


class Qemu(disk_cases.Qemu):
    def test_disks_of_qemu_img(self):
        for size in (3 * MIB + 5 * 512, 17 * MIB):
            raw = self.disk(size)
            for cluster in ("64k", "1M", "2M"):
                with self.subTest(size=size, cluster=cluster):
                    self.check(raw, f"cluster_size={cluster}", "parallels")

    def test_an_overlay_on_each(self):
        self.check_overlays("parallels", "cluster_size=64k")


if __name__ == "__main__":
    harness.main()
