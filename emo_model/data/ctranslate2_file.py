"""Read CTranslate2's model.bin (version 6): a list of named arrays. The library itself is not needed for that.

u32 version | string spec | u32 revision | u32 count | count x (string name, u8 rank, u32 dims, u8 type, u32 bytes,
data) | u32 aliases | aliases x (string, string);  string: u16 length with the final zero, bytes
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by CTranslate2's DataType number


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, format: str) -> int:
        (value,) = struct.unpack_from("<" + format, self.data, self.at)
        self.at += struct.calcsize(format)
        return value

    def string(self) -> str:
        length = self.number("H")
        text = self.data[self.at : self.at + length - 1].decode()
        self.at += length
        return text

    def array(self) -> NDArray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = np.dtype(_TYPES[self.number("B")]), self.number("I")
        values = np.frombuffer(self.data, kind, size // kind.itemsize, self.at).reshape(shape)
        self.at += size
        return values


def read_arrays(path: Path) -> dict[str, NDArray]:
    """name -> array, read-only views of the file's bytes. ValueError where the file is no such model.bin."""
    reader = _Reader(path.read_bytes())
    if (version := reader.number("I")) != 6:
        raise ValueError(f"{path}: a CTranslate2 model of version 6 was wanted; got version {version}")
    reader.string(), reader.number("I")  # spec and its revision
    arrays = {reader.string(): reader.array() for _ in range(reader.number("I"))}
    for _ in range(reader.number("I")):
        alias, name = reader.string(), reader.string()
        arrays[alias] = arrays[name]
    if reader.at != len(reader.data):
        raise ValueError(f"{path}: {len(reader.data)} bytes, of which only {reader.at} belong to the model")
    return arrays
