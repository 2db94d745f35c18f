# SPDX-License-Identifier: Apache-2.0
"""Small images of each format with the names of their fields: headers, tables, what stands in logs and texts.

Where the fields stand is said by the formats' specifications, and read off the image that was just made."""
import hashlib
import re
import struct
import uuid
import zlib
from dataclasses import dataclass, field as member
from typing import Callable, List, Optional

import vma_writer
from fields import Field, Text, Touched, entries, fields, number
from harness import FIXTURES, run

KIB, MIB = 1 << 10, 1 << 20


@dataclass
class Subject:
    """An image, the disk that it holds, and its fields."""
    path: object
    disk: bytes
    fields: List
    cluster: int
    options: Optional[str] = None  # how QEMU opens it; None: it does not know the format
    mend: Callable = lambda data: None  # makes the checksums right
    overlay: Optional[object] = None  # what QEMU writes into, where it has to write
    opened: Optional[object] = None   # what is opened, if that is not the file whose fields these are
    good: bytes = member(default=b"", repr=False)

    def __post_init__(self):
        self.opened = self.opened or self.path
        data = Touched(self.path.read_bytes())
        # What a writer draws or takes from the clock, so that a seed always makes the same images.
        for each in self.fields:
            if re.search(r"\.(uuid|uuid_rest|uuid_image|uuid_last_snap|(file|data)_write_guid|timestamp|mtime|date_n?sec)$", each.name):
                each.put(data, zlib.crc32(each.name.split(".")[1].encode()))
        self.mend(data)
        self.path.write_bytes(data)
        self.good = bytes(data)
        if self.overlay:
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", self.path, "-F", "raw", self.overlay)
            self.empty_overlay = self.overlay.read_bytes()

    def open_words(self):
        """What qemu-io's command `open` needs."""
        if not self.overlay:
            return f"-r -o {self.options} {self.path}"
        self.overlay.write_bytes(self.empty_overlay)
        return f"-o {self.options},cache.no-flush=on,file.driver=qcow2,file.file.filename={self.overlay}"


def content(size, unit, holes=()):
    """A disk of `unit` after `unit`, whose two halves have bytes of their own; those numbered in `holes` are zeros."""
    disk = bytearray(size)
    for index in range(-(-size // unit)):
        if index in holes:
            continue
        half = unit // 2
        for part in range(2):
            start = index * unit + part * half
            end = min(start + half, size)
            disk[start:end] = bytes([1 + (2 * index + part) * 7 % 255]) * max(0, end - start)
    return bytes(disk)


def writes(disk, unit, first=0, last=None, also_zeros=()):
    """qemu-io's commands that write a disk of content(), the units from `first` to `last`."""
    commands = []
    half = unit // 2
    for start in range(first * unit, len(disk) if last is None else last * unit, half):
        piece = disk[start:start + half]
        if piece and (piece[0] or start // unit in also_zeros):
            commands += ["-c", f"write -q -P {piece[0]} {start} {len(piece)}"]
    return commands


def written(path, form, disk, unit, options="", backing=(), **which):
    """An image made by qemu-img and filled by qemu-io."""
    run("qemu-img", "create", "-q", "-f", form, *(("-o", options) if options else ()), *backing, path, len(disk))
    run("qemu-io", "-f", form, *writes(disk, unit, **which), path)
    return path


def converted(path, form, disk, options="", flags=()):
    """An image that qemu-img converts a raw disk into."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(disk)
    run("qemu-img", "convert", *flags, "-f", "raw", "-O", form, *(("-o", options) if options else ()), raw, path)
    raw.unlink()
    return path


# qcow2

QCOW2_HEADER = ("magic:4 version:4 backing_file_offset:8 backing_file_size:4 cluster_bits:4 size:8 crypt_method:4 l1_size:4 l1_table_offset:8 "
                "refcount_table_offset:8 refcount_table_clusters:4 nb_snapshots:4 snapshots_offset:8")
QCOW2_HEADER_3 = "incompatible_features:8 compatible_features:8 autoclear_features:8 refcount_order:4 header_length:4 compression_type:1"
QCOW2_SNAPSHOT = ("l1_table_offset:8 l1_size:4 id_str_size:2 name_size:2 date_sec:4 date_nsec:4 vm_clock_nsec:8 vm_state_size:4 extra_data_size:4 "
                  "vm_state_size_large:8 disk_size:8 icount:8")


def qcow2_fields(data):
    version = number(data, 4, ">I")
    found = fields("header", 0, "big", QCOW2_HEADER + (" " + QCOW2_HEADER_3 if version == 3 else ""))
    cluster = 1 << number(data, 20, ">I")
    at, index = (number(data, 100, ">I") if version == 3 else 72), 0
    while (kind := number(data, at, ">I")) != 0:
        found += fields(f"extension{index}", at, "big", "type:4 length:4")
        at, index = at + 8 + -(-number(data, at + 4, ">I") // 8) * 8, index + 1
    extended = version == 3 and number(data, 72, ">Q") >> 4 & 1
    l1_table, l1_size = number(data, 40, ">Q"), number(data, 36, ">I")
    found += entries("l1_table", l1_table, 8, "big", l1_size)
    for index in range(l1_size):
        table = number(data, l1_table + 8 * index, ">Q") & 0x00FFFFFFFFFFFE00
        if table:
            width = 16 if extended else 8
            found += entries("l2_table", table, 8, "big", min(cluster // width, 40), step=width, most=36)
            if extended:
                found += entries("subcluster_bitmap", table + 8, 8, "big", min(cluster // width, 40), step=width, most=36)
    refcounts = number(data, 48, ">Q")
    found += entries("refcount_table", refcounts, 8, "big", 2)
    found += entries("refcount_block", number(data, refcounts, ">Q"), 2, "big", len(data) // cluster, most=64)
    at = number(data, 64, ">Q")
    for index in range(number(data, 60, ">I")):
        found += fields(f"snapshot{index}", at, "big", QCOW2_SNAPSHOT)
        found += entries("snapshot_l1_table", number(data, at, ">Q"), 8, "big", number(data, at + 8, ">I"))
        length = 40 + number(data, at + 36, ">I") + number(data, at + 12, ">H") + number(data, at + 14, ">H")
        at += -(-length // 8) * 8
    return found


def qcow2(folder, options="", unit=4 * KIB, size=128 * KIB, version="1.1", backing=(), **which):
    disk = content(size, unit, holes=range(3, 32, 5))
    path = written(folder / "disk.qcow2", "qcow2", disk, unit, f"compat={version},cluster_size={unit}{options}", backing, **which)
    return path, disk, unit


def qcow2_subject(path, disk, unit, **more):
    return Subject(path, disk, qcow2_fields(path.read_bytes()), unit, "driver=qcow2", **more)


def qcow2_version_3(folder):
    path, disk, unit = qcow2(folder)
    run("qemu-io", "-f", "qcow2", "-c", f"write -q -z {3 * unit} {unit}", "-c", f"write -q -z {8 * unit} {unit}", path)
    return qcow2_subject(path, disk, unit)


def qcow2_version_2(folder):
    return qcow2_subject(*qcow2(folder, unit=KIB, size=32 * KIB, version="0.10"))


def qcow2_with_snapshots(folder):
    path, disk, unit = qcow2(folder)
    for index in range(2):
        run("qemu-img", "snapshot", "-c", f"state {index}", path)
        run("qemu-io", "-f", "qcow2", "-c", f"write -q -P {index + 251} {index * 8 * unit} {4 * unit}", path)
        at = index * 8 * unit
        disk = disk[:at] + bytes([index + 251]) * 4 * unit + disk[at + 4 * unit:]
    return qcow2_subject(path, disk, unit)


def qcow2_with_subclusters(folder):
    path, disk, unit = qcow2(folder, ",extended_l2=on", unit=16 * KIB, size=256 * KIB)
    disk = bytearray(disk)
    for index, value in ((3, 77), (8, 78), (13, 79)):
        at = index * unit + 1024
        run("qemu-io", "-f", "qcow2", "-c", f"write -q -P {value} {at} 2048", "-c", f"write -q -z {at + 4096} 1024", path)
        disk[at:at + 2048] = bytes([value]) * 2048
    return qcow2_subject(path, bytes(disk), unit)


def qcow2_compressed(folder, kind):
    disk = content(128 * KIB, 4 * KIB, holes=range(3, 32, 5))
    path = converted(folder / "disk.qcow2", "qcow2", disk, f"cluster_size=4k,compression_type={kind}", ["-c"])
    return qcow2_subject(path, disk, 4 * KIB)


def qcow2_with_data_file(folder):
    path, disk, unit = qcow2(folder, f",data_file={folder}/data,data_file_raw=off")
    return qcow2_subject(path, disk, unit)


def base(folder, size):
    """A raw disk for overlays, whose bytes are those of no overlay."""
    (folder / "base.raw").write_bytes(bytes([254]) * size)
    return "-b", f"{folder}/base.raw", "-F", "raw"


def over_base(disk, unit, holes):
    return b"".join(bytes([254]) * unit if index in holes else disk[index * unit:(index + 1) * unit] for index in range(len(disk) // unit))


def qcow2_over_a_parent(folder):
    path, disk, unit = qcow2(folder, backing=base(folder, 128 * KIB))
    run("qemu-io", "-f", "qcow2", "-c", f"write -q -z {8 * unit} {unit}", path)
    return qcow2_subject(path, over_base(disk, unit, set(range(3, 32, 5)) - {8}), unit)


# qcow version 1, QED, Parallels

def qcow_fields(data):
    found = fields("header", 0, "big", "magic:4 version:4 backing_file_offset:8 backing_file_size:4 mtime:4 size:8 cluster_bits:1 l2_bits:1 padding:2 "
                   "crypt_method:4 l1_table_offset:8")
    l1_table, size = number(data, 40, ">Q"), number(data, 24, ">Q")
    cluster, l2 = 1 << data[32], 1 << data[33]
    found += entries("l1_table", l1_table, 8, "big", -(-size // (cluster * l2)))
    table = number(data, l1_table, ">Q")
    return found + entries("l2_table", table, 8, "big", min(40, l2), most=36)


def qcow(folder):
    disk = content(128 * KIB, 4 * KIB, holes=range(3, 32, 5))
    path = written(folder / "disk.qcow", "qcow", disk, 4 * KIB)
    return Subject(path, disk, qcow_fields(path.read_bytes()), 4 * KIB, "driver=qcow")


def qcow_compressed(folder):
    """Every other cluster compressed, behind the others."""
    subject = qcow(folder)
    data = bytearray(subject.good)
    for each in subject.fields:
        if each.name.startswith("l2_table") and each.get(data):
            at = each.get(data)
            if at // (4 * KIB) % 2:
                packer = zlib.compressobj(wbits=-12)
                packed = packer.compress(data[at:at + 4 * KIB]) + packer.flush()
                each.put(data, 1 << 63 | len(packed) << 51 | len(data))
                data += packed
    subject.path.write_bytes(data)
    return Subject(subject.path, subject.disk, subject.fields, 4 * KIB, subject.options)


def qed_fields(data):
    found = fields("header", 0, "little", "magic:4 cluster_size:4 table_size:4 header_size:4 features:8 compat_features:8 autoclear_features:8 "
                   "l1_table_offset:8 image_size:8 backing_filename_offset:4 backing_filename_size:4")
    l1_table = number(data, 40, "<Q")
    found += entries("l1_table", l1_table, 8, "little", 8)
    return found + entries("l2_table", number(data, l1_table, "<Q"), 8, "little", 40, most=36)


def qed(folder, backing=()):
    disk = content(256 * KIB, 4 * KIB, holes=range(3, 64, 5))[:128 * KIB]
    path = written(folder / "disk.qed", "qed", disk, 4 * KIB, "cluster_size=4k,table_size=2", backing)
    return Subject(path, over_base(disk, 4 * KIB, range(3, 32, 5)) if backing else disk, qed_fields(path.read_bytes()), 4 * KIB,
                   "driver=qed")


def qed_over_a_parent(folder):
    return qed(folder, base(folder, 128 * KIB))


def parallels(folder):
    disk = content(256 * KIB, 8 * KIB, holes=range(3, 32, 5))
    path = written(folder / "disk.hds", "parallels", disk, 8 * KIB, "cluster_size=8k")
    found = fields("header", 0, "little", "magic:8 magic_rest:8 version:4 heads:4 cylinders:4 tracks:4 bat_entries:4 nb_sectors:8 inuse:4 data_off:4 "
                   "flags:4 ext_off:8")
    found += entries("bat", 64, 4, "little", 32, most=32)
    return Subject(path, disk, found, 8 * KIB, "driver=parallels")


# VDI

def vdi_subject(path, disk):
    found = fields("header", 64, "little", "signature:4 version:4 header_size:4 image_type:4 image_flags:4 -:256 offset_bmap:4 offset_data:4 "
                   "cylinders:4 heads:4 sectors:4 sector_size:4 unused:4 disk_size:8 block_size:4 block_extra:4 blocks_in_image:4 "
                   "blocks_allocated:4 uuid_image:8 -:8 uuid_last_snap:8 -:8 uuid_link:8 -:8 uuid_parent:8 -:8")
    found += entries("map", number(path.read_bytes(), 340, "<I"), 4, "little", len(disk) // MIB, most=8)
    return Subject(path, disk, found, MIB, "driver=vdi")


def vdi_dynamic(folder):
    disk = content(4 * MIB, MIB, holes=(1,))
    return vdi_subject(written(folder / "disk.vdi", "vdi", disk, MIB), disk)


def vdi_fixed(folder):
    disk = content(3 * MIB, MIB, holes=(1,))
    return vdi_subject(written(folder / "disk.vdi", "vdi", disk, MIB, "static=on"), disk)


# VHD

VHD_FOOTER = ("cookie:8 features:4 version:4 data_offset:8 timestamp:4 creator_app:4 creator_version:4 creator_os:4 original_size:8 current_size:8 "
              "cylinders:2 heads:1 sectors:1 type:4 checksum:4 uuid:8 -:8 saved_state:1")


def ones_complement(data, at, length, place):
    """Writes the checksum of VHD's structures to `place` within the structure."""
    total = sum(data[at:at + length]) - sum(data[at + place:at + place + 4])
    data[at + place:at + place + 4] = (~total & 0xFFFFFFFF).to_bytes(4, "big")


def vhd_dynamic(folder):
    disk = content(4 * MIB, 2 * MIB, holes=())
    path = written(folder / "disk.vhd", "vpc", disk, 2 * MIB, "force_size=on")
    data = path.read_bytes()
    end = len(data) - 512
    found = fields("footer_copy", 0, "big", VHD_FOOTER) + fields("footer", end, "big", VHD_FOOTER)
    found += fields("dynamic_header", 512, "big", "cookie:8 data_offset:8 table_offset:8 version:4 max_table_entries:4 block_size:4 checksum:4 parent_uuid:8 -:8 "
                    "parent_timestamp:4")
    found += entries("bat", number(data, 512 + 16, ">Q"), 4, "big", number(data, 512 + 28, ">I"))
    for index in range(2):
        at = number(data, number(data, 512 + 16, ">Q") + 4 * index, ">I") * 512
        found += entries(f"sector_bitmap{index}", at, 8, "big", 64, most=3)

    def mend(changed):
        ones_complement(changed, 0, 512, 64)
        ones_complement(changed, end, 512, 64)
        ones_complement(changed, 512, 1024, 36)
    return Subject(path, disk, found, 2 * MIB, "driver=vpc", mend)


def vhd_fixed(folder):
    disk = content(64 * KIB, 8 * KIB)
    path = written(folder / "disk.vhd", "vpc", disk, 8 * KIB, "subformat=fixed,force_size=on")
    end = path.stat().st_size - 512
    return Subject(path, disk, fields("footer", end, "big", VHD_FOOTER), 8 * KIB, "driver=vpc",
                   lambda changed: ones_complement(changed, end, 512, 64))


# VHDX

def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC32C = _crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ CRC32C[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def set_crc32c(data, at, length):
    """Writes the checksum of one of VHDX's structures, which stands in its second four bytes."""
    data[at + 4:at + 8] = bytes(4)
    data[at + 4:at + 8] = crc32c(data[at:at + length]).to_bytes(4, "little")


def vhdx_fields(data):
    found = []
    for index, at in enumerate((64 * KIB, 128 * KIB)):
        found += fields(f"header{index + 1}", at, "little", "signature:4 checksum:4 sequence:8 file_write_guid:8 -:8 data_write_guid:8 -:8 log_guid:8 "
                        "log_guid_rest:8 log_version:2 version:2 log_length:4 log_offset:8")
    places = {}
    for index, at in enumerate((192 * KIB, 256 * KIB)):
        found += fields(f"region_table{index + 1}", at, "little", "signature:4 checksum:4 entry_count:4 reserved:4")
        for entry in range(number(data, at + 8, "<I")):
            found += fields(f"region_table{index + 1}_entry", at + 16 + 32 * entry, "little", "guid:8 guid_rest:8 offset:8 length:4 required:4")
            places[data[at + 16 + 32 * entry:at + 20 + 32 * entry]] = number(data, at + 32 + 32 * entry, "<Q")
    metadata, table = places[b"\x06\xA2\x7C\x8B"], places[b"\x66\x77\xC2\x2D"]
    found += fields("metadata_table", metadata, "little", "signature:8 reserved:2 entry_count:2")
    items = {}
    for entry in range(number(data, metadata + 10, "<H")):
        at = metadata + 32 + 32 * entry
        found += fields("metadata_entry", at, "little", "item_id:8 item_id_rest:8 offset:4 length:4 flags:4")
        items[data[at:at + 4]] = metadata + number(data, at + 16, "<I")
    found += fields("file_parameters", items[b"\x37\x67\xA1\xCA"], "little", "block_size:4 flags:4")
    found += fields("virtual_disk_size", items[b"\x24\x42\xA5\x2F"], "little", "bytes:8")
    found += fields("logical_sector_size", items[b"\x1D\xBF\x41\x81"], "little", "bytes:4")
    found += fields("physical_sector_size", items[b"\xC7\x48\xA3\xCD"], "little", "bytes:4")
    return found + entries("bat", table, 8, "little", 4)


def vhdx_mend(data):
    for at in (64 * KIB, 128 * KIB):
        set_crc32c(data, at, 4096)
    # 64 KiB of zeros for the most part take long; a region table that was not changed has its checksum.
    touched = {start // (64 * KIB) for start, _ in data.touched}
    for at in (192 * KIB, 256 * KIB):
        if at // (64 * KIB) in touched:
            set_crc32c(data, at, 64 * KIB)


def vhdx(folder):
    disk = content(4 * MIB, MIB, holes=(1,))
    path = written(folder / "disk.vhdx", "vhdx", disk, MIB, "block_size=1M,log_size=1M")
    return Subject(path, disk, vhdx_fields(path.read_bytes()), MIB, "driver=vhdx", vhdx_mend)


LOG_ENTRY = "signature:4 checksum:4 entry_length:4 tail:4 sequence:8 descriptor_count:4 reserved:4 log_guid:8 log_guid_rest:8 flushed_file_offset:8 last_file_offset:8"


def vhdx_with_log(folder):
    """A log of two entries: four kibibytes of the first block, and zeros in the last one."""
    subject = vhdx(folder)
    data, disk = bytearray(subject.good), bytearray(subject.disk)
    log = number(data, 64 * KIB + 72, "<Q")
    table = next(each.offset for each in subject.fields if each.name == "bat[0]")
    blocks = [number(data, table + 8 * index, "<Q") >> 20 << 20 for index in range(4)]
    identity = uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF).bytes_le
    for at in (64 * KIB, 128 * KIB):
        data[at + 48:at + 64] = identity

    def entry(page, sequence, descriptor, pages):
        at = log + 4096 * page
        header = struct.pack("<4sIIIQII16sQQ", b"loge", 0, 4096 * (1 + len(pages)), 0, sequence, 1, 0, identity, len(data), len(data))
        data[at:at + 4096] = (header + descriptor).ljust(4096, b"\0")
        for index, content_of in enumerate(pages):
            data[at + 4096 * (index + 1):at + 4096 * (index + 2)] = (
                b"data" + struct.pack("<I", sequence >> 32) + content_of[8:4092] + struct.pack("<I", sequence & 0xFFFFFFFF))
        set_crc32c(data, at, 4096 * (1 + len(pages)))

    page = bytes([200]) * 4096
    entry(0, 1, struct.pack("<4s4s8sQQ", b"desc", page[4092:], page[:8], blocks[0] + 8192, 1), [page])
    entry(2, 2, struct.pack("<4sIQQQ", b"zero", 0, 8192, blocks[3] + 4096, 2), [])
    for at in (64 * KIB, 128 * KIB):
        set_crc32c(data, at, 4096)
    subject.path.write_bytes(data)
    disk[8192:12288] = page
    disk[3 * MIB + 4096:3 * MIB + 12288] = bytes(8192)
    found = [each for each in subject.fields if each.name.startswith(("header", "bat"))]
    for index, at in enumerate((log, log + 8192)):
        found += fields(f"log_entry{index}", at, "little", LOG_ENTRY)
    found += fields("data_descriptor", log + 64, "little", "signature:4 trailing:4 leading:8 file_offset:8 sequence:8")
    found += fields("data_page", log + 4096, "little", "signature:4 sequence_high:4 -:4084 sequence_low:4")
    found += fields("zero_descriptor", log + 8192 + 64, "little", "signature:4 reserved:4 length:8 file_offset:8 sequence:8")

    def mend(changed):
        vhdx_mend(changed)
        set_crc32c(changed, log, 8192)
        set_crc32c(changed, log + 8192, 4096)
    return Subject(subject.path, bytes(disk), found, MIB, subject.options, mend, folder / "overlay.qcow2")


# VMDK

VMDK_HEADER = ("magic:4 version:4 flags:4 capacity:8 grain_size:8 descriptor_offset:8 descriptor_size:8 num_gtes_per_gt:4 rgd_offset:8 gd_offset:8 "
               "overhead:8 unclean:1 newlines:4 compress_algorithm:2")
VMDK_WORDS = (rb"version=(\w+)", rb"\nCID=(\w+)", rb"parentCID=(\w+)", rb'createType="(\w+)"', rb"\n(RW) ", rb"RW (\d+) ", rb"RW \d+ (\w+) ",
              rb'FLAT "[^"]*" ?(\d+)', rb"ddb.geometry.cylinders = \"(\d+)\"", rb"(ddb.virtualHWVersion)", rb"(RW \d+ [^\n]*\n)")


def settled_cid(path, start=0, room=0):
    """The file's bytes, its content identifier being always the same."""
    data = bytearray(path.read_bytes())
    cid = re.search(rb"\nCID=(\w+)", data)
    Text("CID", start, room, b"\nCID=", cid.group(1)).put(data, b"5eed5eed")
    path.write_bytes(data)
    return bytes(data)


def vmdk_words(data, start, room):
    text = data[start:start + room].rstrip(b"\0") if room else data
    found = []
    for pattern in VMDK_WORDS:
        match = re.search(pattern, text)
        if match:
            name = re.sub(rb"[^A-Za-z. ]+", b"", pattern).decode().strip() or "extent"
            found.append(Text(f"descriptor.{name}", start, room, text[max(0, match.start(1) - 24):match.start(1)], match.group(1)))
    return found


def vmdk_sparse(folder):
    disk = content(1 * MIB, 64 * KIB, holes=(3, 8))
    path = written(folder / "disk.vmdk", "vmdk", disk, 64 * KIB, "subformat=monolithicSparse")
    data = settled_cid(path, 512, 20 * 512)
    found = fields("header", 0, "little", VMDK_HEADER) + vmdk_words(data, 512 * number(data, 28, "<Q"), 512 * number(data, 36, "<Q"))
    for name, at in (("rgd", 48), ("gd", 56)):
        directory = 512 * number(data, at, "<Q")
        found += entries(name, directory, 4, "little", 1)
        found += entries(f"{name}_table", 512 * number(data, directory, "<I"), 4, "little", 16, most=16)
    return Subject(path, disk, found, 64 * KIB, "driver=vmdk")


def vmdk_stream(folder):
    disk = content(1 * MIB, 64 * KIB, holes=(3, 8))
    path = converted(folder / "disk.vmdk", "vmdk", disk, "subformat=streamOptimized")
    data = settled_cid(path, 512, 20 * 512)
    found = fields("header", 0, "little", VMDK_HEADER) + vmdk_words(data, 512 * number(data, 28, "<Q"), 512 * number(data, 36, "<Q"))
    directory = 512 * number(data, 56, "<Q")
    found += entries("gd", directory, 4, "little", 1)
    table = 512 * number(data, directory, "<I")
    found += entries("gd_table", table, 4, "little", 16, most=16)
    for index in (0, 1, 15):
        grain = 512 * number(data, table + 4 * index, "<I")
        found += fields("grain_marker", grain, "little", "lba:8 size:4 zlib:2")
    return Subject(path, disk, found, 64 * KIB, "driver=vmdk")


def vmdk_flat(folder):
    disk = content(256 * KIB, 64 * KIB)
    path = written(folder / "disk.vmdk", "vmdk", disk, 64 * KIB, "subformat=monolithicFlat")
    return Subject(path, disk, vmdk_words(settled_cid(path), 0, 0), 64 * KIB, "driver=vmdk")


# VMA

def vma(folder):
    """An archive of one disk; by its own writer's word, as QEMU does not read it."""
    disk = content(1 * MIB, 64 * KIB, holes=(3, 8))
    raw = folder / "disk.raw"
    raw.write_bytes(disk)
    path = folder / "disk.vma"
    vma_writer.write(path, [("drive-scsi0", raw)])
    data = path.read_bytes()
    header = number(data, 56, ">I")
    found = fields("header", 0, "big", "magic:4 version:4 uuid:8 uuid_rest:8 ctime:8 md5:8 -:8 blob_buffer_offset:4 blob_buffer_size:4 header_size:4")
    found += entries("config_names", 2044, 4, "big", 2) + entries("config_data", 3068, 4, "big", 2)
    for index in range(3):
        found += fields("device", 4096 + 32 * index, "big", "name:4 -:4 size:8 -:16")
    found += fields("extent", header, "big", "magic:4 reserved:2 block_count:2 uuid:8 uuid_rest:8 md5:8 -:8")
    for index in range(18):
        found += fields("extent_slot", header + 40 + 8 * index, "big", "mask:2 reserved:1 device:1 cluster:4")

    def mend(changed):
        for at, length, place in ((0, header, 32), (header, 512, 24)):
            changed[at + place:at + place + 16] = bytes(16)
            changed[at + place:at + place + 16] = hashlib.md5(changed[at:at + length]).digest()
    return Subject(path, disk, found, 64 * KIB, None, mend)


# Proxmox Backup Server

def pbs(folder):
    """A fixed index over chunks of 64 KiB; by its own builder's word, as QEMU does not read it."""
    disk = content(1 * MIB, 64 * KIB, holes=(3, 8))
    digests = []
    for at in range(0, len(disk), 64 * KIB):
        chunk = disk[at:at + 64 * KIB]
        digests.append(hashlib.sha256(chunk).digest())
        name = digests[-1].hex()
        place = folder / ".chunks" / name[:4]
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(bytes.fromhex("42ab3807be8370a1") + struct.pack("<I", zlib.crc32(chunk)) + chunk)
    path = folder / "vm" / "100" / "2024-01-01T00:00:00Z" / "drive-scsi0.img.fidx"
    path.parent.mkdir(parents=True)
    head = bytes.fromhex("2f7f41ed91fd0fcd") + uuid.UUID(int=7).bytes + struct.pack("<q", 1704067200)
    head += hashlib.sha256(b"".join(digests)).digest() + struct.pack("<QQ", len(disk), 64 * KIB)
    path.write_bytes(head.ljust(4096, b"\0") + b"".join(digests))
    found = fields("header", 0, "little", "magic:8 uuid:8 uuid_rest:8 ctime:8 csum:8 -:24 size:8 chunk_size:8 reserved:8")
    for index in range(16):
        found.append(Field(f"digest[{index}]", 4096 + 32 * index, 8, "little"))

    def mend(changed):
        changed[32:64] = hashlib.sha256(changed[4096:]).digest()
    return Subject(path, disk, found, 64 * KIB, None, mend)


def pbs_chunk(folder):
    """The same, of which the file of one chunk is changed."""
    index = pbs(folder)
    name = hashlib.sha256(index.disk[:64 * KIB]).hexdigest()
    path = folder / ".chunks" / name[:4] / name
    found = fields("blob", 0, "little", "magic:8 crc:4 data:8") + [Field("blob.last", 12 + 64 * KIB - 8, 8, "little")]

    def mend(changed):
        changed[8:12] = zlib.crc32(changed[12:]).to_bytes(4, "little")
    return Subject(path, index.disk, found, 64 * KIB, None, mend, opened=index.path)


# Hyper-V's configuration files

def crc32_of(data, at, length, place):
    """Writes the CRC-32 of a structure, whose field `place` is taken for zeros."""
    data[at + place:at + place + 4] = bytes(4)
    data[at + place:at + place + 4] = zlib.crc32(data[at:at + length]).to_bytes(4, "little")


def hyperv(folder, fixture):
    """A configuration of the fixtures: the headers, the root object table, the headers of key tables and some of their entries."""
    path = folder / fixture
    path.write_bytes((FIXTURES / "hyperv" / fixture).read_bytes())
    data = path.read_bytes()
    alignment = number(data, 22, "<I")
    sealed = [(at, 46, 4) for at in (0, 4096)]
    found = []
    for index, (at, _, _) in enumerate(sealed):
        found += fields(f"header{index + 1}", at, "little", "signature:4 crc:4 sequence:2 version:4 data_version:4 flags:4 alignment:4 log_offset:8 "
                        "log_size:8 log_header_size:4")
    root = 8192
    found += fields("object_table", root, "little", "signature:4 entries:4")
    for slot in range(4):
        at = root + 8 + 18 * slot
        found += fields(f"object_entry{slot}", at, "little", "type:1 crc:4 offset:8 size:4 flags:1")
        table = number(data, at + 5, "<Q")
        if data[at] != 2:
            continue
        sealed.append((table, 10, 6))
        found += fields(f"key_table{slot}", table, "little", "signature:2 index:2 sequence:2 crc:4")
        entry = table + 10
        for _ in range(8):
            found += fields(f"key_entry{slot}", entry, "little", "type:1 flags:1 size:4 parent_table:2 parent_offset:4 crc:4 sequence:4 name_length:1")
            entry += number(data, entry + 2, "<I")

    def mend(changed):
        for structure in sealed:
            crc32_of(changed, *structure)
    return Subject(path, b"", found, alignment, None, mend)


KINDS = {
    "qcow2_version_2": qcow2_version_2,
    "qcow2_version_3": qcow2_version_3,
    "qcow2_with_snapshots": qcow2_with_snapshots,
    "qcow2_with_subclusters": qcow2_with_subclusters,
    "qcow2_with_zlib_clusters": lambda folder: qcow2_compressed(folder, "zlib"),
    "qcow2_with_zstd_clusters": lambda folder: qcow2_compressed(folder, "zstd"),
    "qcow2_with_a_data_file": qcow2_with_data_file,
    "qcow2_over_a_parent": qcow2_over_a_parent,
    "qcow": qcow,
    "qcow_compressed": qcow_compressed,
    "qed": qed,
    "qed_over_a_parent": qed_over_a_parent,
    "parallels": parallels,
    "vdi_dynamic": vdi_dynamic,
    "vdi_fixed": vdi_fixed,
    "vhd_dynamic": vhd_dynamic,
    "vhd_fixed": vhd_fixed,
    "vhdx": vhdx,
    "vhdx_with_log": vhdx_with_log,
    "vmdk_sparse": vmdk_sparse,
    "vmdk_stream": vmdk_stream,
    "vmdk_flat": vmdk_flat,
    "vma": vma,
    "pbs": pbs,
    "pbs_chunk": pbs_chunk,
}
