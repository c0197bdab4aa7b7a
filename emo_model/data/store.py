"""The data root on disk: where everything lies, and writes that are whole or not there.

    0_raw  1_clips  2_faces  3_motion  4_audio  5_manifest  6_checkpoints  7_generated  8_evaluation  rejected
    STEP_FOLDER/TABLE/shard=s0000/part.parquet     rows
    STEP_FOLDER/media/s0000/CLIP.*                 the media those rows point at

Every write goes to a temporary name in the same folder and is renamed: a reader sees the old file or the new one.
"""

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emo_model.data.records import TABLES, Table
from emo_model.errors import UserError

STEP_FOLDERS = (
    "0_raw", "1_clips", "2_faces", "3_motion", "4_audio", "5_manifest", "6_checkpoints", "7_generated",
    "8_evaluation", "rejected",
)  # fmt: skip
_MACHINE = re.sub(r"\W", "-", platform.node())
_WAITED_FOR: set[Path] = set()  # folders that this process holds
Change = TypeVar("Change", bound=Callable[..., Any])


@dataclass(frozen=True)
class DataRoot:
    """`$EMO_DATA`: one folder a step, numbered in the data's order."""

    path: Path

    @classmethod
    def from_environment(cls) -> "DataRoot":
        """The root named by `$EMO_DATA`, else `./data`."""
        return cls(Path(os.environ.get("EMO_DATA", "data")).absolute())

    def create(self) -> "DataRoot":
        """Make the step folders; existing ones are left as they are."""
        try:
            for folder in (*STEP_FOLDERS, "weights"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write the data root {self.path}: {error.strerror}; set EMO_DATA=FOLDER") from error
        return self

    def require(self) -> "DataRoot":
        """The root itself, if it has been made. UserError otherwise."""
        if not (self.path / STEP_FOLDERS[0]).is_dir():
            raise UserError(f"no data root at {self.path}; run: emo prepare FOLDER_OF_VIDEOS (or set EMO_DATA)")
        return self

    def folder(self, name: str) -> Path:
        """A step folder, for example `5_manifest`."""
        return self.path / name

    def part(self, table: str | Table, shard: str, step: str = "") -> Path:
        """Part file of one table and shard. `rejected` has one part a step and shard."""
        table = TABLES[table] if isinstance(table, str) else table
        middle = step if table.name == "rejected" else table.name
        return self.path / table.folder / middle / f"shard={shard}" / "part.parquet"

    def parts(self, table: str | Table) -> list[Path]:
        """All part files of a table that exist, in shard order."""
        table = TABLES[table] if isinstance(table, str) else table
        middle = "*" if table.name == "rejected" else table.name
        return sorted((self.path / table.folder).glob(f"{middle}/shard=*/part.parquet"))

    def single(self, table: str | Table) -> Path:
        """File of a table that is not cut into shards (splits, identities)."""
        table = TABLES[table] if isinstance(table, str) else table
        return self.path / table.folder / f"{table.name}.parquet"

    def media(self, folder: str, shard: str, name: str) -> Path:
        """A media file beside its rows, for example `1_clips/media/s0000/CLIP.mp4`."""
        return self.path / folder / "media" / shard / name

    def relative(self, path: Path) -> str:
        """The path as rows store it: relative to the root, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    def read(self, table: str | Table, shard: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """Rows of one shard, or of all; an empty table of the right schema where nothing was written yet."""
        table = TABLES[table] if isinstance(table, str) else table
        paths = self.parts(table)
        if shard is not None:
            paths = [path for path in paths if path.parent.name == f"shard={shard}"]
        wanted = table.schema if columns is None else pa.schema([table.schema.field(name) for name in columns])
        if not paths:
            return wanted.empty_table()
        return pa.concat_tables([_rows_of(path, wanted) for path in paths])

    def read_single(self, table: str | Table) -> pa.Table:
        """Rows of a table that is not cut into shards; an empty table of the right schema before it is written."""
        table = TABLES[table] if isinstance(table, str) else table
        path = self.single(table)
        return pq.ParquetFile(path).read().select(table.schema.names) if path.exists() else table.schema.empty_table()


def _rows_of(path: Path, wanted: pa.Schema) -> pa.Table:
    """The wanted columns of a part file. UserError where an older version of the program wrote it otherwise."""
    file = pq.ParquetFile(path)
    there = file.schema_arrow
    if any(name not in there.names or there.field(name).type != wanted.field(name).type for name in wanted.names):
        shard = path.parent.name.removeprefix("shard=")
        again = "emo manifest" if shard == "all" else f"emo prepare --shard {shard}"
        raise UserError(f"{path} was written by another version of this program; run: {again}")
    return file.read(columns=wanted.names).select(wanted.names)


@contextlib.contextmanager
def held(folder: Path, otherwise: str) -> Iterator[None]:
    """Hold a folder; the lock goes with the process, also when it is killed. UserError(otherwise) where it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(otherwise) from None
        yield


@contextlib.contextmanager
def waited_for(folder: Path) -> Iterator[None]:
    """Hold a folder as soon as whoever holds it is done: for what takes seconds. Who holds it already just goes on."""
    if folder in _WAITED_FOR:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _WAITED_FOR.add(folder)
        try:
            yield
        finally:
            _WAITED_FOR.remove(folder)


def one_at_a_time(change: Change) -> Change:
    """Decorator of what reads the registry of sources and writes it again: a second run waits, and loses nothing."""

    @functools.wraps(change)
    def alone(root: DataRoot, *arguments: Any, **named: Any) -> Any:
        with waited_for(root.folder("0_raw")):
            return change(root, *arguments, **named)

    return alone  # type: ignore[return-value]


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it on success and vanishes on failure.

    The temporary name keeps the suffix, since encoders choose a container by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{_MACHINE}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def sweep(folder: Path) -> None:
    """Delete what killed processes left half written in a folder: temporaries of `atomic`. Whether a process of another
    machine runs cannot be asked from here: its files go when nothing was added to them for a day."""
    for path in folder.glob(".*"):
        found = re.fullmatch(r"\..+?\.([\w-]*)-(\d+)(\.\D.*)?", path.name)
        if found and path.is_file():
            left = not _runs(int(found[2])) if found[1] == _MACHINE else time.time() - path.stat().st_mtime > 86_400
            if left:
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_rows(path: Path, table: Table, rows: Iterable[dict[str, Any]] | pa.Table) -> pa.Table:
    """Write rows, sorted by the table's key, as one parquet file of exactly the table's schema."""
    if isinstance(rows, pa.Table):
        data = rows.select(table.schema.names).cast(table.schema)
        data = data.sort_by([(name, "ascending") for name in table.key])
    else:
        rows = sorted(rows, key=lambda row: tuple(row[name] for name in table.key))
        data = pa.Table.from_pylist(rows, schema=table.schema)
    write_parquet(path, data)
    return data


def write_parquet(path: Path, data: pa.Table) -> None:
    """Write one parquet file whole. No clock and no host name goes into it, so equal rows are equal bytes.

    Measured numbers hardly repeat: a dictionary of them makes files a half larger and reading several times slower.
    """
    texts = [field.name for field in data.schema if pa.types.is_string(field.type)]
    with atomic(path) as temporary:
        pq.write_table(data, temporary, compression="lz4", use_dictionary=texts or False, row_group_size=1 << 17)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array whole, as .npy. Not by numpy itself, whose error on a full disk does not say that it is full."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows_sha256(data: pa.Table) -> str:
    """Hash of a table's content, independent of how it is cut into files: an asset's data version."""
    digest = hashlib.sha256()
    digest.update(data.schema.to_string(show_field_metadata=False).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data.schema) as writer:
        for batch in data.combine_chunks().to_batches():
            writer.write_batch(batch)
    digest.update(sink.getvalue())
    return digest.hexdigest()


def text_sha256(*parts: object) -> str:
    """Hash of several values, each by its text, kept apart."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()
