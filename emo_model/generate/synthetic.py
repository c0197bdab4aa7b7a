"""What a generated file says of itself: that it is synthetic, and how it was made. In its tags, and for all to see.

comment, description   tags that players and `ffprobe` show
XMP                    IPTC's word for media that a model made, which newsrooms and platforms look for (iptc.org,
                       Digital Source Type); in a video a box at the file's end
mark                   letters in the picture, where asked for
"""

import json
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from emo_model.data.media import Picture, open_media

STATEMENT = "Synthetic: this person was animated by a model (open EMO)."
MARK = "AI-generated"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")  # ISO base media files keep XMP in a box of this name
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" ext:DigitalSourceType="{source}">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def tags(made: Mapping[str, Any]) -> dict[str, str]:
    """The file's own tags. made: checkpoint, seed and settings."""
    return {"comment": f"{STATEMENT} {json.dumps(made, default=str)}", "description": STATEMENT}


def said(path: Path) -> str:
    """A video's own statement that it is synthetic, with how it was made; empty where it makes none."""
    with open_media(path) as container:
        comment = container.metadata.get("comment", "")
    return comment if comment.startswith(STATEMENT) else ""


def xmp(made: Mapping[str, Any]) -> str:
    """The XMP packet."""
    return _XMP.format(source=SOURCE_TYPE, text=escape(f"{STATEMENT} {json.dumps(made, default=str)}"))


def add_xmp(path: Path, made: Mapping[str, Any]) -> None:
    """Append the XMP box to an mp4 file; readers that do not know it pass over it."""
    text = xmp(made).encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I", 8 + len(XMP_UUID) + len(text)) + b"uuid" + XMP_UUID + text)


def marked(frame: Picture) -> Picture:
    """The frame (H, W, 3) with MARK in its lower left corner, white on a shadow."""
    letters, shadow = _mark(frame.shape[1], frame.shape[0])
    return np.round(frame * (1 - shadow) * (1 - letters) + 255 * letters).astype(np.uint8)


@cache
def _mark(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(H, W, 1) shares of white and of shade."""
    size = max(6, height // 24)
    while size > 6 and ImageFont.load_default(size).getlength(MARK) > 0.9 * width:
        size -= 1
    font, margin = ImageFont.load_default(size), max(1, height // 48)
    layers: list[NDArray[np.float32]] = []
    for stroke in (0, max(1, size // 10)):
        layer = Image.new("L", (width, height))
        ImageDraw.Draw(layer).text(
            (margin, height - margin), MARK, fill=255, font=font, anchor="lb", stroke_width=stroke
        )
        layers.append(np.asarray(layer, np.float32)[..., None] / np.float32(255))
    return layers[0] * np.float32(0.85), layers[1] * np.float32(0.5)
