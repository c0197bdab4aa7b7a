"""`python -m emo_model.train RUN.json`: one training run in a process of its own.

Exit codes: 0 done, 2 an error of the user's making, 143 / 130 after SIGTERM / SIGINT (saved; the same command goes on).
"""

import sys
from pathlib import Path

from emo_model.errors import UserError


def main(arguments: list[str]) -> int:
    """Train what RUN.json says and print the final checkpoint's folder."""
    from emo_model.train.config import RunSpec
    from emo_model.train.loop import Interrupted, train

    try:
        if len(arguments) != 1:
            raise UserError("one run file is wanted; run: python -m emo_model.train RUN.json")
        print(train(RunSpec.read(Path(arguments[0]))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
