"""Evaluation: functions on arrays, networks apart, and one rule for what a number may be called.

Reading order: extractors (names), video and faces (what a metric sees), frechet, fid, fvd, identity,
expression, sync, motion (the metrics), scores, protocol, evaluate (the pass over all clips), table, report.
"""

from .evaluate import (
    CONTROLS,
    COPY,
    GROUND_TRUTH,
    HALVES,
    VideoPair,
    compute,
    evaluate_methods,
    shortest_seconds,
)
from .extractors import ALL, FAMILIES
from .protocol import Protocol
from .report import write_report
from .rows import EvaluationRow, to_table
from .table import write_table

__all__ = [
    "ALL", "CONTROLS", "COPY", "FAMILIES", "GROUND_TRUTH", "HALVES", "EvaluationRow", "Protocol", "VideoPair",
    "compute", "evaluate_methods", "shortest_seconds", "to_table", "write_report", "write_table",
]  # fmt: skip
