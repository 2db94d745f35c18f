#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Encrypted qcow2 images that QEMU wrote, compared with what qemu-img reads from them."""
import json
import os
import unittest

import harness
import luks
import tsk
from harness import run

MIB = 1 << 20
SIZE = 4 * MIB

# Mode, hash and bytes of the key; each is read and written by QEMU.
KINDS = [("xts-plain64", "sha256", 64), ("xts-plain64", "sha1", 32), ("xts-plain", "sha512", 64), ("xts-essiv:sha256", "sha256", 64),
         ("cbc-plain64", "sha256", 32), ("cbc-plain", "sha1", 16), ("cbc-essiv:sha256", "sha256", 32), ("cbc-essiv:sha256", "sha512", 16),
         ("ctr-plain64", "sha256", 32), ("ecb-plain64", "sha384", 16)]


class Encrypted(harness.FolderTest):
    template = None

    def setUp(self):
        super().setUp()
        self.image = self.folder / "disk.qcow2"
        self.key = self.write("pass", b"correct horse")
        self.environment = {name: value for name, value in os.environ.items() if name != "VDISK_KEY_FILE"}

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def create_by_qemu(self, *options, open_backing=True):
        run("qemu-img", "create", "-q", *([] if open_backing else ["-u"]), "-f", "qcow2", "--object", f"secret,id=s,file={self.key}", "-o",
            ",".join(["encrypt.key-secret=s", *options]), self.image, SIZE)

    def create(self, mode="xts-plain64", hash_name="sha256", key_bytes=64, passphrases=None, image=None):
        """An image with a header that this test wrote, on top of one with enough room for any."""
        if Encrypted.template is None:
            self.create_by_qemu("encrypt.format=luks", "encrypt.iter-time=10")
            Encrypted.template = self.image.read_bytes()
        image = image or self.image
        image.write_bytes(Encrypted.template)
        luks.replace_header(image, luks.header(mode, hash_name, key_bytes, passphrases or {0: self.key.read_bytes()}))

    def options(self, image, key=None, method="luks"):
        return ["--object", f"secret,id=s,file={key or self.key}", "--image-opts",
                f"driver=qcow2,file.driver=file,file.filename={image},encrypt.format={method},encrypt.key-secret=s"]

    def fill(self, image=None, method="luks", key=None):
        """Random writes: whole clusters, single sectors, zeros and holes."""
        image = image or self.image
        source = self.write("source", self.random_bytes(SIZE))
        commands = []
        for _ in range(12):
            length = self.random.choice([512, 4096, 70000 // 512 * 512, 300 << 10])
            at = self.random.randrange((SIZE - length) // 512) * 512
            commands += ["-c", self.random.choice([f"write -s {source} {at} {length}"] * 4 + [f"write -z {at} {length}"])]
        run("qemu-io", *commands, *self.options(image, key, method))

    def expected(self, image=None, method="luks"):
        raw = self.folder / "expected.raw"
        run("qemu-img", "convert", *self.options(image or self.image, method=method), "-O", "raw", raw)
        return raw

    def check(self, image=None, method="luks", key=None):
        ours = self.folder / "ours.raw"
        run(harness.VDISK, "export", "--force", f"{image or self.image}#key-file={key or self.key}", ours, env=self.environment)
        self.assert_same_file(ours, self.expected(image, method))

    def info(self, status):
        return json.loads(run(harness.VDISK, "info", "--json", self.image, status=status, env=self.environment))

    def refusal(self, selector="", **environment):
        out = self.folder / "none.raw"
        status, _, message = harness.outcome(harness.VDISK, "export", f"{self.image}{selector}", out, env=self.environment | environment)
        self.assertEqual(status, 2)
        self.assertFalse(out.exists())
        return message

    def test_modes_generators_hashes_and_key_lengths(self):
        for mode, hash_name, key_bytes in KINDS:
            with self.subTest(mode=mode, hash=hash_name, key_bytes=key_bytes):
                self.create(mode, hash_name, key_bytes)
                self.fill()
                self.check()

    def test_headers_that_qemu_img_wrote(self):
        for cipher in ["aes-192", "aes-256"]:
            with self.subTest(cipher=cipher):
                self.create_by_qemu("encrypt.format=luks", f"encrypt.cipher-alg={cipher}", "encrypt.iter-time=10", "cluster_size=4096")
                self.fill()
                self.check()

    def test_every_slot_opens_the_image(self):
        keys = [self.write(f"pass{slot}", f"passphrase {slot}".encode()) for slot in range(8)]
        self.create(passphrases={slot: key.read_bytes() for slot, key in enumerate(keys)})
        self.fill(key=keys[3])
        self.key = keys[0]
        for key in keys:
            self.check(key=key)
        slots = self.info(1)["encryption"]["key_slots"]
        self.assertEqual([slot["active"] for slot in slots], [True] * 8)

    def test_the_only_slot_can_be_the_last(self):
        self.create(passphrases={7: self.key.read_bytes()})
        self.fill()
        self.check()
        self.assertEqual([slot["slot"] for slot in self.info(1)["encryption"]["key_slots"] if slot["active"]], [7])

    def test_the_old_method(self):
        for passphrase in [b"short", b"longer than sixteen bytes"]:
            self.key = self.write("pass", passphrase)
            self.create_by_qemu("encrypt.format=aes")
            self.fill(method="aes")
            self.check(method="aes")

    def test_a_newline_at_the_end_of_the_key_file_may_be_part_of_it_or_not(self):
        for stored in [b"line", b"line\n"]:
            self.create(passphrases={0: stored})
            self.key = self.write("pass", stored)
            self.fill()
            self.check(key=self.write("typed", b"line\n"))
        self.assertIn("opens none", self.refusal(f"#key-file={self.write('typed', b'line')}"))

    def test_without_the_passphrase_nothing_is_exported_and_info_still_tells(self):
        self.create("cbc-essiv:sha256", "sha512", 32)
        self.fill()
        self.assertIn("key-file", self.refusal())
        wrong = self.write("wrong", b"incorrect horse")
        self.assertIn("opens none of the LUKS key slots", self.refusal(f"#key-file={wrong}"))
        self.assertIn("opens none of the LUKS key slots", self.refusal(VDISK_KEY_FILE=str(wrong)))
        self.assertIn("no-such-file", self.refusal("#key-file=no-such-file"))
        facts = self.info(1)["encryption"]
        self.assertEqual((facts["method"], facts["cipher"], facts["mode"], facts["hash"], facts["key_bits"]),
                         ("luks", "aes", "cbc-essiv:sha256", "sha512", 256))

    def test_the_environment_can_name_the_key_file(self):
        self.create()
        self.fill()
        ours = self.folder / "ours.raw"
        run(harness.VDISK, "export", self.image, ours, env=self.environment | {"VDISK_KEY_FILE": str(self.key)})
        self.assert_same_file(ours, self.expected())

    def test_ciphers_that_are_not_read_are_listed_and_refused_by_name(self):
        self.create()
        offset, _ = luks.header_area(self.image)
        with open(self.image, "r+b") as file:
            file.seek(offset + 8)
            file.write(b"serpent\0")
        self.assertIn("serpent-xts-plain64", self.refusal(f"#key-file={self.key}"))
        self.assertEqual(self.info(1)["encryption"]["cipher"], "serpent")

    def test_each_layer_of_a_chain_takes_its_own_key(self):
        base, base_key = self.folder / "base.qcow2", self.write("base-pass", b"another")
        self.create(image=base, passphrases={0: b"another"})
        self.fill(base, key=base_key)
        below = self.folder / "below.raw"
        run("qemu-img", "convert", *self.options(base, base_key), "-O", "raw", below)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, self.image, SIZE)
        ours = self.folder / "ours.raw"
        run(harness.VDISK, "export", f"{self.image}#backing={base}#key-file={base_key}", ours, env=self.environment)
        self.assert_same_file(ours, below)
        self.assertIn("encrypted", self.refusal(f"#key-file={base_key}"))

    def test_two_encrypted_layers_have_two_keys(self):
        base, base_key = self.folder / "base.qcow2", self.write("base-pass", b"another")
        self.create(image=base, passphrases={0: b"another"})
        self.fill(base, key=base_key)
        self.create_by_qemu("encrypt.format=luks", "encrypt.iter-time=10", f"backing_file={base}", "backing_fmt=qcow2", open_backing=False)
        secrets = ["--object", f"secret,id=s,file={self.key}", "--object", f"secret,id=b,file={base_key}"]
        whole = ["--image-opts", f"driver=qcow2,file.driver=file,file.filename={self.image},encrypt.format=luks,encrypt.key-secret=s,"
                 "backing.encrypt.format=luks,backing.encrypt.key-secret=b"]
        run("qemu-io", "-c", "write -P 7 100k 50k", "-c", "write -z 1M 64k", *secrets, *whole)
        raw, ours = self.folder / "expected.raw", self.folder / "ours.raw"
        run("qemu-img", "convert", *secrets, *whole, "-O", "raw", raw)
        run(harness.VDISK, "export", f"{self.image}#key-file={self.key},backing={base}#key-file={base_key}", ours, env=self.environment)
        self.assert_same_file(ours, raw)

    def test_subclusters_can_be_encrypted(self):
        self.create_by_qemu("encrypt.format=luks", "encrypt.iter-time=10", "extended_l2=on", "cluster_size=64k")
        self.fill()
        self.check()

    def test_snapshots_are_read_with_the_key_of_their_image(self):
        self.create()
        self.fill()
        before = self.expected().read_bytes()
        run("qemu-img", "snapshot", "-c", "before", *self.options(self.image))
        self.fill()
        self.assertNotEqual(self.expected().read_bytes(), before)
        self.check()
        ours = self.folder / "snapshot.raw"
        run(harness.VDISK, "export", f"{self.image}#snapshot=before,key-file={self.key}", ours, env=self.environment)
        self.assertEqual(ours.read_bytes(), before)
        self.assertIn("key-file", self.refusal("#before"))

    def test_the_sleuth_kit_reads_through_a_key_file(self):
        tsk.require_plugin()
        tree = self.folder / "tree"
        tree.mkdir()
        tsk.make_tree(tree, 40, self.random)
        raw = self.folder / "disk.raw"
        tsk.make_ext4(raw, SIZE, tree)
        listing = run("fls", "-r", "-p", raw)
        for create, method in [(lambda: self.create("cbc-essiv:sha256", "sha256", 32), "luks"),
                               (lambda: self.create_by_qemu("encrypt.format=aes"), "aes")]:
            create()
            run("qemu-img", "convert", "-n", "-f", "raw", *self.options(self.image, method=method)[:2], "--target-image-opts", raw,
                self.options(self.image, method=method)[3])
            selector = f"{self.image}#key-file={self.key}"
            self.assertEqual(tsk.with_plugin("fls", "-r", "-p", "-i", "qcow2", selector), listing)
            self.assertEqual(tsk.with_plugin("img_cat", selector), raw.read_bytes())
            self.assertEqual(run("fls", "-r", "-p", self.image, env=tsk.plugin_environment(VDISK_KEY_FILE=str(self.key))), listing)
            status, output, message = tsk.outcome_with_plugin("fls", self.image)
            self.assertEqual((status, output), (1, b""))
            self.assertIn("key-file", message)

    def test_hostile_counts_are_refused_at_once(self):
        self.create()
        offset, _ = luks.header_area(self.image)
        whole = self.image.read_bytes()
        for at, what in [(108, "key length"), (164, "iterations"), (208 + 4, "iterations"), (208 + 44, "stripes")]:
            with self.subTest(at=at):
                self.image.write_bytes(whole[:offset + at] + b"\xff\xff\xff\xff" + whole[offset + at + 4:])
                self.assertIn(what, self.refusal(f"#key-file={self.key}"))


if __name__ == "__main__":
    if not harness.have("qemu-img"):
        raise SystemExit(77)
    unittest.main()
