"""MediaPipe's canonical face: 468 vertices in centimetres and 898 triangles, read from its own binary file.

The file (weights entry `face_mesh`, Apache-2.0) is a GeometryPipelineMetadata message. Only a canonical mesh is read;
a wire reader of fifteen lines stands in for a generated protobuf class that no package carries.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The outline of the face, clockwise in the picture from the forehead, and the inner edges of the lips, left to right.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
UPPER_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)


@dataclass(frozen=True)
class Mesh:
    """vertices (468, 3): x to the image's right, y up, z towards the camera, cm; triangles (898, 3)."""

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]

    @property
    def mouth(self) -> NDArray[np.bool_]:
        """(898,) the triangles between the lips: what is seen of the inside of the mouth."""
        return np.all(np.isin(self.triangles, (*UPPER_INNER_LIP, *LOWER_INNER_LIP)), axis=1)


def read(path: Path) -> Mesh:
    """The canonical mesh of a GeometryPipelineMetadata file."""
    message = next(value for number, value in _fields(path.read_bytes()) if number == 1 and isinstance(value, bytes))
    fields = list(_fields(message))
    floats = [struct.unpack("<f", value)[0] for number, value in fields if number == 3 and isinstance(value, bytes)]
    indices = [value for number, value in fields if number == 4 and isinstance(value, int)]
    vertices = np.array(floats).reshape(-1, 5)[:, :3]  # x y z u v
    return Mesh(vertices, np.array(indices, np.int32).reshape(-1, 3))


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) of every field of a protobuf message: varint, fixed 32 bit, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        else:
            length, at = (4, at) if key & 7 == 5 else _varint(data, at)
            yield key >> 3, data[at : at + length]
            at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
