"""Evaluation: functions on arrays, networks apart, and one rule for what a number may be called.

Reading order: extractors (names), video and faces (what a metric sees), frechet, fid, fvd, identity,
expression, sync, motion (the metrics), scores, protocol, clips and truth (what is measured), methods (whose videos),
controls, observe (the pass over all clips), evaluate (the numbers), outputs, table.
"""

from .clips import VideoPair
from .controls import CONTROLS, COPY, GROUND_TRUTH, HALVES, RECONSTRUCTION, SHUFFLED, is_control
from .evaluate import compute, evaluate_methods, observe_methods, shortest_seconds
from .extractors import ALL, FAMILIES
from .outputs import Evaluation, read_methods
from .protocol import NAMED, Protocol
from .rows import EvaluationRow, to_table
from .table import write_table

__all__ = [
    "ALL", "CONTROLS", "COPY", "FAMILIES", "GROUND_TRUTH", "HALVES", "NAMED", "RECONSTRUCTION", "SHUFFLED",
    "Evaluation", "EvaluationRow", "Protocol", "VideoPair", "compute", "evaluate_methods", "is_control",
    "observe_methods", "read_methods", "shortest_seconds", "to_table", "write_table",
]  # fmt: skip
