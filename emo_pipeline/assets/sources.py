"""Group ingest: which sources there are, their bytes, what each file is (0_raw).

Here: source_registry and the first two shard steps. What a source is and where it lies: emo_model.data.sources.
"""

from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from emo_pipeline.assets.shards import OWNER, shard_assets
from emo_pipeline.failures import one_line
from emo_pipeline.partitions import SHARDS_NAME
from emo_pipeline.resources import Data


class Folder(dg.Config):
    """A folder of videos, read where it lies."""

    path: str
    name: str | None = Field(default=None, description="Collection name; empty: the folder's own.")
    licence: str = Field(default="unknown", description="Licence of its videos, kept with every clip.")
    identity: Literal["none", "hdtf", "celebv-hq", "vfhq", "folder"] = Field(
        default="none", description="How a file names its person: none, folder, or as a data set's files do."
    )
    annotations: str | None = Field(
        default=None, description="HDTF's, CelebV-HQ's or VFHQ's lists, for a folder of their videos or clips."
    )


class RegistryConfig(dg.Config):
    """Folders to add beside what lies in 0_raw; known ones need not be named again."""

    folders: list[Folder] = Field(default=[], description="Folders of videos to register; they are only ever read.")
    lists: list[str] = Field(
        default=[],
        description="HDTF's folder of lists, celebvhq_info.json, VFHQ's meta_info: every video of them is downloaded.",
    )
    download_rate_mb_s: float | None = Field(
        default=None, description="Megabytes a second of all downloads together; empty: keep (no limit)."
    )
    download_pause_s: float | None = Field(
        default=None, description="Seconds between two requests to a site; empty: keep (none)."
    )
    crop_size: int | None = Field(default=None, description="Side of the stored crops, pixels; empty: keep (256).")


@dg.asset(group_name="ingest", kinds={"parquet"}, owners=[OWNER], code_version="2")
@one_line
def source_registry(context: dg.AssetExecutionContext, config: RegistryConfig, data: Data) -> dg.MaterializeResult:
    """All sources, raw files and URLs, each with its shard (at most 200 sources or 2 GB). Rows are only ever added;
    new shards become partitions here. Files in 0_raw and lists 0_raw/NAME.urls.txt are found by themselves."""
    from emo_model.data import sources
    from emo_model.data.config import DataConfig
    from emo_model.data.downloads import Downloads
    from emo_model.data.records import SOURCES
    from emo_model.data.store import rows_sha256

    root = data.root
    if config.crop_size is not None:
        DataConfig.of(root).model_copy(update={"crop_size": config.crop_size}).save(root)
    asked = {"rate_mb_s": config.download_rate_mb_s, "pause_s": config.download_pause_s}
    if limits := {name: value for name, value in asked.items() if value is not None}:
        Downloads.of(root).with_(**limits).save(root)
    for folder in config.folders:
        lists = Path(folder.annotations) if folder.annotations else None
        sources.add_folder(root, Path(folder.path), folder.name, folder.licence, folder.identity, lists)
    for path in config.lists:
        sources.add_lists(root, Path(path))
    report = sources.register(root)
    context.instance.add_dynamic_partitions(SHARDS_NAME, list(report.shards))
    rows = root.read_single(SOURCES)
    skipped = [dg.TableRecord({"name": name, "why": why}) for name, why in report.skipped]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(rows_sha256(rows)),
        metadata={
            "dagster/row_count": report.total,
            "new": report.new,
            "shards": len(report.shards),
            "sources by collection": dict(report.by_collection),
            "skipped": dg.MetadataValue.table(
                skipped, schema=dg.TableSchema([dg.TableColumn("name"), dg.TableColumn("why")])
            ),
            "path": dg.MetadataValue.path(str(root.single(SOURCES))),
        },
    )


raw_videos = shard_assets("raw_videos", "ingest", {"parquet"})
video_probe = shard_assets("video_probe", "ingest", {"ffmpeg", "parquet"})
