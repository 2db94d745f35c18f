#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Datastores of Proxmox Backup Server, sound and damaged, against what their writer says of each. VDISK_PBS_FIXTURES names a folder with
more of them."""
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import unittest

import harness
import tsk
from harness import VDISK, outcome, run

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("VDISK_")}
ENVIRONMENT["VDISK_CACHE_DIR"] = "none"


@functools.cache
def fixtures():
    """The folder with the datastores and their manifest."""
    named = os.environ.get("VDISK_PBS_FIXTURES")
    if named:
        return pathlib.Path(named)
    folder = harness.scratch_for_everyone() / "pbs"
    folder.mkdir()
    archive = harness.FIXTURES / "pbs" / "datastores.tar.zst"
    subprocess.run(f"zstd -dcq '{archive}' | tar -xf - -C '{folder}'", shell=True, check=True)
    return folder


@functools.cache
def manifest():
    return json.loads((fixtures() / "MANIFEST.json").read_text())


def images(**wanted):
    for image in manifest()["images"]:
        if (fixtures() / image["file"]).parent.is_dir() and all(image[key] == value for key, value in wanted.items()):
            yield image


def catalog_entries(content):
    """Kind, size and path of each entry of a catalog."""
    def number(at):
        value = shift = 0
        while True:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    def table(start, above):
        folders = []
        _, at = number(start)
        count, at = number(at)
        for _ in range(count):
            kind = chr(content[at])
            length, at = number(at + 1)
            name = above + content[at:at + length].decode()
            at += length
            size = ""
            if kind == "d":
                distance, at = number(at)
                folders.append((start - distance, name + "/"))
            elif kind == "f":
                size, at = number(at)
                _, at = number(at)
            yield kind, str(size), name
        for folder in folders:
            yield from table(*folder)

    yield from table(int.from_bytes(content[-8:], "little"), "")


def passphrase_of(key):
    for known in manifest()["keys"]:
        if known["file"] == key:
            return known["passphrase_file"]
    return None


def selected(image, key="key"):
    """What opens an image: its path, its key, its chunks."""
    words = []
    if "chunk_folder" in image:
        words.append(f"chunks={fixtures() / image['chunk_folder']}")
    if image[key]:
        words.append(f"key-file={fixtures() / image[key]}")
        if passphrase_of(image[key]):
            words.append(f"passphrase-file={fixtures() / passphrase_of(image[key])}")
    path = str(fixtures() / image["file"])
    return f"{path}#{','.join(words)}" if words else path


def vdisk(*arguments, **keywords):
    return outcome(VDISK, *arguments, env=ENVIRONMENT, **keywords)


class Disks(harness.FolderTest):
    def lost(self, image):
        """The ranges of a disk that can't be read, as its hash tells them; nothing if it does not open."""
        status, said, error = vdisk("hash", "--lost-as-zeros", "--json", "-a", "sha256", selected(image))
        if status == 2:
            return None, None, error
        facts = json.loads(said)
        return [(each["offset"], each["offset"] + each["length"]) for each in facts.get("lost", [])], facts, error

    def test_every_disk_gives_what_its_manifest_says(self):
        tried = 0
        for image in images():
            with self.subTest(image["file"], note=image["note"]):
                if max(image.get("size_by_index") or 0, image.get("size") or 0) >= 1 << 40:  # hours of zeros
                    continue
                lost, facts, error = self.lost(image)
                if image["open"] == "must-not":
                    self.assertIsNone(lost)
                    self.assertIn(image["file"].rsplit("/", 1)[-1], error)
                    continue
                if lost is None:
                    self.assertIn(image["open"], ("may",), error)
                    continue
                tried += 1
                self.check(image, lost, facts)
        self.assertGreater(tried, 80)

    def check(self, image, lost, facts):
        must = [(each["start"], each["end"]) for each in image["unreadable"]]
        may = [(each["start"], each["end"]) for each in image["either"]]
        size = facts["size"]
        for start, end in must:
            # Behind the end of a disk whose index was cut off there is nothing to read. What is zeros by its digest is known.
            known = start >= size or self.is_zeros(image, start, end)
            self.assertTrue(known or any(a <= start and end <= b for a, b in merged(lost)), (must, lost))
        for start, end in lost:
            self.assertTrue(any(a <= start and min(end, image["size"]) <= b for a, b in merged(must + may)) or start >= image["size"],
                            (must, may, lost))
        if size == image["size"] and not may:
            expected = image["sha256_zero_filled"] if lost else image["sha256"]
            self.assertEqual(facts["hashes"]["sha256"], expected)

    @staticmethod
    def is_zeros(image, start, end):
        length = image.get("chunk_size")
        return bool(length) and all(number in image.get("zero_chunks", []) for number in range(start // length, -(-end // length)))

    def test_reads_of_parts(self):
        for image in images(**{"class": "good"}):
            target = self.folder / "disk.raw"
            vdisk("export", selected(image), target)
            content = target.read_bytes()
            target.unlink()
            for spot in image["spot_reads"]:
                piece = content[spot["offset"]:spot["offset"] + spot["length"]]
                self.assertEqual(hashlib.sha256(piece).hexdigest(), spot["sha256"], image["file"])

    def test_wrong_keys_are_told_before_anything_is_read(self):
        for case in manifest()["wrong_keys"]:
            if not (fixtures() / case["file"]).exists():
                continue
            status, said, error = vdisk("hash", selected(case))
            self.assertEqual((status, said), (2, b""), case)
            self.assertIn("b4:61:fd:89", error)
            self.assertEqual(len(error.splitlines()), 1, error)

    def test_a_wrong_passphrase_is_told_with_the_fingerprint(self):
        for image in images():
            if not passphrase_of(image["key"] or ""):
                continue
            wrong = self.folder / "wrong.pass"
            wrong.write_text("not the passphrase\n")
            status, _, error = vdisk("hash", f"{fixtures() / image['file']}#key-file={fixtures() / image['key']},passphrase-file={wrong}")
            self.assertEqual(status, 2)
            self.assertRegex(error, "passphrase is not that of the key [0-9a-f:]{95}")
            status, _, error = vdisk("hash", f"{fixtures() / image['file']}#key-file={fixtures() / image['key']}")
            self.assertEqual(status, 2)
            self.assertIn("VDISK_PASSPHRASE_FILE", error)

    def test_keys_from_the_environment(self):
        for image in images():
            if not passphrase_of(image["key"] or ""):
                continue
            environment = ENVIRONMENT | {"VDISK_KEY_FILE": str(fixtures() / image["key"]),
                                         "VDISK_PASSPHRASE_FILE": str(fixtures() / passphrase_of(image["key"]))}
            said = run(VDISK, "hash", "--json", "-a", "sha256", fixtures() / image["file"], env=environment)
            self.assertEqual(json.loads(said)["hashes"]["sha256"], image["sha256"])
            written = run(VDISK, "ref", "-d", self.folder, fixtures() / image["file"], env=environment).decode().strip()
            said = run(VDISK, "hash", "--json", "-a", "sha256", written)
            self.assertEqual(json.loads(said)["hashes"]["sha256"], image["sha256"])


def merged(ranges):
    """Ranges of which none touches another."""
    result = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


class Containers(harness.FolderTest):
    def snapshots(self):
        for snapshot in manifest()["snapshots"]:
            if (fixtures() / snapshot["path"]).is_dir():
                yield snapshot

    def test_every_snapshot_lists_its_disks_and_tells_its_manifest(self):
        for snapshot in self.snapshots():
            with self.subTest(snapshot["path"]):
                folder = fixtures() / snapshot["path"]
                status, said, error = vdisk("info", "--json", folder)
                self.assertIn(status, (0, 1), error)
                facts = json.loads(said)
                there = sorted(path.name for path in folder.iterdir() if path.name.endswith(".fidx"))
                self.assertEqual(sorted(disk["id"] for disk in facts["disks"]), there)
                self.assertEqual(facts["protected"], snapshot["protected"])
                if snapshot["manifest"] not in ("ok", "signature wrong"):
                    continue
                self.assertEqual(facts["backup"], f"{snapshot['backup_type']}/{snapshot['backup_id']}")
                self.assertEqual(facts["signed"], snapshot["signed"])
                self.assertEqual(facts.get("key_fingerprint"), snapshot["key_fingerprint"])
                self.assertEqual(facts.get("verification"), snapshot["verify_state"])
                self.assertEqual(facts.get("notes") is None, snapshot["notes"] is None)

    def test_a_datastore_lists_every_snapshot_and_each_disk_is_selected_by_its_name(self):
        for store in ("store", "parts/s3-bucket/store1", "parts/renamed", "variants"):
            root = fixtures() / store
            if not root.is_dir():
                continue
            said = json.loads(vdisk("ls", "--json", root)[1])
            content = root / ".cnt" if (root / ".cnt").is_dir() else root
            there = sorted(str(path.relative_to(content)) for path in content.rglob("*.fidx"))
            self.assertEqual(sorted(disk["id"] for disk in said["disks"]), there)
            for image in images(key=None, kind="fixed"):
                if image["class"] == "damaged" or not image["file"].startswith(store + "/") or image["unreadable"]:
                    continue
                name = str((fixtures() / image["file"]).relative_to(content))
                if not name.endswith(".img.fidx"):
                    continue
                done = run(VDISK, "hash", "--json", "-a", "sha256", f"{root}#{name.removesuffix('.img.fidx')}", env=ENVIRONMENT)
                self.assertEqual(json.loads(done)["hashes"]["sha256"], image["sha256"], name)

    def test_configurations(self):
        for blob in manifest()["blobs"]:
            path = fixtures() / blob["file"]
            if not path.parent.is_dir():
                continue
            with self.subTest(blob["file"]):
                words = f"#key-file={fixtures() / blob['key']}" if blob["key"] else ""
                if passphrase_of(blob["key"] or ""):
                    words += f",passphrase-file={fixtures() / passphrase_of(blob['key'])}"
                status, said, error = vdisk("config", f"{path.parent}{words}", path.name.removesuffix(".blob"))
                if blob["readable"]:
                    self.assertEqual(status, 0, error)
                    self.assertEqual(hashlib.sha256(said).hexdigest(), blob["sha256"])
                else:
                    self.assertEqual((status, said), (1, b""), error)

    def test_the_catalog_of_an_archive_is_listed(self):
        found = 0
        for image in images(**{"class": "good", "kind": "dynamic"}):
            if not image["file"].endswith(".pcat1.didx") or image["key"]:
                continue
            path = fixtures() / image["file"]
            content = run(VDISK, "export", path, "-", env=ENVIRONMENT)
            self.assertEqual(hashlib.sha256(content).hexdigest(), image["sha256"])
            status, said, error = vdisk("config", path.parent, path.name.removesuffix(".didx"))
            self.assertEqual(status, 0, error)
            listed = [(line[0], line[1:16].strip(), line[38:]) for line in said.decode().splitlines()]
            self.assertEqual(listed, list(catalog_entries(content)))
            found += 1
        self.assertGreater(found, 0)

    def test_an_encrypted_configuration_needs_its_key(self):
        for blob in manifest()["blobs"]:
            if blob["key"] and blob["readable"] and (fixtures() / blob["file"]).exists():
                path = fixtures() / blob["file"]
                status, said, error = vdisk("config", path.parent, path.name.removesuffix(".blob"))
                self.assertEqual((status, said), (1, b""))
                self.assertIn("key", error)


class Doors(harness.FolderTest):
    """The other programs that read such a disk."""

    def image(self, **wanted):
        return next(image for image in images(**{"class": "good", "kind": "fixed"}, **wanted) if image["size"] > 4_000_000)

    def test_the_sleuth_kit_finds_every_file(self):
        tsk.require_plugin()
        for image in (self.image(key=None), self.image(key="keys/plain-key.json")):
            for kind in ([], ["-i", "pbs"]):
                for partition in image["partitions"]:
                    if not partition.get("files"):
                        continue
                    where = [*kind, "-o", str(partition["start"])]
                    there = tsk.files_of(tsk.with_plugin("fls", "-r", "-p", *where, selected(image)))
                    for name, file in partition["files"].items():
                        content = tsk.with_plugin("icat", *where, selected(image), there[name])
                        self.assertEqual(hashlib.sha256(content).hexdigest(), file["sha256"], name)

    def test_the_sleuth_kit_reads_a_disk_of_a_folder(self):
        tsk.require_plugin()
        image = self.image(key=None)
        path = fixtures() / image["file"]
        word = f"{path.parent.name}/{path.name.removesuffix('.img.fidx')}"
        said = tsk.with_plugin("img_stat", "-i", "pbs", f"{path.parent.parent}#{word}").decode()
        self.assertIn(str(image["size"]), said)

    def test_a_reference_file_leads_into_a_datastore(self):
        image = self.image(key="keys/plain-key.json")
        path = fixtures() / image["file"]
        word = path.name.removesuffix(".img.fidx")
        references = self.folder / "references"
        references.mkdir()
        run(VDISK, "ref", "-d", references, f"{path.parent}#{word},key-file={fixtures() / image['key']}", env=ENVIRONMENT)
        reference, = references.iterdir()
        said = run(VDISK, "hash", "--json", "-a", "sha256", reference, env=ENVIRONMENT)
        self.assertEqual(json.loads(said)["hashes"]["sha256"], image["sha256"])

    @unittest.skipUnless(harness.have("nbdkit") and harness.have("nbdcopy"), "nbdkit is not there")
    def test_an_nbd_export_has_the_hash(self):
        plugin = harness.BUILD / "nbdkit" / ".libs" / "nbdkit-vdisk-plugin.so"
        if not plugin.exists():
            self.skipTest("the plugin was not built")
        image = self.image(key=None)
        target = self.folder / "disk.raw"
        run("nbdkit", "-U", "-", plugin, f"file={fixtures() / image['file']}", "--run", f"nbdcopy $uri {target}",
            env=ENVIRONMENT | harness.preloaded_sanitizers(plugin))
        self.assertEqual(harness.sha256_file(target), image["sha256"])

    def test_nothing_is_written_into_a_store_that_is_read(self):
        image = self.image(key=None)
        store = self.folder / "store"
        shutil.copytree(fixtures() / "store" / ".chunks", store / ".chunks")
        index = store / "vm" / "1" / "2024-05-01T10:00:00Z" / "drive-scsi0.img.fidx"
        index.parent.mkdir(parents=True)
        shutil.copy(fixtures() / image["file"], index)
        chunk = next(path for path in (store / ".chunks").rglob("*") if path.is_file())
        before = harness.sha256_file(chunk)
        for target in (chunk, chunk.with_name("new"), index):
            status, _, error = vdisk("export", "--force", index, target)
            self.assertEqual(status, 2, error)
        self.assertEqual(harness.sha256_file(chunk), before)
        self.assertFalse(chunk.with_name("new").exists())


class Verify(harness.FolderTest):
    def test_sound_disks_verify_and_damaged_ones_do_not(self):
        for image in images(kind="fixed"):
            if image["open"] != "must" or image["file"].startswith("parts/"):
                continue
            with self.subTest(image["file"], note=image["note"]):
                status, said, error = vdisk("verify", "--json", selected(image))
                if image["unreadable"]:
                    self.assertEqual(status, 1, error)
                    self.assertTrue(any(each["severity"] == "error" for each in json.loads(said)["findings"]))
                elif not image["either"] and image["class"] != "damaged":
                    self.assertEqual(status, 0, said)

    def test_each_chunk_is_read_once_for_all_indexes(self):
        root = fixtures() / "variants"
        said = json.loads(vdisk("verify", "--json", f"{root}")[1])
        named = set()
        for index in root.rglob("*.fidx"):
            data = index.read_bytes()[4096:]
            named |= {data[i:i + 32] for i in range(0, len(data), 32)}
        self.assertLessEqual(said["chunks_read"], len(named))


if __name__ == "__main__":
    harness.main()
