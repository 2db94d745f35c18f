#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of qcow version 1 of several writers, and such images and chains of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import disk_cases
import harness
import tsk
from disk_cases import MIB
from harness import VDISK, outcome, run


class Manifest(disk_cases.Cases):
    def test_every_case(self):
        for folder, case in disk_cases.cases([harness.FIXTURES / "qcow"], ("qcow",)):
            with self.subTest(case["name"]):
                image, key = self.unpack(folder, case), ""
                if case["kind"] == "hostile":
                    self.check_refused(image, image.name)
                    continue
                if "passphrase" in case:
                    self.check_refused(image, "encrypted")
                    (self.folder / "key").write_text(case["passphrase"])
                    key = f"#key-file={self.folder / 'key'}"
                self.check_disk(f"{image}{key}", case)
                for command in ("info", "audit", "ls"):
                    status, _, said = outcome(VDISK, command, f"{image}{key}", timeout=300)
                    self.assertEqual(status, 0, said)

    def test_files_by_the_sleuth_kit(self):
        tsk.require_plugin()
        for folder, case in disk_cases.cases([harness.FIXTURES / "qcow"], ("qcow",)):
            if "file_systems" in case:
                for kind in ([], ["-i", "qcow"]):
                    self.check_file_systems(self.unpack(folder, case), case, kind)


class Qemu(disk_cases.Qemu):
    def test_disks_of_qemu_img(self):
        for size in (3 * MIB + 5 * 512, 17 * MIB, 40 * MIB):
            with self.subTest(size=size):
                self.check(self.disk(size), f"size={size}", "qcow")

    def test_an_encrypted_disk(self):
        raw = self.disk(3 * MIB)
        image, key, out = self.folder / "disk.qcow", self.folder / "key", self.folder / "out.raw"
        for passphrase in ("x", "sixteen letters!", "more than sixteen letters"):
            key.write_text(passphrase)
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow", "--object", f"secret,id=s,file={key}", "-o",
                "encrypt.format=aes,encrypt.key-secret=s", raw, image)
            run(VDISK, "export", "--force", f"{image}#key-file={key}", out)
            self.assert_same_file(out, raw)
            self.assertEqual(outcome(VDISK, "export", "--force", image, out)[0], 2)

    def test_chains_layer_by_layer(self):
        for forms in (["qcow"] * 3, ["qcow2", "qcow", "qcow2"], ["qcow", "qcow2", "qcow"]):
            self.check_chain(forms)

    def test_an_overlay_on_each(self):
        self.check_overlays("qcow", "size=8M")

    def test_without_its_parent_nothing_is_shown_of_it(self):
        self.check_without_parent("qcow")

    def test_every_97th_byte_changed(self):
        self.check_changed_bytes("qcow", range(57, 40_000, 97))


if __name__ == "__main__":
    harness.main()
