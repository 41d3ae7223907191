"""Values that break readers."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

TEXTS = (
    *("", " ", "0", "-0", "1", "-1", "nan", "NaN", "inf", "-inf", "1e308", "-1e308", "1e-308", "1e400", "0.0", "1e5"),
    *("2147483647", "2147483648", "-2147483648", "4294967296", "9" * 40, "9" * 5000, "1.5", "1,5", "abc", "0x10"),
    *("1\\2", "\\", "\\\\\\", "1\\2\\3\\4\\5\\6\\7", "nan\\nan\\nan", "inf\\0\\0", "1e308\\1e308\\1e308", "../../etc"),
    *("0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "1e-30\\1e-30", "-1\\-1", "1e6\\1e6", "\x00" * 8, "é", "\ud7ff", "٣"),
    *("A" * 70000, "\r\n", "%s%n", "${x}", "1_000", "+5", "1e", "0001", "\u2028"),
)
COUNTS = (0, 1, 2, 3, 7, 15, 16, 17, 31, 63, 255, 256, 4096, 8191, 16384, 32767, 32768, 65534, 65535)
FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e-45, 1e-30, 1e-9, 1e9, 1e30, 3.4e38, 0.5),
    *(1e5, -1e5, 255.0, 32768.0, 1024.0),
)


BOMB = 1 << 24
"""Bytes of zeros that one piece of a bomb unpacks to."""


@cache
def zeros() -> bytes:
    """`BOMB` zeros, deflated, as a piece that may stand behind any other that ends on a byte, and be repeated."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(bytes(BOMB)) + packer.flush(zlib.Z_FULL_FLUSH)


def mutate_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Damage that knows nothing of the format."""
    kind = rng.choice(("flip", "flip", "cut", "zeros", "garbage", "insert", "remove", "lengths", "repeat", "append"))
    if not data:
        return b"\0" * rng.choice((1, 131, 400)), "filled"
    changed = bytearray(data)
    at = rng.randrange(len(changed))
    size = min(rng.choice((1, 2, 4, 8, 64, 1024)), len(changed) - at)
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[at:]
    elif kind == "zeros":
        changed[at : at + size] = bytes(size)
    elif kind == "garbage":
        changed[at : at + size] = rng.randbytes(size)
    elif kind == "insert":
        changed[at:at] = rng.randbytes(size)
    elif kind == "remove":
        del changed[at : at + size]
    elif kind == "lengths":
        where = min(at, max(len(changed) - 4, 0))
        changed[where : where + 4] = struct.pack("<I", rng.choice((0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0x10000000, 1)))
    elif kind == "repeat":
        changed[at:at] = bytes(changed[at : at + size]) * rng.choice((1, 2, 50))
    else:
        changed += rng.randbytes(rng.choice((1, 16, 4096)))
    return bytes(changed), f"{kind} at {at}"
