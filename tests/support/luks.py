# SPDX-License-Identifier: Apache-2.0
"""Writes LUKS1 headers of any make into qcow2 images that have room for one: qemu-img measures seconds of CPU time for each
header that it writes, and QEMU itself then reads these and enciphers with them."""
import ctypes
import ctypes.util
import hashlib
import os
import struct

SECTOR = 512
STRIPES = 4000
ACTIVE, INACTIVE = 0x00AC71F3, 0x0000DEAD
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
for _name in ("EVP_get_cipherbyname", "EVP_CIPHER_CTX_new"):
    getattr(_crypto, _name).restype = ctypes.c_void_p


def encipher(cipher, key, iv, data):
    """`data` by a cipher as libcrypto calls it, without padding."""
    context = ctypes.c_void_p(_crypto.EVP_CIPHER_CTX_new())
    algorithm = ctypes.c_void_p(_crypto.EVP_get_cipherbyname(cipher.encode()))
    out, length = ctypes.create_string_buffer(len(data) + 32), ctypes.c_int()
    done = algorithm.value and _crypto.EVP_EncryptInit_ex(context, algorithm, None, key, iv) == 1
    done = done and _crypto.EVP_CIPHER_CTX_set_padding(context, 0) == 1
    done = done and _crypto.EVP_EncryptUpdate(context, out, ctypes.byref(length), data, len(data)) == 1
    _crypto.EVP_CIPHER_CTX_free(context)
    if not done:
        raise RuntimeError(f"libcrypto can't encipher by {cipher}")
    return out.raw[:length.value]


def encipher_sectors(mode, key, data):
    """`data` from sector 0 on, by AES in a mode as LUKS spells it: "xts-plain64", "cbc-essiv:sha256"."""
    mode, generator = mode.split("-")
    bits = len(key) * (4 if mode == "xts" else 8)
    sectors = []
    for number in range(0, len(data) // SECTOR):
        iv = struct.pack("<QQ", number, 0)
        if generator.startswith("essiv:"):
            salt = hashlib.new(generator[6:], key).digest()
            iv = encipher(f"aes-{len(salt) * 8}-ecb", salt, None, iv)
        sectors.append(encipher(f"aes-{bits}-{mode}", key, iv, data[number * SECTOR:(number + 1) * SECTOR]))
    return b"".join(sectors)


def split(hash_name, key):
    """The anti-forensic splitter: STRIPES pieces of which every bit is needed."""
    size = hashlib.new(hash_name).digest_size
    stripes, mixed = [], bytes(len(key))
    for _ in range(STRIPES - 1):
        stripes.append(os.urandom(len(key)))
        mixed = bytes(a ^ b for a, b in zip(mixed, stripes[-1]))
        pieces = [mixed[at:at + size] for at in range(0, len(mixed), size)]
        mixed = b"".join(hashlib.new(hash_name, struct.pack(">I", i) + piece).digest()[:len(piece)] for i, piece in enumerate(pieces))
    stripes.append(bytes(a ^ b for a, b in zip(mixed, key)))
    return b"".join(stripes)


def header(mode, hash_name, key_bytes, passphrases, iterations=1000):
    """A whole header with its key material. `passphrases` maps slot numbers to passphrases."""
    key, salt = os.urandom(key_bytes), os.urandom(32)
    step = -(-key_bytes * STRIPES // 4096) * 4096
    slots, areas = b"", bytearray(8 * step)
    for number in range(8):
        passphrase, slot_salt = passphrases.get(number), os.urandom(32)
        slots += struct.pack(">II32sII", INACTIVE if passphrase is None else ACTIVE, iterations, slot_salt, (4096 + number * step) // SECTOR, STRIPES)
        if passphrase is not None:
            slot_key = hashlib.pbkdf2_hmac(hash_name, passphrase, slot_salt, iterations, key_bytes)
            material = encipher_sectors(mode, slot_key, split(hash_name, key))
            areas[number * step:number * step + len(material)] = material
    digest = hashlib.pbkdf2_hmac(hash_name, key, salt, iterations, 20)
    head = struct.pack(">6sH32s32s32sII20s32sI40s", b"LUKS\xba\xbe", 1, b"aes", mode.encode(), hash_name.encode(), (4096 + 8 * step) // SECTOR,
                       key_bytes, digest, salt, iterations, b"0f7a2b36-6d27-4e0c-8f5b-3a9d1c2e4b58")
    return (head + slots).ljust(4096, b"\0") + bytes(areas)


def header_area(image):
    """(offset, length) of the encryption header of a qcow2 image."""
    with open(image, "rb") as file:
        head = file.read(4096)
    at = struct.unpack_from(">I", head, 100)[0]
    while True:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0x0537BE77:
            return struct.unpack_from(">QQ", head, at + 8)
        if kind == 0:
            raise ValueError("no encryption header extension")
        at += 8 + -(-length // 8) * 8


def replace_header(image, new):
    offset, length = header_area(image)
    if len(new) > length:
        raise ValueError("the image has no room for this header")
    with open(image, "r+b") as file:
        file.seek(offset)
        file.write(new.ljust(length, b"\0"))
