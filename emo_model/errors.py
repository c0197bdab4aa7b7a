"""Errors that are the user's to mend: the command line prints the one line and exits with 2."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

FULL_OR_READ_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class UserError(Exception):
    """One line that says what was wanted, what came, and the next command to run."""

    def __reduce__(self) -> tuple[type["UserError"], tuple[str]]:
        """The line is all that another process is told, whatever a subclass was made of."""
        return UserError, (str(self),)


@contextmanager
def disk_errors_told() -> Iterator[None]:
    """A full disk, a used-up quota and a read-only folder are the user's to mend; files are written whole or not."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_OR_READ_ONLY:
            raise
        what = f"cannot write {error.filename}" if error.filename else "cannot write"
        raise UserError(
            f"{what}: {error.strerror}; nothing is lost: free space or fix the folder, then run the same command again"
        ) from error
