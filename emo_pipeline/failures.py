"""How an error of the user's making ends in Dagster: one line that names the next command, and no retry.

Here: the one translation. Not here: any error's text, which stands where the error is found.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import dagster as dg

from emo_model.errors import UserError, disk_errors_told


def one_line(body: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of an asset's body: a UserError becomes a Failure with its line, without traceback or retry."""

    @wraps(body)
    def guarded(*arguments: Any, **named: Any) -> Any:
        try:
            with disk_errors_told():
                return body(*arguments, **named)
        except UserError as error:
            line = str(error)
        raise dg.Failure(line, allow_retries=False)  # outside the handler, so that no chain is printed

    return guarded
