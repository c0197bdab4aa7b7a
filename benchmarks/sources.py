"""50,000 sources in 250 shards: how long the registry takes, and a pass in which nothing is new.

    python benchmarks/sources.py [SOURCES]

Half of the sources are files (sparse, of sizes as video clips have), half are lines of a URL list. Of both, the steps
raw_videos and video_probe list the work of every shard, as they do in each run. Bar: the whole pass within a minute,
and a shard's share of it the same with ten times the sources.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from emo_model.data import fetch, probe, sources
from emo_model.data.records import FETCHED
from emo_model.data.store import DataRoot, text_sha256, write_rows


def timed(what: str, work):
    started = time.perf_counter()
    result = work()
    print(f"{what:60}{time.perf_counter() - started:9.2f} s", flush=True)
    return result


def fill(folder: Path, root: DataRoot, count: int) -> None:
    """Files in folder, and a list of URLs in 0_raw."""
    dice = random.Random(0)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(dice.randrange(1, 10**7))
    lines = [f"https://www.youtube.com/watch?v={text_sha256(number)[:11]}" for number in range(count // 2)]
    lines += [f"https://example.org/talks/{number}.mp4" for number in range(count // 2, count)]
    (root.folder("0_raw") / "web.urls.txt").write_text("\n".join(lines))


def fetched(root: DataRoot, shard: str) -> None:
    """What raw_videos leaves behind, without reading 250 GB."""
    dice = random.Random(shard)
    rows = [
        {
            "source_id": row["source_id"], "video_id": text_sha256(row["source_id"]), "shard": shard,
            "bytes": row["bytes"] or dice.randrange(1, 10**7), "status": "ok", "input_sha256": "", "step_version": 1,
        }
        for row in sources.registered(root, shard)
    ]  # fmt: skip
    write_rows(root.part(FETCHED, shard), FETCHED, rows)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as folder:
        root = DataRoot(Path(folder) / "data").create()
        (raw := Path(folder) / "raw").mkdir()
        fill(raw, root, count // 2)
        report = timed(f"register {count} sources", lambda: sources.add_folder(root, raw))
        timed("register again, nothing new", lambda: sources.register(root))
        for shard in report.shards:
            fetched(root, shard)
        for step in (fetch.STEP, probe.STEP):
            last = report.shards[-1]
            timed(f"{step.name}: items of one shard of {len(report.shards)}", lambda: step.items(root, last))  # noqa: B023
        for step in (fetch.STEP, probe.STEP):
            timed(
                f"{step.name}: items of all {len(report.shards)} shards",
                lambda: [step.items(root, shard) for shard in report.shards],  # noqa: B023
            )


if __name__ == "__main__":
    main()
