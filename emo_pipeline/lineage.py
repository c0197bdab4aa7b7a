"""Which run made what: how an asset finds the newest result of another one.

Here: the run's lineage id, and the look-up by it. A file made in this run wins over the last materialization, so that
two trainings side by side do not mix.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


LINEAGE = "emo/lineage"


def lineage(context: dg.AssetExecutionContext) -> str:
    """Id of the first run of a chain of re-executions: its run folder and MLflow run are gone on with.

    A launcher that knows its run to be the same work as an earlier one says so with a tag (the demo does).
    """
    return context.run.tags.get(LINEAGE) or context.run.root_run_id or context.run_id


def find_latest(
    context: dg.AssetExecutionContext,
    root: "DataRoot",
    asset: str,
    field: str,
    folder: Path,
    finished: Callable[[Path], Path | None],
) -> Path:
    """What `finished` finds in this run's folder below `folder`, else the path in `field` of the asset's last
    materialization (relative to the data root). UserError if there is neither."""
    mine = finished(folder / lineage(context))
    if mine is not None:
        return mine
    event = context.instance.get_latest_materialization_event(dg.AssetKey(asset))
    recorded = event.asset_materialization.metadata.get(field) if event and event.asset_materialization else None
    path = root.path / str(recorded.value) if recorded else None
    if path is None or not path.exists():
        raise UserError(f"no {asset} in {root.path}; materialize {asset} first (in `make dev`, or run: make demo)")
    return path
