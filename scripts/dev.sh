#!/usr/bin/env bash
# Dagster's UI, its daemon and MLflow's UI together; Ctrl-C (or SIGTERM) stops them all. Called by `make dev`, which
# sets DAGSTER_HOME, EMO_DATA and the ports. Training runs started from the UI are processes of their own and go on.
set -euo pipefail
set -m  # jobs in groups of their own: otherwise bash has them ignore the interrupt that must reach them

mkdir -p "$EMO_DATA/mlartifacts"
echo "Dagster  http://127.0.0.1:$DAGSTER_PORT"
echo "MLflow   http://127.0.0.1:$MLFLOW_PORT   (ready after some seconds; Ctrl-C stops both)"

export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false  # else seven job workers of 220 MB each stand by for nothing
mlflow server --host 127.0.0.1 --port "$MLFLOW_PORT" --workers 1 \
    --backend-store-uri "sqlite:///$EMO_DATA/mlflow.db" \
    --artifacts-destination "$EMO_DATA/mlartifacts" </dev/null &
mlflow=$!
# -w: with a [tool.dg] block in pyproject.toml, `dagster dev` otherwise ignores workspace.yaml without a word.
dagster dev -w workspace.yaml --host 127.0.0.1 --port "$DAGSTER_PORT" </dev/null &
dagster=$!

stop() {
    trap - INT TERM EXIT
    kill -INT "$dagster" 2>/dev/null || true
    kill -TERM "$mlflow" 2>/dev/null || true
    wait
}
trap stop INT TERM EXIT
wait -n  # until one of them ends, or a signal comes
