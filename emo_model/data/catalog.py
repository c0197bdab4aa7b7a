"""`catalog.duckdb`: all tables of the data root in one file that any DuckDB client opens.

Small tables are copied in. `frames` and `audio` are views over the parquet files, by absolute paths, so `emo catalog`
rebuilds after the root has moved. The new catalog is built aside and renamed over the old one: readers, who open it
read-only, see one or the other. Every column carries its comment from `records.py`.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from emo_model.data import availability
from emo_model.data.policy import names
from emo_model.data.records import IDENTITIES, SCORE_CARDS, SPLITS, TABLES, Table
from emo_model.data.scores import SCORES
from emo_model.data.store import DataRoot, atomic, file_sha256, sweep, text_sha256, write_rows
from emo_model.errors import UserError

VIEWS = ("frames", "audio", "face_embeddings")  # large: read where they lie
MANIFESTS = ("train_stage1", "train_stage2", "held_out_stage1", "held_out_stage2", "eval")
INTERNAL = (
    "fetched",
    "pose",
    "manifest",
    "scores",
)  # told in full by videos and frames; manifests have their own names, and scores are no file
NOT_SHOWN = ("input_sha256", "step_version", "face_hash", "sound_hash")  # for steps only; hashes are large

# `clips` is what the shards know about a clip, and what only all shards together know.
CLIPS_COMMENTS = {
    **{column.name: column.comment for column in TABLES["clip_rows"].columns},
    **{column.name: column.comment for column in (IDENTITIES.columns[2], SPLITS.columns[1])},
    "source": "collection the video came from",
    "licence": "licence as given with the collection",
    "near_duplicate_of": "the better clip that shows the same recording; null: none",
}
_CLIPS = """
    CREATE VIEW clips AS SELECT c.*, i.identity_id, s.split, v.source, v.licence, d.near_duplicate_of
    FROM clip_rows c LEFT JOIN (SELECT clip_id, identity_id FROM identities) i USING (clip_id)
    LEFT JOIN splits s USING (identity_id) LEFT JOIN near_duplicates d USING (clip_id)
    LEFT JOIN (SELECT video_id, source, licence FROM videos WHERE status = 'ok') v USING (video_id)"""

# Every frame's speed, without reading the frames: each clip has its own histogram.
_HISTOGRAM = f"""
    CREATE VIEW speed_histogram AS SELECT unnest(range(64)) / 10 AS from_deg,
    unnest([{", ".join(f"sum(speed_histogram[{i + 1}])::BIGINT" for i in range(64))}]) AS frames FROM clip_rows"""
_HISTOGRAM_COMMENTS = {
    "from_deg": "lower edge of the bin, 0.1 wide, the last open [degrees a frame at 30 fps]",
    "frames": "frames of all clips whose speed_deg lies in it",
}


@dataclass(frozen=True)
class CatalogReport:
    """What the catalog holds."""

    path: Path
    rows: dict[str, int]
    seconds: float
    data_version: str


def catalog_path(root: DataRoot) -> Path:
    """Where the catalog lies."""
    return root.path / "catalog.duckdb"


def build_catalog(root: DataRoot) -> CatalogReport:
    """Build the catalog from the part files and swap it in. Seconds; no media is read."""
    started = time.perf_counter()
    path = catalog_path(root.require())
    sweep(root.path)
    with atomic(path) as temporary:
        try:
            with duckdb.connect(str(temporary)) as connection:
                rows = _fill(connection, root)
                connection.execute("CHECKPOINT")  # closing would do it too, and say nothing where the disk is full
        except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
            raise UserError(
                f"clip_catalog: {str(error).splitlines()[0]}; the catalog that was there is unchanged; "
                "free space or fix the folder, then run the same command again"
            ) from error
        finally:
            Path(f"{temporary}.wal").unlink(missing_ok=True)
    return CatalogReport(path, rows, time.perf_counter() - started, text_sha256(sorted(_versions(root))))


def _fill(connection: duckdb.DuckDBPyConnection, root: DataRoot) -> dict[str, int]:
    for table in TABLES.values():
        if table.name in INTERNAL:
            continue
        _table(connection, root, table.name, table, _files(root, table))
    for name in [*MANIFESTS, *_own_manifests(root)]:
        file = root.folder("5_manifest") / f"{name}.parquet"
        _table(connection, root, name, TABLES["manifest"], [file] if file.exists() else [])
    _score_cards(connection)
    connection.execute(_CLIPS)
    _comment(connection, "VIEW", "clips", "one continuous shot of 3-12 s at 30 fps, one person", CLIPS_COMMENTS)
    connection.execute(_HISTOGRAM)
    _comment(connection, "VIEW", "speed_histogram", "one bin of head rotation speed", _HISTOGRAM_COMMENTS)
    for view, sql, row, comments in (
        ("ranges", availability.RANGES, "one annotated range of a data set's lists", availability.RANGES_COMMENTS),
        ("availability", availability.AVAILABILITY, "one subset of a data set", availability.AVAILABILITY_COMMENTS),
    ):
        connection.execute(sql)
        _comment(connection, "VIEW", view, row, comments)
    names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    return {name: _count(connection, name) for name in sorted([*names, *VIEWS])}


def _score_cards(connection: duckdb.DuckDBPyConnection) -> None:
    cards = pa.Table.from_pylist([asdict(score) for score in SCORES], schema=SCORE_CARDS.schema)
    connection.register("cards", cards)
    connection.execute("CREATE TABLE scores AS FROM cards ORDER BY name")
    connection.unregister("cards")
    _comment(connection, "TABLE", "scores", SCORE_CARDS.row, {c.name: c.comment for c in SCORE_CARDS.columns})


def _own_manifests(root: DataRoot) -> list[str]:
    """Manifests of policies of the user's own."""
    own = {f"{prefix}{name}" for name in names(root) for prefix in ("", "held_out_")}
    there = {path.stem for path in root.folder("5_manifest").glob("*.parquet")}
    return sorted(own & there - set(MANIFESTS))


def _files(root: DataRoot, table: Table) -> list[Path]:
    """A table's files: one a shard, or one alone."""
    return root.parts(table) or [path for path in [root.single(table)] if path.exists()]


def _table(connection: duckdb.DuckDBPyConnection, root: DataRoot, name: str, table: Table, files: list[Path]) -> None:
    kind = "VIEW" if name in VIEWS else "TABLE"
    if not files:
        files = [_empty_part(root, table)]
    columns = ", ".join(column.name for column in table.columns if column.name not in NOT_SHOWN)
    listed = ", ".join(_quoted(str(file.absolute())) for file in files)
    order = "" if name in VIEWS else f" ORDER BY {', '.join(table.key)}"
    connection.execute(
        f"CREATE {kind} {name} AS SELECT {columns} FROM read_parquet([{listed}], hive_partitioning = false){order}"
    )
    comments = {column.name: column.comment for column in table.columns if column.name not in NOT_SHOWN}
    _comment(connection, kind, name, table.row, comments)


def _empty_part(root: DataRoot, table: Table) -> Path:
    path = root.path / table.folder / table.name / "empty.parquet"
    if not path.exists():
        write_rows(path, table, [])
    return path


def _comment(connection: duckdb.DuckDBPyConnection, kind: str, name: str, row: str, comments: dict[str, str]) -> None:
    connection.execute(f"COMMENT ON {kind} {name} IS {_quoted(row)}")
    for column in connection.execute(f"DESCRIBE {name}").fetchall():
        if column[0] in comments:
            connection.execute(f"COMMENT ON COLUMN {name}.{column[0]} IS {_quoted(comments[column[0]])}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    assert row is not None, f"count(*) of {name} has one row"
    return int(row[0])


def _versions(root: DataRoot) -> Iterator[str]:
    """What the catalog shows, file by file. Evaluations carry the time and do not count.

    Large parts are not read again: their shard's ledger holds the hash of everything each video's rows come from.
    """
    for table in TABLES.values():
        for path in _files(root, table) if table.name != "evaluations" else ():
            ledgers = sorted(path.parent.glob("done-*.json")) if table.name in VIEWS else []
            yield " ".join([root.relative(path), *map(file_sha256, ledgers or [path])])


# ---- readers ----


@contextmanager
def connect(root: DataRoot) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalog, read-only. UserError where there is none."""
    path = catalog_path(root.require())
    if not path.exists():
        raise UserError(f"no catalog at {path}; run: emo catalog")
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def query(root: DataRoot, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> tuple[list[str], list[tuple]]:
    """(column names, rows) of one SQL statement. UserError with DuckDB's own line where the SQL is wrong."""
    with connect(root) as connection:
        try:
            result = connection.execute(sql, parameters or None)
            return [column[0] for column in result.description or []], result.fetchall()
        except duckdb.IOException as error:
            raise UserError(f"a part file has moved ({_first_line(error)}); run: emo catalog") from error
        except duckdb.Error as error:
            raise UserError(f"{_first_line(error)}; tables: run: emo query 'SHOW TABLES'") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
