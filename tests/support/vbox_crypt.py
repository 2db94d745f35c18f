# SPDX-License-Identifier: Apache-2.0
"""Encrypts VDI images and writes key stores as VirtualBox's settings keep them: with Python's hashlib and libcrypto's XTS."""
import base64
import hashlib
import os
import struct

import luks
from vdi_builder import ZERO

SECTOR = 512


def encipher(key, number, data):
    """One unit of data by AES-XTS whose number is `number`."""
    return luks.encipher(f"aes-{len(key) * 4}-xts", key, struct.pack("<QQ", number, 0), data)


def key_store(key, password, hash_name="sha256", iterations=2000, digest_iterations=1000, cipher=None, digest_bytes=None):
    """The value of CRYPT/KeyStore."""
    salt, digest_salt = os.urandom(32), os.urandom(32)
    outer = hashlib.pbkdf2_hmac(hash_name, password, salt, iterations, len(key))
    digest = hashlib.pbkdf2_hmac(hash_name, key, digest_salt, digest_iterations, digest_bytes or min(32, hashlib.new(hash_name).digest_size))
    record = struct.pack("<4sH32s32sI32sI32sI32sII64s", b"SCNE", 0x100, (cipher or f"AES-XTS{len(key) * 4}-PLAIN64").encode(),
                         f"PBKDF2-{hash_name.upper()}".encode(), len(key), digest, len(digest), digest_salt, digest_iterations, salt, iterations,
                         len(key), encipher(outer, 0, key))
    assert len(record) == 250
    text = base64.b64encode(record).decode()
    return "&#13;&#10;".join(text[at:at + 64] for at in range(0, len(text), 64))


def encrypt(image, key):
    """Enciphers the blocks that `image`, a vdi_builder.Vdi, stores; its `disk` stays as it is."""
    for number, index in enumerate(image.map):
        if index >= ZERO:
            continue
        first, block = number * image.block_size // SECTOR, image.blocks[index]
        image.blocks[index] = b"".join(encipher(key, first + at // SECTOR, block[at:at + SECTOR]) for at in range(0, len(block), SECTOR))


def protect(settings, store, key_id="the password"):
    """The text of a .vbox whose first medium, and with it those above, is encrypted."""
    return settings.replace('format="VDI">', f'format="VDI"><Property name="CRYPT/KeyId" value="{key_id}"/><Property name="CRYPT/KeyStore" value="{store}"/>', 1)
