#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What --json prints is what vdisk-json(5) promises: every command, over images of every kind, against the schema."""
import json
import re
import unittest
import uuid

try:
    import jsonschema
except ImportError:
    jsonschema = None

import harness
import tsk
import vmgs
from harness import BUILD, FIXTURES, SOURCE, VDISK, outcome, run

HVCONFIG = str(BUILD / "hvconfig")
DIFF_FILES = BUILD / "vdisk-diff-files"
SCHEMA = json.loads((SOURCE / "share" / "vdisk-json.schema.json").read_text())
MIB = 1 << 20


def commands_of(program):
    section = re.search(r"^Commands:\n(.*?)^\n?$", run(program, "--help").decode(), re.MULTILINE | re.DOTALL).group(1)
    return set(re.findall(r"^  ([a-z-]+) ", section, re.MULTILINE)) - {"help"}


def sampled(value):
    """The same with the ends of long lists alone: thousands of rows of one map are made by one line of code."""
    if isinstance(value, list):
        return [sampled(each) for each in (value if len(value) <= 200 else value[:100] + value[-100:])]
    return {key: sampled(each) for key, each in value.items()} if isinstance(value, dict) else value


@unittest.skipUnless(jsonschema, "needs python3-jsonschema")
class JsonInterface(harness.FolderTest):
    used = set()

    @classmethod
    def setUpClass(cls):
        jsonschema.Draft7Validator.check_schema(SCHEMA)

    def check(self, definition, *command, statuses=(0, 1)):
        """The object that a command prints, which must be as the schema has it; None where it prints nothing."""
        status, out, error = outcome(*command, cwd=self.folder)
        self.assertIn(status, statuses, error)
        self.used.add(definition)
        if not out and status == 2:
            return None
        told = json.loads(out)
        schema = {"$ref": f"#/definitions/{definition}", "definitions": SCHEMA["definitions"]}
        with self.subTest(command=[str(word) for word in command]):
            jsonschema.Draft7Validator(schema).validate(sampled(told))
            for each in told if isinstance(told, list) else [told]:
                self.assertEqual(next(iter(each)), "vdisk_json")
        return told

    def check_every_command(self, image):
        """What is said of an image whatever it is; a command that does not apply to it ends with 2 and prints nothing."""
        anyway = (0, 1, 2)
        info = self.check("info", VDISK, "info", "--json", image)
        listed = self.check("ls", VDISK, "ls", "--json", image)
        self.assertEqual([disk["kind"] for disk in info["disks"]], [disk["kind"] for disk in listed["disks"]])
        for disk in listed["disks"]:
            self.check("info", VDISK, "info", "--json", disk["selector"], statuses=anyway)
            self.check("hash", VDISK, "hash", "--json", "--container", "-a", "md5", disk["selector"], statuses=anyway)
            self.check("export", VDISK, "export", "--json", "--force", "--hash", "sha1", disk["selector"], "raw", statuses=anyway)
            self.check("map", VDISK, "map", "--json", disk["selector"], statuses=anyway)
            self.check("diff", VDISK, "diff", "--json", "--content", disk["selector"], listed["disks"][0]["selector"], statuses=anyway)
        self.check("report", VDISK, "audit", "--json", image, statuses=anyway)
        self.check("report", VDISK, "verify", "--json", image, statuses=anyway)
        self.check("leaked", VDISK, "leaked", "--json", "--force", image, "out", statuses=anyway)
        self.check("config_list", VDISK, "config", "--list", "--json", image, statuses=anyway)
        for config in listed.get("configurations", []):
            self.check("config", VDISK, "config", "--json", image, config["name"], statuses=anyway)
        for bitmap in info.get("bitmaps", []):
            self.check("bitmap", VDISK, "bitmap", "--json", image, bitmap["name"], statuses=anyway)
        if any(disk["kind"] != "memory" for disk in listed["disks"]):
            told = self.check("ref", VDISK, "ref", "--force", "--json", image, statuses=anyway)
            for row in told["references"] if told else []:
                self.check("ref", VDISK, "ref", "--check", "--json", row["reference"])

    def test_qcow2(self):
        run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / "base.qcow2", MIB)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", self.folder / "disk.qcow2")
        run("qemu-img", "bitmap", "--add", self.folder / "disk.qcow2", "since")
        run("qemu-io", "-c", "write -q -P 1 0 128k", self.folder / "disk.qcow2")
        run("qemu-img", "snapshot", "-c", "one \u00e4, two", self.folder / "disk.qcow2")
        self.check_every_command("disk.qcow2")
        told = self.check("info", VDISK, "info", "--json", "disk.qcow2")
        self.assertEqual([layer["file"] for layer in told["chain"]], ["disk.qcow2", "./base.qcow2"])
        self.assertRegex(told["disks"][1]["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{9})?Z$")
        self.check("map", VDISK, "map", "--json", "--at", 0, "disk.qcow2")
        self.check("diff", VDISK, "diff", "--json", "disk.qcow2", "base.qcow2")
        (self.folder / "base.qcow2").unlink()
        self.check("info", VDISK, "info", "--json", "disk.qcow2", statuses=(1,))
        self.check("ref", VDISK, "ref", "--check", "--json", "disk.vdisk", statuses=(2,))

    def test_each_fixture(self):
        paths = [path for folder in ("qcow2", "vma") for path in sorted((FIXTURES / folder).iterdir())]
        paths += sorted((FIXTURES / "vma" / "damaged").iterdir())[::9]
        images = [path for path in paths if path.is_file() and path.stat().st_size < MIB and outcome(VDISK, "ls", path)[0] == 0]
        self.assertGreater(len(images), 10)
        for path in images:
            self.check_every_command(path)

    def test_disks_of_the_other_formats(self):
        for manifest in sorted(set(FIXTURES.glob("*/MANIFEST.json")) - {FIXTURES / "hyperv/MANIFEST.json"}):
            cases = json.loads(manifest.read_text()).get("cases", [])
            for form, kind in sorted({(case["format"], case["kind"]) for case in cases if case["kind"] != "hostile"}):
                case = next(each for each in cases if (each["format"], each["kind"]) == (form, kind))
                for name in case["files"]:
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    run("zstd", "-d", "-q", "-f", "--sparse", manifest.parent / case["name"] / f"{name}.zst", "-o", self.folder / name)
                top = self.folder / case["top"]
                if top.is_file() and top.stat().st_size < 64 * MIB:
                    self.check_every_command(case["top"])

    def test_encrypted(self):
        (self.folder / "key").write_text("secret")
        run("qemu-img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={self.folder}/key",
            "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", self.folder / "disk.qcow2", MIB)
        self.check("info", VDISK, "info", "--json", "disk.qcow2", statuses=(1,))
        self.check_every_command("disk.qcow2#key-file=key")

    def test_raw_and_compressed(self):
        (self.folder / "disk.raw").write_bytes(bytes(MIB))
        run("gzip", "-k", self.folder / "disk.raw")
        self.check("info", VDISK, "info", "-f", "raw", "--json", "disk.raw")
        self.check("info", VDISK, "info", "-f", "rawz", "--json", "disk.raw.gz")
        self.check("report", VDISK, "verify", "-f", "raw", "--json", "disk.raw")

    def test_several_images_are_a_line_each(self):
        for name in ("a.qcow2", "b.qcow2"):
            run("qemu-img", "create", "-q", "-f", "qcow2", self.folder / name, MIB)
        for command, definition in (("info", "info"), ("ls", "ls"), ("hash", "hash"), ("audit", "report"), ("verify", "report")):
            lines = run(VDISK, command, "--json", "a.qcow2", "b.qcow2", cwd=self.folder).splitlines()
            self.assertEqual(len(lines), 2)
            for line in lines:
                jsonschema.Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": SCHEMA["definitions"]}).validate(json.loads(line))
        (self.folder / "list").write_bytes(run(VDISK, "hash", "--container", "a.qcow2", cwd=self.folder) + b"MD5 (gone) = 00\n")
        self.check("hash_check", VDISK, "hash", "--check", "--json", "list")

    @unittest.skipUnless(DIFF_FILES.exists(), "built without libtsk")
    def test_changed_files(self):
        states = [self.folder / f"{number}.raw" for number in range(3)]
        for number, state in enumerate(states):
            tree = self.folder / f"tree{number}"
            tree.mkdir()
            (tree / f"file{number // 2}").write_text(str(number))
            tsk.make_ext4(state, 8 * MIB, tree)
        told = self.check("diff_files", DIFF_FILES, "--json", *states[:2])
        self.assertTrue(told["file_systems"][0]["changes"])
        for line in run(DIFF_FILES, "--json", *states, status=1).splitlines():
            definition = "diff_files_series" if b'"states"' in line else "diff_files"
            self.used.add(definition)
            jsonschema.Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": SCHEMA["definitions"]}).validate(json.loads(line))

    def test_hyper_v(self):
        files = [path for path in sorted((FIXTURES / "hyperv").iterdir()) if path.suffix in (".vmcx", ".vmrs", ".vsv") and path.stat().st_size < MIB]
        self.assertGreater(len(files), 10)
        anyway = (0, 1, 2)
        for path in files:
            for command, definition in (("info", "hvconfig_facts"), ("disks", "hvconfig_facts"), ("verify", "hvconfig_verify"),
                                        ("dump", "hvconfig_dump"), ("deleted", "hvconfig_deleted")):
                self.check(definition, HVCONFIG, command, "--json", path, statuses=anyway)
            self.check("hvconfig_diff", HVCONFIG, "diff", "--json", path, files[0], statuses=anyway)
            self.check("hvconfig_memory", HVCONFIG, "memory", "--json", "--force", path, "out", statuses=anyway)
        for command, definition in (("info", "hvconfig_facts"), ("disks", "hvconfig_facts"), ("verify", "hvconfig_verify")):
            for line in outcome(HVCONFIG, command, "--json", *files[:3])[1].splitlines():
                jsonschema.Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": SCHEMA["definitions"]}).validate(json.loads(line))
        state = self.folder / "m.vmgs"
        for image in (vmgs.state({1: vmgs.variable("db", str(uuid.uuid4()), b"x"), 3: b"tpm"}, {3}, algorithm=1, keys=(b"n" * 12, None)), vmgs.old_state(b"state")):
            state.write_bytes(image)
            told = self.check("hvconfig_guest_state", HVCONFIG, "guest-state", "--json", state)
        self.check("hvconfig_guest_state_extract", HVCONFIG, "guest-state", "--json", "--force", "--extract", "0", "-o", self.folder / "out", state)
        told = self.check("hvconfig_get", HVCONFIG, "get", "--json", FIXTURES / "hyperv" / "vm-realistic.vmcx", "/configuration/properties")
        self.assertTrue(any(key["path"].endswith("/name") for key in told["keys"]), told)

    def test_zz_every_command_and_every_definition_was_checked(self):
        parts = {"version", "count", "lost", "time", "digests", "parts", "distrusted", "facts", "fact", "disk", "disks", "layer", "configuration", "hvconfig_key", "hvconfig_findings", "changed_file"}
        if not DIFF_FILES.exists():
            parts |= {"diff_files", "diff_files_series"}
        self.assertEqual(self.used, set(SCHEMA["definitions"]) - parts)
        for program, without in ((VDISK, {"mount", "report"}), (HVCONFIG, set())):
            for command in commands_of(program) - without:
                self.assertIn(b" --json ", run(program, command, "--help"), command)

    def test_the_manual_names_every_key_of_the_schema(self):
        page = (SOURCE / "man" / "vdisk-json.5").read_text()
        words = set(re.findall(r"[a-z0-9_]+", page))
        def keys(node):
            if isinstance(node, dict):
                for name, value in node.items():
                    if name == "properties":
                        yield from value
                    yield from keys(value)
        self.assertEqual(set(keys(SCHEMA)) - words - {"date", "created", "damaged"}, set())


if __name__ == "__main__":
    harness.main()
