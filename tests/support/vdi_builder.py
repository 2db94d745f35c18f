# SPDX-License-Identifier: Apache-2.0
"""Builds VDI images and VirtualBox's settings files, and keeps the disk that a reader must get."""
import struct
import uuid

FREE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE
DYNAMIC, FIXED, UNDO, DIFFERENCING = 1, 2, 3, 4


class Vdi:
    """One image. `disk` is the flat model: what its parent has, changed by each write."""

    def __init__(self, size, block_size=1 << 20, block_extra=0, parent=None, kind=None, data_offset=None):
        self.size, self.block_size, self.block_extra, self.parent = size, block_size, block_extra, parent
        self.kind = kind or (DIFFERENCING if parent else DYNAMIC)
        self.map = [FREE] * -(-size // block_size)
        self.blocks = []
        self.create, self.modify = uuid.uuid4(), uuid.uuid4()
        self.data_offset = data_offset or -(-(512 + 4 * len(self.map)) // 512) * 512
        self.disk = bytearray(parent.disk[:size] if parent else b"")
        self.disk += bytes(size - len(self.disk))
        self.parent_modify = parent.modify if parent else uuid.UUID(int=0)
        self.allocated = None

    def write(self, number, data=None):
        """Writes guest block `number`; None makes it zeros that hide the parent."""
        at = number * self.block_size
        length = min(self.block_size, self.size - at)
        if data is None:
            self.map[number] = ZERO
            self.disk[at:at + length] = bytes(length)
            return
        assert len(data) == self.block_size
        self.map[number] = len(self.blocks)
        self.blocks.append(data)
        self.disk[at:at + length] = data[:length]

    def write_disk(self, data):
        """Writes a whole disk's bytes, leaving out blocks that are as they were."""
        for number in range(len(self.map)):
            at = number * self.block_size
            block = data[at:at + self.block_size].ljust(self.block_size, b"\0")
            if block[:self.size - at] != self.disk[at:at + self.block_size]:
                self.write(number, block if any(block) else None)

    def save(self, path):
        linkage = self.parent.create if self.parent else uuid.UUID(int=0)
        with open(path, "wb") as file:
            file.write(b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + struct.pack("<II", 0xBEDA107F, 0x00010001))
            file.write(struct.pack("<III256sII16sIQIIII", 400, self.kind, 0, b"", 512, self.data_offset, struct.pack("<4I", 0, 0, 0, 512), 0, self.size, self.block_size,
                                   self.block_extra, len(self.map), len(self.blocks) if self.allocated is None else self.allocated))
            for name in (self.create, self.modify, linkage, self.parent_modify):
                file.write(name.bytes_le)
            file.seek(512)
            file.write(struct.pack(f"<{len(self.map)}I", *self.map))
            file.seek(self.data_offset)
            for block in self.blocks:
                file.write(bytes(self.block_extra) + block)
            file.truncate(max(file.tell(), self.data_offset))
        return path


def settings(media, current, snapshots=()):
    """The text of a .vbox: media as (image, location) with parents first, the image attached now, snapshots as (name, image),
    each made upon the one before."""
    def hard_disk(image):
        location = next(location for each, location in media if each is image)
        children = "".join(hard_disk(child) for child, _ in media if child.parent is image)
        return f'<HardDisk uuid="{{{image.create}}}" location="{location}" format="VDI">{children}</HardDisk>'

    def attached(image):
        return (f'<StorageControllers><StorageController name="SATA"><AttachedDevice type="HardDisk" port="0" device="0">'
                f'<Image uuid="{{{image.create}}}"/></AttachedDevice></StorageController></StorageControllers>')

    tree = ""
    for name, image in reversed(snapshots):
        tree = (f'<Snapshot uuid="{{{uuid.uuid4()}}}" name="{name}" timeStamp="2024-01-02T03:04:05Z">{attached(image)}'
                f'<Snapshots>{tree}</Snapshots></Snapshot>')
    bases = "".join(hard_disk(image) for image, _ in media if image.parent is None)
    return (f'<?xml version="1.0"?>\n<VirtualBox xmlns="http://www.virtualbox.org/" version="1.16-linux">\n'
            f'<Machine uuid="{{{uuid.uuid4()}}}" name="machine" snapshotFolder="Snapshots"><MediaRegistry><HardDisks>{bases}</HardDisks></MediaRegistry>'
            f'{tree}{attached(current)}</Machine></VirtualBox>\n')
