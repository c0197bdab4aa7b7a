"""Run one step over one shard: a process pool over its videos, resumable video by video.

A step is a value: what it reads, what it writes, and two functions. `items` lists the work of a shard, one item a
video; `work` does one item and returns rows and rejects. Everything else happens here, once for every step:
items whose input and step version are unchanged are kept from the last run; a finished item is on disk before the
next one starts; a broken item becomes a row in `rejected`, never a failed shard; a worker dies with its parent.

    shard=s0000/part.parquet        the rows of all items, sorted: what readers see
    shard=s0000/items/KEY.parquet   finished items of a run under way (or killed); gone once `part` is written
"""

import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emo_model.data.records import REASONS, TABLES
from emo_model.data.store import DataRoot, held, rows_sha256, sweep, text_sha256, write_json, write_parquet, write_rows
from emo_model.data.workers import Workers
from emo_model.errors import FULL_OR_READ_ONLY, UserError

Rows = dict[str, list[dict[str, Any]] | pa.Table]  # table name -> rows; as arrow where they are many


@dataclass(frozen=True)
class Item:
    """The work on one video (or source). `inputs` is hashed with the step's version to tell whether to redo it."""

    key: str
    inputs: str
    payload: Any = None


@dataclass(frozen=True)
class Reject:
    """One thing left out, for a reason of the closed list. `id` is the source's, video's, shot's or clip's."""

    kind: str
    id: str
    reason: str
    score: float | None = None
    threshold: float | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"reason must be one of {sorted(REASONS)}; got {self.reason!r}")


@dataclass(frozen=True)
class Result:
    """What became of one item: rows by table (without shard and stamp, which are added here) and rejects."""

    rows: Rows = field(default_factory=dict)
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of the data's path. `name` is also the Dagster asset's; `tables[0]` is its main table."""

    name: str
    version: int
    tables: tuple[str, ...]
    after: tuple[str, ...]
    description: str
    items: Callable[[DataRoot, str], list[Item]]
    work: Callable[[DataRoot, str, Item], Result]


@dataclass(frozen=True)
class StepReport:
    """What a run of a step did, for the log, the UI and the tests."""

    step: str
    shard: str
    rows: dict[str, int]
    rejects: dict[str, int]
    done: int
    kept: int
    seconds: float
    data_version: str


def run_step(
    step: Step,
    root: DataRoot,
    shard: str,
    *,
    workers: int | Workers = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> StepReport:
    """Bring one shard's rows of one step up to date. Returns counts and the data version (hash of all rows).

    workers: how many processes, or those that serve several steps. Raises UserError where the disk or the folder
    refuses a write; everything finished so far is kept.
    """
    folder = root.part(step.tables[0], shard).parent
    busy = f"{step.name} {shard} is being worked on by another run; wait for it, then run the same command again"
    try:
        with held(folder, busy), Workers(workers) if isinstance(workers, int) else nullcontext(workers) as processes:
            return _run_step(step, root, shard, processes, progress)
    except OSError as error:
        raise UserError(
            f"{step.name} {shard}: cannot read or write below {root.path}: {error.strerror or error}; "
            "finished videos are kept; free space or fix the folder, then run the same command again"
        ) from error


def _run_step(step: Step, root: DataRoot, shard: str, workers: Workers, progress: Callable[[str], None]) -> StepReport:
    started = time.perf_counter()
    for place in {root.media(TABLES[t].folder, shard, "") for t in step.tables}:
        sweep(place)
    for path in _outputs(step, root, shard).values():
        sweep(path.parent)
    items = step.items(root, shard)
    finished = _finished(step, root, shard)
    todo = [item for item in items if finished.get(item.key, ("", None))[0] != _stamp(step, item)]
    kept = len(items) - len(todo)
    for number, (item, rows) in enumerate(_run(step, root, shard, todo, workers), start=1):
        _write_item(step, root, shard, item, rows)
        progress(f"{step.name} {shard}: {kept + number}/{len(items)}")
    merged = _merge(step, root, shard, items)
    return _report(step, shard, merged, len(todo), kept, time.perf_counter() - started)


def is_done(step: Step, root: DataRoot, shard: str) -> bool:
    """Whether `run_step` would find every item done before, and none taken out."""
    finished = {key: stamp for key, (stamp, place) in _finished(step, root, shard).items() if place is None}
    written = all(path.exists() for path in _outputs(step, root, shard).values())
    return written and finished == {item.key: _stamp(step, item) for item in step.items(root, shard)}


def _stamp(step: Step, item: Item) -> str:
    return text_sha256(step.name, step.version, item.key, item.inputs)


def _run(step: Step, root: DataRoot, shard: str, items: list[Item], workers: Workers) -> Iterator[tuple[Item, Rows]]:
    """Yield (item, rows) as items finish; an item that kills its process, out of memory or in a codec, is rejected."""
    with closing(workers.run(step.name, partial(_guarded, step, root, shard), items)) as results:
        for item, rows in results:
            died = Result(rejects=(_failed(step, item, "the worker process died while on this item"),))
            yield item, _rows(step, shard, item, died) if rows is None else rows


def _guarded(step: Step, root: DataRoot, shard: str, item: Item) -> Rows:
    """Do one item; an unexpected error becomes a reject that quotes it. An error of the data root's disk is the user's
    to mend and ends the step; a source that cannot be read is one item's."""
    try:
        result = step.work(root, shard, item)
    except UserError:
        raise
    except Exception as error:  # one broken video must not fail the shard
        if isinstance(error, OSError) and _of_disk(error, root):
            raise
        traceback.print_exc(file=sys.stderr)
        result = Result(rejects=(_failed(step, item, f"{type(error).__name__}: {error}"),))
    return _rows(step, shard, item, result)


def _of_disk(error: OSError, root: DataRoot) -> bool:
    """Whether the data root's disk is full or refuses, rather than a raw file."""
    if error.errno in FULL_OR_READ_ONLY:
        return True
    if not error.filename:  # libav's refusals of a file are OSErrors without one
        return False
    path = Path(os.fsdecode(error.filename))
    return path.is_relative_to(root.path) and not path.is_relative_to(root.folder("0_raw"))


def _failed(step: Step, item: Item, detail: str) -> Reject:
    kind = "source" if "source_id" in TABLES[step.tables[0]].schema.names else "video"
    return Reject(kind, item.key, "step_failed", detail=detail[:500])


def _rows(step: Step, shard: str, item: Item, result: Result) -> Rows:
    stamp = {"shard": shard, "input_sha256": _stamp(step, item), "step_version": step.version}
    rows: Rows = {table: _stamped(result.rows.get(table, []), stamp) for table in step.tables}
    unknown = set(result.rows) - set(step.tables)
    if unknown:
        raise ValueError(f"{step.name} writes {step.tables}; got rows for {sorted(unknown)}")
    rows["rejected"] = [
        {**vars(reject), "step": step.name, "policy": None, **stamp} for reject in result.rejects
    ]  # fmt: skip
    return rows


def _stamped(rows: list[dict[str, Any]] | pa.Table, stamp: dict[str, Any]) -> list[dict[str, Any]] | pa.Table:
    if not isinstance(rows, pa.Table):
        return [{**row, **stamp} for row in rows]
    for name, value in stamp.items():
        rows = rows.append_column(name, pa.repeat(value, len(rows)))
    return rows


# ---- what is on disk ----


def _items_folder(step: Step, root: DataRoot, shard: str) -> Path:
    return root.part(step.tables[0], shard).parent / f"items-{step.name}"


def _ledger(step: Step, root: DataRoot, shard: str) -> Path:
    return root.part(step.tables[0], shard).with_name(f"done-{step.name}.json")


def _outputs(step: Step, root: DataRoot, shard: str) -> dict[str, Path]:
    parts = {table: root.part(table, shard) for table in step.tables}
    return {**parts, "rejected": root.part("rejected", shard, step.name)}


def _finished(step: Step, root: DataRoot, shard: str) -> dict[str, tuple[str, Path | None]]:
    """Item key -> (stamp, folder of its rows, or None if they are in the part files)."""
    done: dict[str, tuple[str, Path | None]] = {}
    ledger = _ledger(step, root, shard)
    if ledger.exists() and all(path.exists() for path in _outputs(step, root, shard).values()):
        done |= {key: (stamp, None) for key, stamp in json.loads(ledger.read_text()).items()}
    for mark in _items_folder(step, root, shard).glob("*/done.json"):
        entry = json.loads(mark.read_text())
        done[entry["key"]] = (entry["stamp"], mark.parent)
    return done


def _write_item(step: Step, root: DataRoot, shard: str, item: Item, rows: Rows) -> None:
    folder = _items_folder(step, root, shard) / text_sha256(item.key)[:32]
    (folder / "done.json").unlink(missing_ok=True)
    for table, table_rows in rows.items():
        write_rows(folder / f"{table}.parquet", TABLES[table], table_rows)
    write_json(folder / "done.json", {"key": item.key, "stamp": _stamp(step, item)})  # last: the item is whole


def _merge(step: Step, root: DataRoot, shard: str, items: list[Item]) -> dict[str, pa.Table]:
    """Part files from the kept rows of the last run and the finished items of this one; sorted, so the order of
    work is invisible. Safe to kill anywhere: kept rows stand in the old and the new parts alike, new items' folders
    go only when the ledger that lists them is written."""
    finished = _finished(step, root, shard)
    wanted = {item.key: _stamp(step, item) for item in items}
    current = {key: place for key, (stamp, place) in finished.items() if wanted.get(key) == stamp}
    folders = [place for place in current.values() if place]
    in_part = {key: wanted[key] for key, place in current.items() if place is None}
    write_json(_ledger(step, root, shard), in_part)
    merged = {}
    for name, path in _outputs(step, root, shard).items():
        pieces = [pq.ParquetFile(folder / f"{name}.parquet").read() for folder in folders]
        if in_part:
            old = pq.ParquetFile(path).read()
            pieces.append(old.filter(pc.is_in(old["input_sha256"], pa.array(sorted(in_part.values())))))
        data = pa.concat_tables([TABLES[name].schema.empty_table(), *pieces])
        merged[name] = data.sort_by([(key, "ascending") for key in TABLES[name].key])
    for name, path in _outputs(step, root, shard).items():
        write_parquet(path, merged[name])
    failed = merged["rejected"].filter(pc.equal(merged["rejected"]["reason"], "step_failed"))["input_sha256"]
    again = set(failed.to_pylist())  # perhaps only memory was short: the next run tries them once more
    write_json(_ledger(step, root, shard), {key: stamp for key, stamp in wanted.items() if stamp not in again})
    shutil.rmtree(_items_folder(step, root, shard), ignore_errors=True)
    return merged


def _report(step: Step, shard: str, merged: dict[str, pa.Table], done: int, kept: int, seconds: float) -> StepReport:
    return StepReport(
        step=step.name,
        shard=shard,
        rows={table: merged[table].num_rows for table in step.tables},
        rejects=dict(sorted(Counter(merged["rejected"]["reason"].to_pylist()).items())),
        done=done,
        kept=kept,
        seconds=seconds,
        data_version=text_sha256(*(rows_sha256(data.drop_columns(list(BOOKKEEPING))) for data in merged.values())),
    )


BOOKKEEPING = ("input_sha256", "step_version")  # not content: a re-run that gives the same rows is no new data
