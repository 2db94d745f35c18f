#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of qcow version 1 of several writers, and such images and chains of qemu-img. VDISK_DISK_FIXTURES names a folder of further cases."""
import os

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

    def chain(self, forms):
        """Images over one another, each with writes of its own: [(image, its content)]"""
        raw = self.disk(8 * MIB)
        content, below, layers = bytearray(raw.read_bytes()), raw, []
        for number, (form, below_form) in enumerate(zip(forms, ["raw", *forms])):
            image = self.folder / f"layer{number}.{form}"
            run("qemu-img", "create", "-q", "-f", form, "-b", below.name, "-F", below_form, image)
            for _ in range(5):
                at, length, value = self.random.randrange(15000) * 512, self.random.randrange(1, 200) * 512, self.random.randrange(256)
                run("qemu-io", "-f", form, "-c", f"write -P {value} {at} {length}", image)
                content[at:at + length] = bytes([value]) * length
            layers.append((image, bytes(content)))
            below = image
        return layers

    def test_chains_layer_by_layer(self):
        out = self.folder / "out.raw"
        for forms in (["qcow"] * 3, ["qcow2", "qcow", "qcow2"], ["qcow", "qcow2", "qcow"]):
            for image, content in self.chain(forms):
                with self.subTest(forms=forms, image=image.name):
                    status, _, said = outcome(VDISK, "export", "--force", image, out)
                    self.assertEqual(status, 0, said)
                    self.assertEqual(out.read_bytes(), content)
                    run("qemu-img", "convert", "-O", "raw", image, self.folder / "theirs.raw")
                    self.assert_same_file(out, self.folder / "theirs.raw")

    def test_an_overlay_on_each(self):
        self.check_overlays("qcow", "size=8M")

    def test_without_its_parent_nothing_is_shown_of_it(self):
        (_, _), (image, _) = self.chain(["qcow", "qcow"])
        (self.folder / "layer0.qcow").unlink()
        status, _, said = outcome(VDISK, "export", "--force", image, self.folder / "out.raw")
        self.assertEqual(status, 2)
        self.assertIn("layer0.qcow", said)

    def test_every_97th_byte_changed(self):
        """What is read of a damaged image is the right disk, or an error for what is not."""
        image, content = self.chain(["qcow"])[0]
        good = image.read_bytes()
        out = self.folder / "out.raw"
        # Behind the tables lies what the guest wrote: a changed byte there is the guest's.
        for at in range(57, 40_000, 97):
            changed = bytearray(good)
            changed[at] ^= 1 << self.random.randrange(8)
            image.write_bytes(changed)
            status, _, said = outcome(VDISK, "export", "--force", image, out, env={**os.environ, "VDISK_REFERENCES": "same-dir"})
            self.assertIn(status, (0, 1, 2), said)
            if status == 0:
                differing = sum(a != b for a, b in zip(out.read_bytes(), content))
                self.assertLessEqual(differing, 1, f"byte {at}: {differing} bytes differ")


if __name__ == "__main__":
    harness.main()
