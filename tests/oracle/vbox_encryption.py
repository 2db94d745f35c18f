#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encrypted disks of VirtualBox machines, made by a builder that shares nothing with the reader."""
import json
import os
import re

import harness
import vbox_crypt
from harness import VDISK, outcome, run
from vdi_builder import Vdi, settings

MIB = 1 << 20


class EncryptedMachines(harness.FolderTest):
    def machine(self, bits=256, password=b"correct horse", **store):
        """m.vbox with a disk and a snapshot, whose blocks are stored, missing and zero; the images, the current one last."""
        key = os.urandom(bits // 4)
        images = [Vdi(3 * MIB + 4096, block_size=MIB // 4)]
        images.append(Vdi(images[0].size, block_size=MIB // 4, parent=images[0]))
        for number in (0, 1, 5, 12):
            images[0].write(number, self.random_bytes(MIB // 4))
        images[1].disk[:] = images[0].disk
        for number, data in ((1, self.random_bytes(MIB // 4)), (5, None), (7, self.random_bytes(MIB // 4))):
            images[1].write(number, data)
        (self.folder / "Snapshots").mkdir(exist_ok=True)
        for image, name in zip(images, ("base.vdi", "Snapshots/top.vdi")):
            vbox_crypt.encrypt(image, key)
            image.save(self.folder / name)
        text = settings([(images[0], "base.vdi"), (images[1], "Snapshots/top.vdi")], images[1], [("before", images[0])])
        (self.folder / "m.vbox").write_text(vbox_crypt.protect(text, vbox_crypt.key_store(key, password, **store)))
        (self.folder / "key").write_bytes(password)
        return images

    def say(self, *words, **environment):
        return outcome(VDISK, *words, cwd=self.folder, env={**os.environ, **environment})

    def test_disks_read_with_their_password_by_every_door(self):
        for bits, hash_name in ((128, "sha256"), (256, "sha256"), (256, "sha1"), (128, "sha512")):
            with self.subTest(bits=bits, hash=hash_name):
                base, top = self.machine(bits, hash_name=hash_name)
                for name, image in (("m.vbox#SATA-0-0", top), ("m.vbox#SATA-0-0@before", base), ("Snapshots/top.vdi#", top), ("base.vdi#", base)):
                    selector = name + ("" if name.endswith("#") else ",") + "key-file=key"
                    self.assertEqual(self.say("export", selector, "-"), (0, bytes(image.disk), ""), name)
                    self.assertEqual(self.say("export", name.rstrip("#"), "-", VDISK_KEY_FILE="key")[1], bytes(image.disk), name)

    def test_reads_of_any_place_and_length(self):
        _, top = self.machine()
        run(VDISK, "export", "m.vbox#SATA-0-0,key-file=key", "whole", cwd=self.folder)
        self.assertEqual((self.folder / "whole").read_bytes(), bytes(top.disk))
        library = harness.library()
        if library is None:
            self.skipTest("this process can't load the library")
        with library.open(f"{self.folder}/m.vbox#SATA-0-0,key-file={self.folder}/key") as disk:
            for _ in range(200):
                at = self.random.randrange(top.size)
                length = self.random.choice([1, 15, 511, 512, 513, 70000, 300000])
                self.assertEqual(bytes(disk.read_at(at, length)), bytes(top.disk[at:at + length]), (at, length))

    def test_a_wrong_password_is_told_and_no_byte_is_read(self):
        self.machine()
        (self.folder / "wrong").write_bytes(b"correct horsf")
        for name in ("m.vbox#SATA-0-0,key-file=wrong", "base.vdi#key-file=wrong"):
            code, out, said = self.say("export", name, "-")
            self.assertEqual((code, out), (2, b""))
            self.assertRegex(said, r"base.vdi: the passphrase of key file '.*wrong' is not the password of 'the password', as .*m.vbox calls it\n$" if "base" in name else "is not the password of")
        code, out, said = self.say("export", "base.vdi", "-")
        self.assertEqual((code, out), (2, b""))
        self.assertIn("is encrypted: name a file that holds the passphrase", said)

    def test_a_newline_behind_the_password_is_left_out(self):
        _, top = self.machine()
        for end in (b"\n", b"\r\n"):
            (self.folder / "key").write_bytes(b"correct horse" + end)
            self.assertEqual(self.say("export", "m.vbox#SATA-0-0,key-file=key", "-")[1], bytes(top.disk))

    def test_info_needs_no_password(self):
        self.machine()
        code, out, _ = self.say("info", "--json", "base.vdi")
        told = json.loads(out)["encryption"]
        self.assertEqual((code, told["cipher"], told["key_bits"], told["key_derivation"], told["iterations"], told["password_id"]),
                         (1, "AES-XTS256-PLAIN64", 512, "PBKDF2-SHA256", 2000, "the password"))
        self.assertEqual(json.loads(self.say("info", "--json", "m.vbox#SATA-0-0,key-file=key")[1])["machine_encrypted"], "disks")
        self.assertIn("encrypted", self.say("map", "base.vdi#key-file=key", "--json")[1].decode())

    def test_a_store_that_can_not_be_one_is_refused(self):
        self.machine()
        text = (self.folder / "m.vbox").read_text()
        for change, words in ((lambda store: store[:-4], "not base64 of 250 bytes"), (lambda store: "!" + store[1:], "not base64"), (lambda store: "A" + store[1:], "magic or version"),
                              (lambda store: "A" * 5000, "5000 characters"), (lambda store: "", "does not say with what key")):
            changed = re.sub(r'(CRYPT/KeyStore" value=")([^"]*)', lambda found: found[1] + change(found[2]), text)
            (self.folder / "m.vbox").write_text(changed)
            code, out, said = self.say("export", "base.vdi#key-file=key", "-")
            self.assertEqual((code, out), (2, b""))
            self.assertIn(words, said)
        for words, store in (("cipher 'XOR' of the key store is not supported", dict(cipher="XOR")), ("wants 4000001000 iterations, the limit is", dict(iterations=1)),
                             ("has a digest of 8 bytes", dict(digest_bytes=8))):
            self.machine(**store)
            if "iterations" in words:
                self.patch_iterations(4000000000)
            code, out, said = self.say("export", "base.vdi#key-file=key", "-")
            self.assertEqual((code, out), (2, b""))
            self.assertIn(words, said)

    def patch_iterations(self, count):
        import base64
        import struct
        path = self.folder / "m.vbox"
        store = re.search(r'CRYPT/KeyStore" value="([^"]*)', path.read_text())[1]
        record = bytearray(base64.b64decode(store.replace("&#13;&#10;", "")))
        struct.pack_into("<I", record, 178, count)
        path.write_text(path.read_text().replace(store, base64.b64encode(record).decode()))

    def test_a_key_for_what_is_not_encrypted_is_refused(self):
        image = Vdi(MIB, block_size=MIB // 4)
        image.save(self.folder / "plain.vdi")
        (self.folder / "key").write_bytes(b"x")
        code, _, said = self.say("export", "plain.vdi#key-file=key", "-")
        self.assertEqual(code, 2)
        self.assertIn("the key 'key-file' does not apply", said)


if __name__ == "__main__":
    harness.main()
