# SPDX-License-Identifier: Apache-2.0
"""Builds guest state files (.vmgs) of Hyper-V, of versions 3 and 1. Shares nothing with the reader."""
import struct
import uuid
import zlib

BLOCK = 4096


def header(sequence, table, algorithm=0, keys=(None, None), version=0x30000, markers=0):
    """One copy of the header of version 3."""
    places = b"".join(bytes(64) if key is None else struct.pack("<12sI16s32s", key, 0, b"t" * 16, b"k" * 32) for key in keys)
    fields = struct.pack("<IIIIHH", sequence, 168, table, 1, algorithm, markers) + places + bytes(4)
    start = b"GUESTRTS" + struct.pack("<I", version)
    return start + struct.pack("<I", zlib.crc32(start + bytes(4) + fields)) + fields


def entry(block, blocks, size, nonce=bytes(12), tag=bytes(16), attributes=0):
    return struct.pack("<IIQ12s16sI16x", block, blocks, size, nonce, tag, attributes)


def state(files, encrypted=(), sequence=6, algorithm=0, keys=(None, None), sector=512, capacity=64):
    """A file with `files`, {id: content}, those in `encrypted` marked so; the header copy in the second sector is the active one."""
    image = bytearray(capacity * BLOCK)
    table, block = [bytes(64)] * 64, 3
    table[0] = entry(2, 1, BLOCK)
    for number, content in files.items():
        blocks = max(1, -(-len(content) // BLOCK))
        marks = dict(nonce=bytes([number]) * 12, tag=b"T" * 16, attributes=3) if number in encrypted else {}
        table[number] = entry(block, blocks, len(content), **marks)
        image[block * BLOCK:block * BLOCK + len(content)] = content
        block += blocks
    image[2 * BLOCK:3 * BLOCK] = b"".join(table)
    image[:168] = header(sequence - 1, 2, algorithm, keys)
    image[sector:sector + 168] = header(sequence, 2, algorithm, keys)
    return image


def variable(name, vendor, value, attributes=7, time=(0, 0, 0, 0, 0, 0)):
    """A record of BIOS_NVRAM."""
    named = name.encode("utf-16le") + b"\0\0"
    year, month, day, hour, minute, second = time
    return struct.pack("<III", 0, 48 + len(named) + len(value), attributes) + struct.pack("<HBBBBBxIhBx", year, month, day, hour, minute, second, 0, 0, 0) + \
        uuid.UUID(vendor).bytes_le + struct.pack("<HH", len(named), len(value)) + named + value


def old_state(content, active=1, sequence=4):
    """A file of version 1: a partition of its own type with two headers and two places, of which the second holds `content`."""
    image = bytearray(256 * 512)
    image[512:520] = b"EFI PART"
    struct.pack_into("<QII", image, 512 + 72, 2, 128, 128)
    struct.pack_into("<16s16sQQ", image, 1024 + 128, uuid.UUID("700f0c12-1515-4e4d-8d32-53f685bf44af").bytes_le, uuid.uuid4().bytes_le, 40, 255)
    for copy, number in enumerate((sequence, sequence + 1)):
        start = b"GUESTRTS" + struct.pack("<I", 0x10000)
        fields = struct.pack("<IIII", number, 96, 32, active)
        for place, size in ((2, 7), (100, len(content))):
            fields += struct.pack("<QQI12x", place, 98, size)
        image[(40 + copy) * 512:(40 + copy) * 512 + 96] = start + struct.pack("<I", zlib.crc32(start + bytes(4) + fields)) + fields
    image[140 * 512:140 * 512 + len(content)] = content
    return image
