#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is built: hardened as the distribution asks for, and with a bill of materials that names what it is linked to."""
import hashlib
import json
import os
import re
import subprocess
import sys
import unittest

import harness
from harness import BUILD, SOURCE, outcome, run

PROGRAMS = [path for name in ("vdisk", "hvconfig", "vdisk-diff-files", "lib/.libs/libvdisk.so", "tsk_plugin/.libs/libtsk_vdisk.so",
                              "nbdkit/.libs/nbdkit-vdisk-plugin.so", "vhdi_door/libvhdi_vdisk.so", "tsk_plugin/proxy.template")
            if (path := BUILD / name).exists()]
OF_THE_SYSTEM = ("ld-linux", "libc.", "libm.", "libgcc_s.", "libstdc++.")


@unittest.skipIf(harness.preloaded_sanitizers(BUILD / "vdisk"), "what is built for sanitizers is installed nowhere")
class BuiltPrograms(unittest.TestCase):
    @unittest.skipUnless(harness.have("hardening-check"), "needs devscripts")
    def test_they_are_hardened(self):
        self.assertGreater(len(PROGRAMS), 3)
        for path in PROGRAMS:
            with self.subTest(path.name):
                # The rows that need every object of the C library's to be marked are not Debian 12's own programs' either.
                small = ["--nostackprotector"] if path.name == "proxy.template" else []
                _, said, _ = outcome("hardening-check", "--nocfprotection", *small, path)
                rows = dict(re.findall(r"^ (.*?): (.*)$", said.decode(), re.MULTILINE))
                self.assertTrue(rows["Position Independent Executable"].startswith(("yes", "no, regular shared library")), rows)
                for row in ("Fortify Source functions", "Read-only relocations", "Immediate binding", *(() if small else ("Stack protected",))):
                    self.assertTrue(rows[row].startswith("yes"), f"{row}: {rows[row]}")
                self.assertIn("GNU_STACK", run("readelf", "-lW", path).decode())
                self.assertNotRegex(run("readelf", "-lW", path).decode(), r"GNU_STACK.*RWE")

    def test_the_bill_of_materials_names_all_that_they_are_linked_to(self):
        def bill():
            return subprocess.run([sys.executable, SOURCE / "contrib" / "sbom.py", "0.1.0", *PROGRAMS], stdout=subprocess.PIPE, check=True,
                                  env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000")).stdout
        text = bill()
        self.assertEqual(text, bill())
        document = json.loads(text)
        self.assertEqual([document[key] for key in ("spdxVersion", "dataLicense", "SPDXID")], ["SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT"])
        self.assertEqual(document["creationInfo"]["created"], "2023-11-14T22:13:20Z")
        elements = {each["SPDXID"]: each for each in document["packages"] + document["files"]}
        self.assertEqual(len(elements), len(document["packages"]) + len(document["files"]))
        for identifier in elements:
            self.assertRegex(identifier, r"^SPDXRef-[A-Za-z0-9.-]+$")
        for relation in document["relationships"]:
            self.assertIn(relation["spdxElementId"], {"SPDXRef-DOCUMENT", *elements})
            self.assertIn(relation["relatedSpdxElement"], elements)
        for package in document["packages"]:
            self.assertIn("versionInfo", package, package["name"])
        linked = {(relation["spdxElementId"], relation["relatedSpdxElement"]) for relation in document["relationships"]
                  if relation["relationshipType"] == "DYNAMIC_LINK"}
        for path, file in ((path, next(file for file in document["files"] if file["fileName"] == "./" + path.name)) for path in PROGRAMS):
            self.assertEqual(next(sum["checksumValue"] for sum in file["checksums"] if sum["algorithm"] == "SHA256"), hashlib.sha256(path.read_bytes()).hexdigest())
            # As the loader's own tool tells it; placeholders that a script writes over are no libraries.
            needed = re.findall(r"NEEDED +(\S+)", run("objdump", "-p", path).decode())
            others = [name for name in needed if not name.startswith((*OF_THE_SYSTEM, "TSK_VDISK_", "libvdisk."))]
            self.assertEqual(len([pair for pair in linked if pair[0] == file["SPDXID"]]), len(others), f"{path.name}: {others}")


if __name__ == "__main__":
    harness.main()
