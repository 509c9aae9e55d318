"""The dynamic symbols of an ELF file."""

from __future__ import annotations

import struct
from pathlib import Path

_SHT_DYNSYM = 11


def exported_symbols(path: Path) -> set[str]:
    """Names of all defined symbols in the dynamic symbol table of a 64-bit little-endian file."""
    data = path.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", f"{path} is not a 64-bit little-endian ELF file"
    (sections_at,) = struct.unpack_from("<Q", data, 40)
    entry_size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + i * entry_size) for i in range(count)]
    found = set()
    for _, kind, _, _, offset, size, link, _, _, symbol_size in sections:
        if kind != _SHT_DYNSYM:
            continue
        names_at = sections[link][4]
        for at in range(offset, offset + size, symbol_size):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            if section != 0:
                end = data.index(b"\0", names_at + name)
                found.add(data[names_at + name : end].decode())
    return found
