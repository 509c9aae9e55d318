"""What the tests look at in an ELF file, of 32 or 64 bits, little endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_SONAME, DT_RPATH, DT_HASH = 1, 5, 6, 14, 15, 4
DT_TEXTREL, DT_FLAGS, DT_RUNPATH, DT_GNU_HASH, DT_FLAGS_1 = 22, 30, 29, 0x6FFFFEF5, 0x6FFFFFFB
DT_INIT, DT_FINI, DT_INIT_ARRAY, DT_FINI_ARRAY = 12, 13, 25, 26
X, W, R = 1, 2, 4


@dataclass
class Segment:
    """One program header."""

    type: int
    flags: int
    offset: int
    address: int
    file_size: int
    size: int
    align: int


@dataclass
class Elf:
    """One file."""

    path: Path
    bits: int = 0
    type: int = 0
    machine: int = 0
    flags: int = 0
    entry: int = 0
    interpreter: str = ""
    segments: list[Segment] = field(default_factory=list)
    dynamic: list[tuple[int, int]] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    exports: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.data = self.path.read_bytes()
        assert self.data[:4] == b"\x7fELF" and self.data[5] == 1, f"{self.path} is not a little-endian ELF file"
        self.bits = {1: 32, 2: 64}[self.data[4]]
        form = "<HHIQQQIHHH" if self.bits == 64 else "<HHIIIIIHHH"
        header = struct.unpack_from(form, self.data, 16)
        self.type, self.machine, _, self.entry, table, _, self.flags, _, entry_size, count = header
        for at in range(table, table + count * entry_size, entry_size):
            if self.bits == 64:
                kind, flags, offset, address, _, file_size, size, align = struct.unpack_from("<IIQQQQQQ", self.data, at)
            else:
                kind, offset, address, _, file_size, size, flags, align = struct.unpack_from("<IIIIIIII", self.data, at)
            self.segments.append(Segment(kind, flags, offset, address, file_size, size, align))
        for segment in self.of_type(PT_INTERP):
            self.interpreter = self.text(segment.offset)
        self._read_dynamic()

    def of_type(self, kind: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.type == kind]

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode()

    def at(self, address: int) -> int:
        """File offset of an address."""
        for segment in self.of_type(PT_LOAD):
            if segment.address <= address < segment.address + segment.file_size:
                return address - segment.address + segment.offset
        raise AssertionError(f"{self.path}: address {address:#x} is in no segment")

    def values(self, tag: int) -> list[int]:
        return [value for found, value in self.dynamic if found == tag]

    def strings(self, tag: int) -> list[str]:
        names = self.at(self.values(DT_STRTAB)[0])
        return [self.text(names + value) for value in self.values(tag)]

    def _read_dynamic(self) -> None:
        (segment,) = self.of_type(PT_DYNAMIC)
        form = "<qQ" if self.bits == 64 else "<iI"
        for at in range(segment.offset, segment.offset + segment.file_size, struct.calcsize(form)):
            tag, value = struct.unpack_from(form, self.data, at)
            if tag == 0:
                break
            self.dynamic.append((tag, value))
        names = self.at(self.values(DT_STRTAB)[0])
        symbols = self.at(self.values(DT_SYMTAB)[0])
        (count,) = struct.unpack_from("<I", self.data, self.at(self.values(DT_HASH)[0]) + 4)
        size = 24 if self.bits == 64 else 16
        for at in range(symbols + size, symbols + count * size, size):
            (name,) = struct.unpack_from("<I", self.data, at)
            (section,) = struct.unpack_from("<H", self.data, at + (6 if self.bits == 64 else 14))
            (self.exports if section else self.imports).add(self.text(names + name))
