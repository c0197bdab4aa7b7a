"""`make demo`: from raw videos to the table, through Dagster, on the instance in dagster_home.

    python -m emo_pipeline.demo               sample media and the rendered talking set
    python -m emo_pipeline.demo --raw FOLDER  one's own videos

Here: the command line. What it runs: demo_run.py, imported late, because every worker process of a step imports its
main module again.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emo_model.errors import UserError

HOME = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Exit code 2 and one line where something is the user's to mend."""
    parser = argparse.ArgumentParser(prog="python -m emo_pipeline.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--raw", type=Path, metavar="FOLDER", help="your own videos; they are only ever read")
    raw = parser.parse_args(arguments).raw
    os.environ.setdefault("DAGSTER_HOME", str(HOME / "dagster_home"))  # read by Dagster and by the definitions
    os.environ["EMO_DATA"] = str(Path(os.environ.get("EMO_DATA", HOME / "data")).absolute())
    import dagster as dg

    from emo_pipeline.demo_run import demo

    try:
        with native_noise_in(Path(os.environ["EMO_DATA"]) / "demo.log"):
            demo(raw)
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        print("demo: stopped; what is finished is kept; the same command goes on", file=sys.stderr)
        return 130
    return 0


@contextmanager
def native_noise_in(log: Path) -> Iterator[None]:
    """What libraries print to stderr by themselves (mediapipe: three lines a video) goes to a file meanwhile."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
