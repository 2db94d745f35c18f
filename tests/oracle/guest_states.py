#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hvconfig guest-state against files of a builder that shares nothing with it."""
import json

import harness
import vmgs
from harness import outcome, run

HVCONFIG = str(harness.BUILD / "hvconfig")
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"


class GuestStates(harness.FolderTest):
    def setUp(self):
        super().setUp()
        self.variables = (vmgs.variable("BootOrder", GLOBAL, b"\0\0\1\0") + vmgs.variable("Grün ☃", GLOBAL, b"", 0x102)
                          + vmgs.variable("db", SECURITY, self.random_bytes(3000), 0x27, (2024, 2, 29, 23, 59, 58)))
        self.files = {1: self.variables, 3: self.random_bytes(20000), 4: b"", 7: self.random_bytes(16), 40: b"?" * 4097}
        self.path = self.folder / "m.vmgs"

    def told(self, image, status=0):
        self.path.write_bytes(image)
        code, out, said = outcome(HVCONFIG, "guest-state", "--json", self.path)
        self.assertEqual(code, status, said)
        return json.loads(out), said

    def test_files_variables_and_tpm(self):
        told, _ = self.told(vmgs.state(self.files))
        self.assertEqual((told["version"], told["active_header_copy"], told["because"], told["encryption"], told["keys"]),
                         ("3.0", 2, "its sequence 6 follows the other's 5", "none", []))
        self.assertEqual({each["id"]: (each["name"], each["size"], each["encrypted"]) for each in told["files"]},
                         {0: ("FILE_TABLE", 4096, False), 1: ("BIOS_NVRAM", len(self.variables), False), 3: ("TPM_NVRAM", 20000, False),
                          4: ("RTC_SKEW", 0, False), 7: ("VM_UNIQUE_ID", 16, False), 40: ("40", 4097, False)})
        self.assertEqual([(each["name"], each["vendor"], each["attributes"], each["size"], each.get("time")) for each in told["uefi_variables"]],
                         [("BootOrder", GLOBAL, "NV+BS+RT", 4, None), ("Grün ☃", GLOBAL, "BS+0x100", 0, None),
                          ("db", SECURITY, "NV+BS+RT+AT", 3000, "2024-02-29T23:59:58")])
        self.assertEqual(told["tpm_state"], "20000 bytes")
        text = run(HVCONFIG, "guest-state", self.path).decode()
        for words in ("active header copy: 2\n", "because: its sequence", "TPM state: 20000 bytes\n", "name BootOrder, vendor 8be4df61"):
            self.assertIn(words, text)

    def test_each_file_is_extracted_byte_for_byte(self):
        for sector in (512, 4096):
            self.path.write_bytes(vmgs.state(self.files, sector=sector))
            for number, content in self.files.items():
                self.assertEqual(run(HVCONFIG, "guest-state", "--extract", number, "-o", "-", self.path), content)
            out = self.folder / f"out{sector}"
            run(HVCONFIG, "guest-state", "--extract", "tpm_nvram", "-o", out, self.path)
            self.assertEqual(out.read_bytes(), self.files[3])
            code, _, said = outcome(HVCONFIG, "guest-state", "--extract", 7, "-o", out, self.path)
            self.assertEqual((code, out.read_bytes()), (2, self.files[3]), said)
            told = json.loads(run(HVCONFIG, "guest-state", "--json", "--force", "--extract", 7, "-o", out, self.path))
            self.assertEqual((told["id"], told["size"], out.read_bytes()), (7, 16, self.files[7]))

    def test_nothing_is_written_onto_the_evidence(self):
        image = vmgs.state(self.files)
        self.path.write_bytes(image)
        (self.folder / "link").hardlink_to(self.path)
        for name in ("m.vmgs", "link", "./m.vmgs"):
            code, _, said = outcome(HVCONFIG, "guest-state", "--force", "--extract", 7, "-o", name, "m.vmgs", cwd=self.folder)
            self.assertEqual(code, 2)
            self.assertIn("nothing is written onto what is read", said)
        for words in (["--extract", "8"], ["--extract", "NO_SUCH"]):
            self.assertIn("has no file", outcome(HVCONFIG, "guest-state", *words, "-o", "out", self.path, cwd=self.folder)[2])
        self.assertIn("--extract is for use with --output only", outcome(HVCONFIG, "guest-state", "--extract", "7", self.path)[2])
        self.assertEqual(self.path.read_bytes(), image)
        self.assertFalse((self.folder / "out").exists())

    def test_encrypted_files_are_said_to_be_so_and_not_given(self):
        told, said = self.told(vmgs.state(self.files, {1, 3}, algorithm=1, keys=(None, b"0123456789ab")))
        self.assertEqual((told["encryption"], told["keys"], said), ("AES-GCM", [{"place": 2, "nonce": b"0123456789ab".hex()}], ""))
        self.assertEqual([each["nonce"] for each in told["files"] if each["encrypted"]], ["01" * 12, "03" * 12])
        self.assertEqual(told["tpm_state"], "20000 bytes, encrypted")
        self.assertNotIn("uefi_variables", told)
        code, out, said = outcome(HVCONFIG, "guest-state", "--extract", 3, "-o", "-", self.path)
        self.assertEqual((code, out), (2, b""))
        self.assertIn("is encrypted, and the key is not in the guest state", said)

    def test_damage_is_told_and_costs_only_itself(self):
        image = vmgs.state(self.files)
        image[512 + 20] ^= 1
        told, said = self.told(image, status=1)
        self.assertEqual((told["active_header_copy"], told["because"]), (1, "the other copy is damaged"))
        self.assertIn("header copy 2 at offset 512: checksum mismatch", said)
        image = vmgs.state(self.files)
        image[2 * 4096 + 3 * 64:2 * 4096 + 3 * 64 + 4] = b"\xff\xff\0\0"
        told, said = self.told(image, status=1)
        self.assertIn("end behind the file's", said)
        self.assertEqual((told["tpm_state"], len(told["uefi_variables"])), ("damaged", 3))
        self.assertEqual(run(HVCONFIG, "guest-state", "--extract", 7, "-o", "-", self.path, status=1), self.files[7])
        self.assertEqual(outcome(HVCONFIG, "guest-state", "--extract", 3, "-o", "-", self.path)[:2], (2, b""))
        broken = self.files | {1: self.variables[:-1]}
        told, said = self.told(vmgs.state(broken), status=1)
        self.assertEqual(len(told["uefi_variables"]), 2)
        self.assertIn("UEFI variables: the record at offset", said)

    def test_each_tool_names_the_other(self):
        self.path.write_bytes(vmgs.state(self.files))
        code, _, said = outcome(harness.VDISK, "info", self.path)
        self.assertEqual((code, said.count("\n")), (2, 1))
        self.assertIn("m.vmgs: is a Hyper-V guest state, which is not read here; hvconfig reads it", said)
        run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / "disk.qcow2", "1M")
        self.assertIn("'vdisk info' reads it", outcome(HVCONFIG, "guest-state", self.folder / "disk.qcow2")[2])
        self.assertIn("not a HyperVStorage file but a guest state, which 'hvconfig guest-state' reads", outcome(HVCONFIG, "info", self.path)[2])

    def test_the_old_version_has_one_file(self):
        content = self.random_bytes(3000)
        told, _ = self.told(vmgs.old_state(content))
        self.assertEqual((told["version"], told["active_header_copy"]), ("1.0", 2))
        self.assertEqual([(each["id"], each["size"]) for each in told["files"]], [(0, 3000)])
        self.assertEqual(run(HVCONFIG, "guest-state", "--extract", 0, "-o", "-", self.path), content)
        other = vmgs.old_state(content)
        other[1024 + 128] ^= 1
        self.path.write_bytes(other)
        self.assertIn("none is of a guest state's type", outcome(HVCONFIG, "guest-state", self.path)[2])

    def test_every_cut_and_many_flips_end_in_a_line_each(self):
        image = bytes(vmgs.state({1: self.variables, 3: b"x" * 100}, capacity=6))
        for _ in range(60):
            changed = bytearray(image)
            for _ in range(3):
                changed[self.random.choice([self.random.randrange(680), self.random.randrange(8192, 8192 + 256), self.random.randrange(12288, len(image))])] ^= 1 << self.random.randrange(8)
            self.path.write_bytes(changed[:self.random.choice([len(image), self.random.randrange(len(image))])])
            code, out, said = outcome(HVCONFIG, "guest-state", "--json", self.path, timeout=20)
            self.assertIn(code, (0, 1, 2), said)
            self.assertEqual(bool(out), code != 2)
            for line in said.splitlines():
                self.assertTrue(line.startswith("hvconfig: "), line)


if __name__ == "__main__":
    harness.main()
