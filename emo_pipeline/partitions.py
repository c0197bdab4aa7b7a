"""How the data is cut: one partition a shard of at most 200 sources.

Here: the partitions definition. Not here: which source goes into which shard (emo_model.data.sources decides, and
never moves one) or what happens in a shard (assets).
"""

import dagster as dg

# Append-only: a shard is never deleted, because a run that is under way on it would die storing its result.
SHARDS_NAME = "source_shards"
SHARDS = dg.DynamicPartitionsDefinition(name=SHARDS_NAME)
