#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""QED images of several writers, and such images and chains of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import disk_cases
import harness
import tsk
from disk_cases import MIB
from harness import VDISK, outcome


class Manifest(disk_cases.Cases):
    def cases(self):
        return disk_cases.cases([harness.FIXTURES / "qed"], ("qed",))

    def test_every_case(self):
        for folder, case in self.cases():
            with self.subTest(case["name"]):
                image = self.unpack(folder, case)
                if case["kind"] == "hostile":
                    self.check_refused(image, image.name)
                    continue
                self.check_disk(image, case)
                for command in ("info", "audit", "ls"):
                    status, said, error = outcome(VDISK, command, image, timeout=300)
                    self.assertEqual(status, 0, error)
                    if case["name"] == "qed-need-check" and command != "ls":
                        self.assertIn(b"needs", said)

    def test_files_by_the_sleuth_kit(self):
        tsk.require_plugin()
        for folder, case in self.cases():
            if "file_systems" in case:
                for kind in ([], ["-i", "qed"]):
                    self.check_file_systems(self.unpack(folder, case), case, kind)


class Qemu(disk_cases.Qemu):
    def test_disks_of_qemu_img(self):
        for size in (3 * MIB + 5 * 512, 40 * MIB):
            raw = self.disk(size)
            # qemu-img itself can not fill images with tables of one cluster.
            for cluster, table in (("4k", 2), ("64k", 4), ("64k", 8), ("16k", 16), ("1M", 2)):
                with self.subTest(size=size, cluster=cluster, table=table):
                    self.check(raw, f"cluster_size={cluster},table_size={table}", "qed")

    def test_chains_layer_by_layer(self):
        for forms in (["qed"] * 3, ["qcow2", "qed", "qcow"], ["qcow", "qed", "qcow2"]):
            self.check_chain(forms)

    def test_an_overlay_on_each(self):
        self.check_overlays("qed", "cluster_size=64k")

    def test_without_its_parent_nothing_is_shown_of_it(self):
        self.check_without_parent("qed")

    def test_every_97th_byte_changed(self):
        # The header's start, the start of the L1 table, and that of the first L2 table.
        places = [*range(4, 48, 5), *range(56, 72, 3), *range(65536, 65544), *range(327680, 340_000, 97)]
        self.check_changed_bytes("qed", places)


if __name__ == "__main__":
    harness.main()
