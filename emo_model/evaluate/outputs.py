"""What an evaluation found, as a value and on disk: all that a report needs lies in one folder.

part.parquet       table `evaluations`: a row a number (records.py)
clips.parquet      a row a method, clip and number, of metrics that are no distance
frames.parquet     a row a method, clip, number and moment, where a metric has a value a moment
findings.parquet   what is to be said of the videos: lengths, rates, missing clips, sound (methods.py)
protocol.json      the protocol and its hash
methods.json       whose video of which clip lies where
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo_model.data.store import write_json, write_parquet

from .clips import VideoPair
from .methods import Finding
from .protocol import Protocol
from .rows import EvaluationRow, to_table


@dataclass(frozen=True)
class ClipScore:
    """A method's number on one clip; no value: `reason`."""

    method: str
    clip_id: str
    identity: str
    metric: str
    value: float | None
    n: int
    n_total: int
    reason: str | None


@dataclass(frozen=True)
class Moment:
    """What a metric says of one moment of a clip; no value: nothing was found there."""

    method: str
    clip_id: str
    series: str
    t_s: float
    value: float | None


_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()
_SCHEMAS = {
    ClipScore: pa.schema(
        {"method": _TEXT, "clip_id": _TEXT, "identity": _TEXT, "metric": _TEXT, "value": _NUMBER, "n": _COUNT,
         "n_total": _COUNT, "reason": _TEXT}
    ),
    Moment: pa.schema({"method": _TEXT, "clip_id": _TEXT, "series": _TEXT, "t_s": _NUMBER, "value": _NUMBER}),
    Finding: pa.schema({"method": _TEXT, "clip_id": _TEXT, "fatal": pa.bool_(), "text": _TEXT}),
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """The numbers of some methods and of the controls under one protocol, and what they are made of."""

    protocol: Protocol
    methods: Mapping[str, Sequence[VideoPair]]
    rows: Sequence[EvaluationRow]
    clips: Sequence[ClipScore] = ()
    moments: Sequence[Moment] = ()
    findings: Sequence[Finding] = ()

    def write(self, folder: Path) -> None:
        """All of it into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(folder / "clips.parquet", _table(ClipScore, self.clips))
        write_parquet(folder / "frames.parquet", _table(Moment, self.moments))
        write_parquet(folder / "findings.parquet", _table(Finding, self.findings))
        self.protocol.write(folder / "protocol.json")
        methods = {method: [_plain(pair) for pair in pairs] for method, pairs in self.methods.items()}
        write_json(folder / "methods.json", {"methods": methods})
        write_parquet(folder / "part.parquet", to_table(list(self.rows)))

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """What `write` left."""
        return cls(
            Protocol.read(folder / "protocol.json"),
            read_methods(folder),
            [EvaluationRow(**row) for row in pq.ParquetFile(folder / "part.parquet").read().to_pylist()],
            [ClipScore(**row) for row in pq.ParquetFile(folder / "clips.parquet").read().to_pylist()],
            [Moment(**row) for row in pq.ParquetFile(folder / "frames.parquet").read().to_pylist()],
            [Finding(**row) for row in pq.ParquetFile(folder / "findings.parquet").read().to_pylist()],
        )

    @classmethod
    def joined(cls, parts: Iterable["Evaluation"]) -> "Evaluation":
        """Several metrics' evaluations of the same methods under one protocol as one."""
        first, *rest = parts = list(parts)
        if any(part.protocol != first.protocol for part in rest):
            raise ValueError("evaluations under several protocols are not one")
        return cls(
            first.protocol,
            first.methods,
            [row for part in parts for row in part.rows],
            [clip for part in parts for clip in part.clips],
            [moment for part in parts for moment in part.moments],
            list(dict.fromkeys(finding for part in parts for finding in part.findings)),
        )


def read_methods(folder: Path) -> dict[str, list[VideoPair]]:
    """methods.json of an evaluation's folder; a reference that was no file is not kept."""
    listed = json.loads((folder / "methods.json").read_text(encoding="utf-8"))["methods"]
    return {
        method: [
            VideoPair(
                pair["clip_id"], pair["identity"], Path(pair["real"]), Path(pair["generated"]),
                *(Path(pair[name]) if pair[name] else None for name in ("reference", "sound")),
            )
            for pair in pairs
        ]
        for method, pairs in listed.items()
    }  # fmt: skip


def _plain(pair: VideoPair) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path | str) else None for name, value in vars(pair).items()}


def _table(kind: type, values: Iterable[Any]) -> pa.Table:
    return pa.Table.from_pylist([asdict(value) for value in values], schema=_SCHEMAS[kind])
