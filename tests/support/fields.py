# SPDX-License-Identifier: Apache-2.0
"""Fields of image files by name, and what a corruptor puts into them: boundary values, one field at a time and several."""
import struct
from typing import NamedTuple

SECTOR = 512


class Field(NamedTuple):
    """A number of `width` bytes at `offset` of the file."""
    name: str
    offset: int
    width: int
    order: str  # "big" or "little"

    def get(self, data):
        return int.from_bytes(data[self.offset:self.offset + self.width], self.order)

    def put(self, data, value):
        data[self.offset:self.offset + self.width] = (value % (1 << 8 * self.width)).to_bytes(self.width, self.order)

    def shown(self, value):
        return f"{self.name} = {value:#x}"


class Text(NamedTuple):
    """A word in a text that stands in `room` bytes at `start`, filled up with NULs; room 0: the text is the whole file."""
    name: str
    start: int
    room: int
    before: bytes  # what stands in front of it, only there
    word: bytes

    def get(self, data):
        return self.word

    def put(self, data, value):
        end = self.start + self.room if self.room else len(data)
        changed = bytes(data[self.start:end]).rstrip(b"\0").replace(self.before + self.word, self.before + value, 1)
        data[self.start:end] = changed[:self.room].ljust(self.room, b"\0") if self.room else changed

    def shown(self, value):
        return f"{self.name} = {value.decode(errors='replace')!r}"


def fields(prefix, offset, order, described):
    """The fields that `described` lists as "name:width name:width ...", one behind the other; one that is called - is left out."""
    found = []
    for word in described.split():
        name, width = word.split(":")
        if name != "-":
            found.append(Field(f"{prefix}.{name}", offset, int(width), order))
        offset += int(width)
    return found


def entries(name, offset, width, order, count, step=None, most=6):
    """The first entries of a table and its last one."""
    numbers = sorted({*range(min(count, most - 1)), count - 1} - {-1})
    return [Field(f"{name}[{number}]", offset + number * (step or width), width, order) for number in numbers]


def boundary_values(field, data, others, cluster):
    """What may be put into `field` of the file `data`; `others`: fields whose values it may get; `cluster`: its unit, in bytes."""
    if isinstance(field, Text):
        number = int(field.word) if field.word.isdigit() else 0
        numbers = {0, 1, number + 1, max(0, number - 1), number * 2, number // 2, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, cluster}
        return [str(each).encode() for each in sorted(numbers)] + [b"-1", b"", b"x" * 40, b"ffffffff", b"RW", b'"']
    bits = 8 * field.width
    now, size, top = field.get(data), len(data), 1 << bits
    values = {0, 1, 2, top - 1, top - 2, top // 2, top // 2 - 1, now + 1, now - 1, now * 2, now // 2, size, size - 1, size + 1,
              cluster, cluster - 1, cluster + 1, now + cluster, now - cluster, now + SECTOR, now - SECTOR,
              size // SECTOR, size // SECTOR + 1, size // cluster, size // cluster + 1, size // cluster * cluster, 1 << 20, 1 << 31, 1 << 32, 1 << 40, 1 << 62}
    values |= {now ^ 1 << bit for bit in range(bits)}
    values |= {other.get(data) for other in others if isinstance(other, Field)}
    return sorted({value % top for value in values} - {now})


class Touched(bytearray):
    """A file's bytes, which remember where they were changed."""

    def __init__(self, data):
        super().__init__(data)
        self.touched = []

    def __setitem__(self, place, value):
        if isinstance(place, slice):
            self.touched.append((place.start, place.stop))
        super().__setitem__(place, value)


class Change(NamedTuple):
    field: Field
    value: int

    def __str__(self):
        return self.field.shown(self.value)


def corrupted(good, found, cluster, random):
    """(changed bytes, [Change]) of the file `good`, of whose fields `found` one, two or three get boundary values."""
    data = Touched(good)
    changes = []
    # Tables have many entries; each structure gets its share of the changes.
    groups = sorted({group_of(field) for field in found})
    for _ in range(random.choices((1, 2, 3), (5, 4, 1))[0]):
        group = random.choice(groups)
        field = random.choice([each for each in found if group_of(each) == group])
        if any(field == change.field for change in changes):
            continue
        value = random.choice(boundary_values(field, good, random.sample(found, min(4, len(found))), cluster))
        field.put(data, value)
        changes.append(Change(field, value))
    return data, changes


def group_of(field):
    """The structure or table that a field belongs to."""
    return field.name.split("[")[0].split(".")[0]


def number(data, offset, shape):
    """A number, by its shape as in struct."""
    return struct.unpack_from(shape, data, offset)[0]
