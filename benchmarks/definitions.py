"""What every Dagster process pays before it works: loading the definitions, against `import dagster` alone. Bar: 2 s.

    python benchmarks/definitions.py

Processor time of processes of their own, the two in turn; medians. Which packages are not loaded is a test, too
(tests/test_boundaries.py).
"""

import statistics
import subprocess
import sys
from pathlib import Path

RUNS, BAR = 7, 2.0
HOME = Path(__file__).parents[1]


def main() -> None:
    """Print the line."""
    spent: dict[str, list[float]] = {"dagster": [], "emo_pipeline.definitions": []}
    for _ in range(RUNS):
        for module, times in spent.items():
            code = f"import {module}, time; print(time.process_time())"
            run = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
            times.append(float(run.stdout))
    floor, ours = (statistics.median(times) for times in spent.values())
    print(f"definitions: {ours:.2f} s (bar {BAR:g}), import dagster {floor:.2f} s: {ours / floor:.2f} times")


if __name__ == "__main__":
    main()
