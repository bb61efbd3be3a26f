"""Small picture files of kinds that Pillow does not write itself."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
    """Return a PNG of values (H, W, C) with so many bits each; colour types: 0 grey, 2 RGB, 4 grey + alpha, 6 RGBA."""
    height, width = values.shape[:2]
    rows = values.reshape(height, -1)
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        bits = ["".join(format(int(value), f"0{depth}b") for value in row) for row in rows]
        padded = [line + "0" * (-len(line) % 8) for line in bits]
        lines = [int(line, 2).to_bytes(len(line) // 8, "big") for line in padded]
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, tags: dict[int, tuple[int, int]]) -> bytes:
    """Return a little-endian TIFF of values (H, W) as they lie in memory; ``tags`` are (type, value) by number."""
    body = values.tobytes()
    height, width = values.shape
    entries = {
        256: (4, width),
        257: (4, height),
        258: (3, values.dtype.itemsize * 8),
        259: (3, 1),
        262: (3, 1),
        273: (4, 8),
        277: (3, 1),
        278: (4, height),
        279: (4, len(body)),
    } | tags
    directory = struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        directory += struct.pack("<HHI", tag, kind, 1) + (
            struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        )
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + struct.pack("<I", 0)
