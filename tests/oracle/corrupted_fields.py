#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of each format, of which fields of headers, tables, logs and texts have boundary values, against QEMU: where it reads, we
read the same or say that we can't; where it refuses, we give nothing as good but the disk that was there before.

VDISK_CORRUPTIONS: images of each kind. VDISK_CORRUPTION_SEED: any text, for other ones. VDISK_CORRUPTED_FOLDER: where to keep images on
which the two differ."""
import faulthandler
import itertools
import json
import os
import pathlib
import random
import re
import unittest
from typing import Callable, NamedTuple, Optional

import fields
import harness
import image_fields
from qemu_reader import Died, QemuReader

VDISK = harness.library()
IMAGES = int(os.environ.get("VDISK_CORRUPTIONS", 500))
SEED = os.environ.get("VDISK_CORRUPTION_SEED", "1")
KEPT = os.environ.get("VDISK_CORRUPTED_FOLDER")
WINDOW = 64 << 10  # what is read behind the good disk's size, and at the end
SECTOR = 512
PRINTED = 16  # pieces of an image that have many bytes, which QEMU has to print


class Ours(NamedTuple):
    """What the library reads of an image: why it does not open, or pieces (offset, bytes), and the number of bytes that are errors.
    `doubts`: what it says of bytes that may be others than the guest's."""
    refusal: str = ""
    size: int = 0
    pieces: tuple = ()
    lost: int = 0
    doubts: tuple = ()


def read_piece(disk, at, length, least, said):
    """The pieces of a range that can be read."""
    try:
        return [(at, disk.read_at(at, length))]
    except VDISK.Error as error:
        said.append(str(error))
        if length <= least:
            return []
    half = max(SECTOR, length // 2 // SECTOR * SECTOR)
    return read_piece(disk, at, half, least, said) + read_piece(disk, at + half, length - half, least, said)


def windows(size, expected):
    """What is looked at of a disk: as much as the good one has and some more, and the end."""
    first = min(size, expected + WINDOW)
    found = [(0, first)]
    if size > first:
        start = max(first, (size - WINDOW) // SECTOR * SECTOR)
        found.append((start, size - start))
    return [(at, length) for at, length in found if length]


def read_ours(subject, said):
    """Everything that it says goes into `said`."""
    try:
        with VDISK.File(str(subject.opened)) as file, file.open_disk(file.selected) as disk:
            pieces, lost = [], 0
            for at, length in windows(disk.size, len(subject.disk)):
                found = read_piece(disk, at, length, max(SECTOR, subject.cluster // 16), said)
                pieces += found
                lost += length - sum(len(data) for _, data in found)
            doubts = tuple(line for line in disk.remarks if line.startswith("warning: "))
            return Ours(size=disk.size, pieces=tuple(pieces), lost=lost, doubts=doubts)
    except VDISK.Error as error:
        said.append(str(error))
        return Ours(refusal=str(error))


def runs(pieces, unit):
    """(runs of one byte (offset, length, byte), other sectors (offset, bytes))"""
    same, other = [], []
    for start, data in pieces:
        at = 0
        while at < len(data):
            length = min(unit - (start + at) % unit, len(data) - at)
            while length > SECTOR and data.count(data[at], at, at + length) != length:
                length = max(SECTOR, length // 2 // SECTOR * SECTOR)
            byte = data[at]
            if data.count(byte, at, at + length) != length:
                other.append((start + at, data[at:at + length]))
            elif same and same[-1][2] == byte and same[-1][0] + same[-1][1] == start + at:
                same[-1] = (same[-1][0], same[-1][1] + length, byte)
            else:
                same.append((start + at, length, byte))
            at += length
    return same, other


class Difference(NamedTuple):
    """What QEMU and we don't agree on. `right`: our bytes there are those of the good disk."""
    kind: str
    right: bool
    where: str

    def __str__(self):
        return f"{self.kind}: {self.where}"


def is_right(subject, pieces):
    return all(subject.disk[at:at + len(data)] == data for at, data in pieces)


def compare(subject, ours, reader, chance, any_size=False):
    """The differences between what we read and what QEMU reads."""
    if ours.refusal:
        return []
    try:
        refusal = reader.open(subject.open_words())
        if refusal:
            # Nothing may be given as good but what is: the disk that was there before.
            right = is_right(subject, ours.pieces) and (any_size or ours.size == len(subject.disk))
            return [Difference("QEMU refuses", right, refusal)] if ours.pieces else []
        found = compare_bytes(ours, subject, reader, chance)
        # Its disks end with a whole sector.
        end = ours.size // SECTOR * SECTOR
        if not any_size and not found and not ours.lost and end < 1 << 62:
            if end and reader.read(end - SECTOR, SECTOR) is None or reader.read(end, SECTOR) is not None:
                found.append(Difference("another size", ours.size == len(subject.disk), f"we say {ours.size}"))
        reader.close_image()
        return found
    except Died as death:
        return [Difference("QEMU dies", is_right(subject, ours.pieces), str(death))] if ours.pieces else []


def compare_bytes(ours, subject, reader, chance):
    found = []
    end = ours.size // SECTOR * SECTOR
    same, other = runs([(at, data[:max(0, end - at)]) for at, data in ours.pieces], subject.cluster // 2)
    for (at, length, byte), answer in zip(same, reader.matches(same)):
        if answer != "same":
            kind = "other bytes" if answer == "other" else "QEMU can't read"
            found.append(Difference(kind, is_right(subject, [(at, bytes([byte]) * length)]), f"{length} bytes from {at}: ours are all {byte:#x}; QEMU: {answer}"))
    for at, data in chance.sample(other, min(len(other), PRINTED)):
        theirs = reader.read(at, len(data))
        if theirs != data:
            kind = "QEMU can't read" if theirs is None else "other bytes"
            found.append(Difference(kind, is_right(subject, [(at, data)]), f"{len(data)} bytes from {at}: {data[:8].hex()}; QEMU: {theirs and theirs[:8].hex()}"))
    return found


class Reason(NamedTuple):
    """Why QEMU and we may differ when some fields were changed. With these as they were, or `repaired`, QEMU must read what we read of
    the changed file."""
    kinds: str   # of images, a regular expression
    fields: str  # a regular expression for names
    why: str
    repaired: Optional[Callable] = None  # is given the subject and the changed bytes
    any_size: bool = False               # the size may differ, nothing being read behind the good disk's end


def bits_as_zeros(subject, data):
    """Zeros in the sectors whose bits are not set: what those bits mean. The file is made as long as a block that it ends in."""
    table = fields.number(subject.good, 512 + 16, ">Q")
    blocks = [fields.number(data, table + 4 * block, ">I") * SECTOR for block in range(2)]
    data.extend(bytes(max(at for at in [0, *blocks] if at < len(data)) and subject.cluster + SECTOR))
    bitmaps = [bytes(data[at:at + SECTOR]) for at in blocks]
    for at, bits in zip(blocks, bitmaps):
        for sector in range(8 * len(bits)):
            start = at + SECTOR * (1 + sector)
            if not bits[sector // 8] >> (7 - sector % 8) & 1 and start + SECTOR <= len(data):
                data[start:start + SECTOR] = bytes(SECTOR)


def put(subject, data, name, value):
    """Gives a field of the subject a value, or that of another field in the good file."""
    named = {field.name: field for field in subject.fields}
    named[name].put(data, named[value].get(subject.good) if isinstance(value, str) else value)


def without_second_entry(subject, data):
    """The log ends behind its first entry."""
    put(subject, data, "log_entry1.signature", 0)


def zeros_behind_the_end(subject, data):
    """Blocks that lie where nothing was written yet, up to where the log says that the file ends, are zeros."""
    put(subject, data, "log_entry1.last_file_offset", "log_entry1.last_file_offset")
    for field in subject.fields:
        if field.name.startswith("bat") and field.get(data) >> 20 << 20 >= len(subject.good):
            field.put(data, 0)


def redundant_tables(subject, data):
    """The redundant directory is the first one too."""
    put(subject, data, "header.gd_offset", "header.rgd_offset")


def as_large_as_mapped(subject, data):
    """As large a disk as the L1 table maps."""
    l1_size, entry = fields.number(data, 36, ">I"), 16 if data[79] & 16 else 8
    put(subject, data, "header.size", l1_size * subject.cluster * (subject.cluster // entry))


def without_contradictions(subject, data):
    """Subclusters that are allocated and zeros are zeros, and where no cluster is there, none is allocated."""
    for field in subject.fields:
        if field.name.startswith("subcluster_bitmap"):
            value = field.get(data)
            has_cluster = fields.number(data, field.offset - 8, ">Q") & 0x00FFFFFFFFFFFE00
            field.put(data, value & ~(value >> 32) & (-1 if has_cluster else ~0xFFFFFFFF))


REASONS = (
    Reason("qcow2.*", r"header\.(nb_snapshots|snapshots_offset)|snapshot\d\..*|snapshot_l1_table.*",
           "a damaged snapshot table costs the snapshots; the active state does not need it"),
    Reason("qcow2.*", r"header\.autoclear_features", "that the data file is to be raw has no meaning where there is none"),
    Reason("qcow2.*", r"header\.size", "the L1 table maps less than the disk: QEMU refuses the file, we read what is mapped and have errors behind",
           repaired=as_large_as_mapped, any_size=True),
    Reason("qcow2.*", r"header\.refcount_table_(offset|clusters)|refcount_table.*", "what counts references is not needed to read; QEMU refuses the file"),
    Reason("qcow2_with_subclusters", r"subcluster_bitmap.*", "a subcluster that is allocated and zeros costs itself; QEMU fails for its cluster",
           repaired=without_contradictions),
    Reason("qcow.*", r"header\.size", "a disk of a byte is one; QEMU refuses it", any_size=True),
    Reason("parallels", r"header\.ext_off", "the extension has dirty bitmaps and is not needed to read; QEMU refuses the file or dies"),
    Reason("vdi.*", r"header\.disk_size", "the map has fewer blocks than the disk: QEMU refuses the file, we have errors behind them", any_size=True),
    Reason("vdi.*", r"header\.(sector_size|version|cylinders|heads|sectors)", "of no meaning for where blocks lie; VirtualBox does not look at the geometry"),
    Reason("vdi.*", r"header\.uuid_parent", "without a link to a parent it does not matter when the parent was changed"),
    Reason("vhd.*", r"footer(_copy)?\.current_size", "more than the table or the file has: QEMU refuses the file, we have errors behind", any_size=True),
    Reason("vhd.*", r"footer(_copy)?\.(creator_app|cylinders|heads|sectors)", "the current size counts; QEMU takes the geometry's for some creators"),
    Reason("vhd_dynamic", r"sector_bitmap.*|bat.*", "by the specification a sector without its bit was never written; QEMU does not look at bits",
           repaired=bits_as_zeros),
    Reason("vhd_dynamic", r"footer_copy\..*|footer\..*", "either footer will do; QEMU looks at the one in front alone"),
    Reason("vhd_dynamic|vhdx.*", r"bat.*|dynamic_header\.max_table_entries", "one entry costs its block; QEMU refuses the file"),
    Reason("vhdx.*", r"region_table[12].*", "either region table will do; QEMU refuses the file if one of them is damaged"),
    Reason("vhdx_with_log", r"(log_entry1|zero_descriptor)\..*",
           "by the specification the log ends in front of an entry that is not valid; QEMU refuses the file or replays it", repaired=without_second_entry),
    Reason("vhdx_with_log", r"log_entry[01]\.(flushed|last)_file_offset", "of a file that was cut off behind its log, what is there is read; QEMU refuses it"),
    Reason("vhdx_with_log", r"log_entry1\.last_file_offset", "a log makes the file as long as it says, with zeros; QEMU refuses blocks there",
           repaired=zeros_behind_the_end),
    Reason("vmdk_sparse", r"gd\[0\]|header\.gd_offset", "the redundant tables can be read where the first directory is lost; QEMU believes that one",
           repaired=redundant_tables),
    Reason("vmdk_stream", r"gd\[0\]|header\.gd_offset", "the grains' own markers say where they belong; QEMU believes the directory"),
    Reason("vmdk_.*", r"gd_table.*|grain_marker.*", "the redundant table or the grain's marker tells that an entry is wrong; QEMU believes it"),
    Reason("vmdk_.*", r"rgd.*|header\.rgd_offset", "the redundant tables are there to be compared; QEMU does not look at them"),
    Reason("vmdk_.*", r"header\.overhead", "says where grains may begin, which tables say too; QEMU refuses a file that ends before"),
    Reason("vmdk_.*", r"descriptor\.createType.*", "a hint, of which the extents' own types are independent"),
    Reason("vmdk_flat", r"descriptor\.RW d", "more sectors than the extent's file has: QEMU refuses the file or reads zeros, we have errors behind",
           any_size=True),
)


def reasons_for(kind, changes):
    """Sets of (reason, the change that it is about) that may explain a difference, small ones first."""
    found = [(reason, change) for reason in REASONS if re.fullmatch(reason.kinds, kind)
             for change in changes if re.fullmatch(reason.fields, change.field.name)]
    return itertools.chain.from_iterable(itertools.combinations(found, count + 1) for count in range(len(found)))


class Tried(NamedTuple):
    """One changed image."""
    index: int
    data: fields.Touched
    changes: list
    mended: bool


@unittest.skipUnless(VDISK, "this process can't load the library")
class CorruptedFields(harness.FolderTest):
    def check(self, kind):
        self.kind, self.subject, self.reader = kind, image_fields.KINDS[kind](self.folder), QemuReader()
        self.addCleanup(self.reader.close)
        self.addCleanup(faulthandler.disable)
        faulthandler.enable()
        outcomes = {"read": 0, "read in part": 0, "refused": 0}
        failures = []
        for index in range(IMAGES):
            tried = self.changed(index)
            self.write(tried.data)
            said = []
            ours = read_ours(self.subject, said)
            outcomes["refused" if ours.refusal else "read in part" if ours.lost else "read"] += 1
            complaint = self.look(tried, ours, said)
            self.restore(tried.data)
            if complaint:
                failures.append(self.told(tried, complaint))
        print(f"{kind}: {IMAGES} images, seed {SEED}: {', '.join(f'{count} {how}' for how, count in outcomes.items())}; "
              f"QEMU died of {self.reader.deaths}; {len(failures)} amiss")
        # Some must be read, and some not: a test that can't fail says nothing.
        self.assertTrue(IMAGES < 100 or 0 < outcomes["read"] < IMAGES, outcomes)
        self.assertFalse(failures, "\n" + "\n".join(failures[:40]))

    def changed(self, index):
        chance = random.Random(f"{SEED} {self.kind} {index}")
        data, changes = fields.corrupted(self.subject.good, self.subject.fields, self.subject.cluster, chance)
        mended = chance.random() < 0.7
        if mended:
            self.subject.mend(data)
        return Tried(index, data, changes, mended)

    def look(self, tried, ours, said):
        """What is wrong with it; nothing if all is well."""
        for line in said:
            first, *others = line.splitlines()
            listed = first.endswith(":") and all(re.match(r"  \w+  ", other) for other in others)
            if not first.startswith(str(self.folder)) or (others and not listed):
                return f"not one line that names the file: {line}"
        if not self.subject.options:
            return "" if is_right(self.subject, ours.pieces) else "other bytes than the builder's"
        chance = random.Random(tried.index)
        found = compare(self.subject, ours, self.reader, chance)
        # The good disk's bytes are right whatever QEMU says of the file, unless it reads others; and what we say may be wrong is not
        # given as good.
        if all((each.right or ours.doubts) and each.kind not in ("other bytes", "another size") for each in found):
            return ""
        again = ()
        for reasons in reasons_for(self.kind, tried.changes):
            again = self.compare_repaired(tried, ours, reasons)
            if not again:
                return ""
        found = [*(Difference(f"repaired, {each.kind}", *each[1:]) for each in again[:2]), *found]
        return "; ".join(map(str, found[:4]))

    def compare_repaired(self, tried, ours, reasons):
        """compare(), with what the reasons are about repaired for QEMU."""
        data = fields.Touched(self.subject.good)
        undone = [change for reason, change in reasons if not reason.repaired]
        for change in tried.changes:
            if change not in undone:
                change.field.put(data, change.value)
        for repaired in dict.fromkeys(reason.repaired for reason, _ in reasons if reason.repaired):
            repaired(self.subject, data)
        if tried.mended:
            self.subject.mend(data)
        self.restore(tried.data)
        self.write(data)
        found = compare(self.subject, ours, self.reader, random.Random(tried.index), any(reason.any_size for reason, _ in reasons))
        self.restore(data)
        return [each for each in found if not ((each.right or ours.doubts) and each.kind == "QEMU can't read")]

    def told(self, tried, complaint):
        name = f"{self.kind}-{SEED}-{tried.index}{self.subject.path.suffix}"
        if KEPT:
            pathlib.Path(KEPT).mkdir(parents=True, exist_ok=True)
            (pathlib.Path(KEPT) / name).write_bytes(tried.data)
        return f"{name}{' (checksums made right)' if tried.mended else ''}: {', '.join(map(str, tried.changes))}: {complaint}".replace(str(self.folder), "...")

    def write(self, data, good=None):
        """Puts changed bytes into the image, or the good ones back into their places."""
        source = data if good is None else good
        if len(data) != len(self.subject.good):
            self.subject.path.write_bytes(source)
            return
        with open(self.subject.path, "r+b") as file:
            for start, end in data.touched:
                file.seek(start)
                file.write(source[start:end])

    def restore(self, data):
        self.write(data, self.subject.good)


def keys_of(tree, path=()):
    """(path, type, value, its place among the keys of its name) of each key that hvconfig shows and believes."""
    found, names = [], {}
    for key in tree:
        place = names[key["name"]] = names.get(key["name"], -1) + 1
        if "damaged" in key:  # and so is the path of what is below it
            continue
        if key["type"] != "unknown":
            told = {name: value for name, value in key.items() if name not in ("children", "seq")}
            found.append((*path, key["name"], place, json.dumps(told, sort_keys=True)))
        found += keys_of(key.get("children", ()), (*path, key["name"]))
    return found


class HyperVFiles(harness.FolderTest):
    """hvconfig shows the keys that there were, or says what is wrong."""

    def dump(self, *words):
        status, out, said = harness.outcome(harness.BUILD / "hvconfig", "dump", "--json", *words)
        return status, keys_of(json.loads(out)["tree"]) if status != 2 else [], said

    def check(self, fixture):
        subject = image_fields.hyperv(self.folder, fixture)
        status, good, _ = self.dump(subject.path)
        self.assertEqual((status, len(good) > 5), (0, True))
        before = self.dump("--no-replay", subject.path)[1]  # what there is if the log can't be read, which is told
        failures, told = [], 0
        for index in range(IMAGES):
            chance = random.Random(f"{SEED} {fixture} {index}")
            data, changes = fields.corrupted(subject.good, subject.fields, subject.cluster, chance)
            if chance.random() < 0.5:
                subject.mend(data)
            subject.path.write_bytes(data)
            status, keys, said = self.dump(subject.path)
            told += status != 0
            wrong = set(keys) - {*good, *before} if status else set(keys) ^ set(good)
            if any(re.fullmatch(r"key_entry\d+\.type", change.field.name) and change.value == 1 for change in changes):
                wrong -= set(good)  # a free entry is none, and has no checksum
            if status not in (0, 1, 2) or (status and not said) or wrong:
                failures.append(f"{fixture}-{SEED}-{index}: {', '.join(map(str, changes))}: status {status}, {sorted(wrong, key=str)[:2]}, {said[:200]}")
        self.assertTrue(IMAGES < 100 or 0 < told < IMAGES, told)
        self.assertFalse(failures, "\n" + "\n".join(failures[:40]))

    def test_a_sound_file(self):
        self.check("alignment-8192.vmcx")

    def test_a_file_with_a_pending_log(self):
        self.check("dirty.vmcx")


for name in image_fields.KINDS:
    setattr(CorruptedFields, f"test_{name}", lambda self, kind=name: self.check(kind))

if __name__ == "__main__":
    harness.main()
