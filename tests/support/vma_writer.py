# SPDX-License-Identifier: Apache-2.0
"""Writes VMA archives of any size, as Proxmox's writer lays them out: for tests and benchmarks."""
import hashlib
import struct
import uuid

BLOCK, CLUSTER, SLOTS = 4096, 65536, 59
WRITER_SLOTS = 58  # Proxmox's own writer leaves the last slot empty


def _header(identity, time, configs, devices):
    """configs: [(name, bytes)], devices: [(name, size)]."""
    blobs = bytearray(b"\0")

    def add(data):
        at = len(blobs)
        blobs.extend(struct.pack("<H", len(data)) + data)
        return at

    names, datas = [0] * 256, [0] * 256
    for i, (name, content) in enumerate(configs):
        names[i] = add(name.encode() + b"\0")
        datas[i] = add(content)
    table = bytearray(256 * 32)
    for i, (name, size) in enumerate(devices, start=1):
        struct.pack_into(">IIQ", table, i * 32, add(name.encode() + b"\0"), 0, size)
    header_size = -(-(12288 + len(blobs)) // 512) * 512
    header = bytearray(header_size)
    struct.pack_into(">4sI16sq", header, 0, b"VMA\0", 1, identity, time)
    struct.pack_into(">III", header, 48, 12288, len(blobs), header_size)
    struct.pack_into(">256I", header, 2044, *names)
    struct.pack_into(">256I", header, 3068, *datas)
    header[4096:12288] = table
    header[12288:12288 + len(blobs)] = blobs
    header[32:48] = hashlib.md5(header).digest()
    return header


def _extent(identity, slots):
    """slots: [(device, cluster, mask, data)]."""
    header = bytearray(512)
    data = b"".join(slot[3] for slot in slots)
    struct.pack_into(">4sHH16s", header, 0, b"VMAE", 0, len(data) // BLOCK, identity)
    for i, (device, cluster, mask, _) in enumerate(slots):
        struct.pack_into(">HBBI", header, 40 + 8 * i, mask, 0, device, cluster)
    header[24:40] = hashlib.md5(header).digest()
    return header + data


def _slot(device, cluster, content):
    content = content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")
    mask, stored = 0, []
    for i in range(0, len(content), BLOCK):
        block = content[i:i + BLOCK]
        if block.count(0) != BLOCK:
            mask |= 1 << i // BLOCK
            stored.append(block)
    return device, cluster, mask, b"".join(stored)


def _clusters(path):
    """(cluster number, content) of a raw disk, in order."""
    with open(path, "rb") as file:
        number = 0
        while content := file.read(CLUSTER):
            yield number, content
            number += 1


def write(path, disks, configs=(("qemu-server.conf", b"memory: 2048\n"),), time=1704067200):
    """disks: [(name, path of a raw file)], stored one after the other."""
    import os
    identity = uuid.UUID("6d1f0c2e-0d5c-4a86-9a3e-2d3a5c7b9e11").bytes
    with open(path, "wb") as out:
        out.write(_header(identity, time, list(configs), [(name, os.stat(raw).st_size) for name, raw in disks]))
        slots = []
        for device, (_, raw) in enumerate(disks, start=1):
            for number, content in _clusters(raw):
                slots.append(_slot(device, number, content))
                if len(slots) == WRITER_SLOTS:
                    out.write(_extent(identity, slots))
                    slots = []
        if slots:
            out.write(_extent(identity, slots))
