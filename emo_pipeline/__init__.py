"""When and where the work runs: Dagster around `emo_model`, which knows nothing of it."""
