"""The asset graph in the data's order: ingest, clips, labels, dataset, training, evaluation.

A body finds its inputs, calls one function of `emo_model` and reports numbers. `from __future__ import annotations`
must not appear here: Dagster reads the annotations.
"""
