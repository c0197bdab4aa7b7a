"""One number of an evaluation, as a row of the `evaluations` table."""

from dataclasses import asdict, dataclass

import pyarrow as pa

from emo_model.data.records import TABLES

from .extractors import check_name


@dataclass(frozen=True)
class EvaluationRow:
    """Columns as emo_model.data.records has them. ValueError where a stand-in bears a reference's name."""

    run_id: str
    method: str
    dataset: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_total: int
    floor: float | None
    extractor: str
    protocol_hash: str
    reason: str | None
    created_at: str

    def __post_init__(self) -> None:
        check_name(self.metric, self.extractor)
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"{self.metric}: wanted a value or a reason, got {self.value!r} and {self.reason!r}")


def to_table(rows: list[EvaluationRow]) -> pa.Table:
    """The rows under the `evaluations` schema."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=TABLES["evaluations"].schema)
