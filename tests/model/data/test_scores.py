"""Scores say of themselves what is true: a column each, SQL that runs, a model that exists."""

import duckdb
import pyarrow as pa
import pytest

from emo_model.data.catalog import CLIPS_COMMENTS, build_catalog, query
from emo_model.data.records import CLIP_ROWS
from emo_model.data.scores import SCORES, Score
from emo_model.weights import REGISTRY
from tests.model.data.small_root import small_root


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.name)
def test_a_score_is_a_column_and_its_rule_runs_over_clips(score: Score) -> None:
    joined = [name for name in CLIPS_COMMENTS if name not in CLIP_ROWS.schema.names]
    assert score.name in (*CLIP_ROWS.schema.names, *joined)
    assert score.model in ("", *REGISTRY)
    if score.finds:
        clips = pa.schema([*CLIP_ROWS.schema, *((name, pa.string()) for name in joined)]).empty_table()
        with duckdb.connect() as connection:
            assert connection.register("clips", clips).execute(f"FROM clips WHERE {score.finds}").fetchall() == []


def test_right_and_found_are_shares_that_say_what_they_were_counted_on() -> None:
    for score in SCORES:
        assert (score.precision is None) == (score.recall is None) == (score.labelled == "")
        assert all(0 <= share <= 1 for share in (score.precision, score.recall) if share is not None)
        assert score.precision is None or score.finds


def test_the_catalog_tells_how_each_score_is_measured(tmp_path) -> None:
    root = small_root(tmp_path)
    build_catalog(root)
    _, rows = query(root, "SELECT name, method FROM scores ORDER BY name")
    assert rows == sorted((score.name, score.method) for score in SCORES)
