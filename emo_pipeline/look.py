"""What a person sees of an asset in the UI: counts, small pictures, curves.

Here: turning numbers and files into Dagster metadata. Every byte lands in the event log, so a picture is at most
20 kB; larger ones stay files, shown by path. Not here: computing anything.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from emo_model.data.records import REASONS, TABLES

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from emo_model.figures import Row

LARGEST_PICTURE = 20_000  # bytes
THUMBNAIL, THUMBNAILS = 96, 8  # pixels a side, pictures in a strip


def column_schema(table: str) -> dg.TableSchema:
    """A table's columns with their comments, shown beside the asset."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(c.name, str(c.type), c.comment, dg.TableColumnConstraints(nullable=bool(c.null)))
            for c in TABLES[table].columns
        ]
    )


def rejects(counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Rejects by reason, the most frequent first, each with its explanation."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    records = [dg.TableRecord({"reason": r, "count": n, "meaning": REASONS[r]}) for r, n in ordered]
    columns = [dg.TableColumn("reason"), dg.TableColumn("count", "int"), dg.TableColumn("meaning")]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def picture(data: bytes, kind: str, alt: str) -> dg.MarkdownMetadataValue:
    """An inline picture; in words where it is larger than the event log should carry: no picture is worth a run."""
    if len(data) > LARGEST_PICTURE:
        return dg.MetadataValue.md(f"{alt}: {len(data)} bytes, too large to show here")
    return dg.MetadataValue.md(f"![{alt}](data:image/{kind};base64,{base64.b64encode(data).decode()})")


def sheet(name: str, path: Path, alt: str) -> dict[str, dg.MetadataValue]:
    """A contact sheet, small, and where the large one lies; nothing where there is none."""
    from emo_model.data.sheets import small

    if not path.is_file():
        return {}
    return {name: picture(small(path), "jpeg", alt), f"{name}, large": dg.MetadataValue.path(str(path))}


def middle_frames(videos: Sequence[Path], alt: str) -> dict[str, dg.MetadataValue]:
    """A strip of the first videos' middle frames as metadata `thumbnails`; nothing where there are none."""
    frames = [_frame(path) for path in videos[:THUMBNAILS]]
    return {"thumbnails": strip(frames, alt)} if frames else {}


def frames_of(video: Path, count: int = THUMBNAILS) -> list["np.ndarray"]:
    """`count` frames spread evenly over one video, THUMBNAIL pixels a side."""
    import av
    import numpy as np

    with av.open(str(video)) as container:
        shown = [f.reformat(THUMBNAIL, THUMBNAIL, "rgb24").to_ndarray() for f in container.decode(video=0)]
    return [shown[i] for i in np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)]


def _frame(video: Path) -> "np.ndarray":
    frames = frames_of(video, 3)
    return frames[len(frames) // 2]


def strip(frames: Sequence["np.ndarray"], alt: str) -> dg.MarkdownMetadataValue:
    """Frames (H, W, 3) side by side as one small JPEG."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(np.concatenate(list(frames), axis=1))
    for quality in (85, 70, 50, 30):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= LARGEST_PICTURE:
            break
    return picture(out.getvalue(), "jpeg", alt)


def rows(shown: "Sequence[Row]", seconds: float, alt: str) -> dg.MarkdownMetadataValue:
    """A small contact sheet of videos."""
    from emo_model.data.previews import jpeg
    from emo_model.figures.contact_sheet import contact_sheet

    return picture(jpeg(contact_sheet(shown, columns=5, height=72, seconds=seconds)), "jpeg", alt)


def loss_curve(rows: Sequence[Mapping[str, Any]], title: str) -> dg.MarkdownMetadataValue:
    """Loss by step, with a running mean: single steps are mostly the noise of their random timesteps."""
    import numpy as np

    steps = np.array([row["step"] for row in rows])
    losses = np.array([row["loss"] for row in rows])
    window = max(1, len(rows) // 20)
    mean = np.convolve(losses, np.ones(window) / window, "valid")
    figure, axes = _axes(title, "step", "loss")
    axes.plot(steps, losses, color="#b8c4d6", linewidth=0.7)
    axes.plot(steps[window - 1 :], mean, color="#1f4e9c", linewidth=1.6)
    return _png(figure, title)


def histogram(values: Sequence[float], title: str, unit: str) -> dg.MarkdownMetadataValue:
    """Counts of a quantity."""
    figure, axes = _axes(title, unit, "count")
    axes.hist(values, bins=40, color="#1f4e9c")
    return _png(figure, title)


def _axes(title: str, x: str, y: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    figure = Figure(figsize=(4.6, 2.4), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure", alt: str) -> dg.MarkdownMetadataValue:
    """As a PNG of 16 colours: a drawing needs no more, and is a few kB instead of tens."""
    from PIL import Image

    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(16).save(out, "PNG", optimize=True)
    return picture(out.getvalue(), "png", alt)
