"""Processes that do not outlive whoever started them, however that one ends."""

import ctypes
import os
import sys

_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: between fork and exec is no time for it


def signalled_with_parent(number: int, parent: int) -> None:
    """In the child: have the kernel send this signal once the parent is gone (Linux; elsewhere nothing happens)."""
    if _LIBC is not None:
        _LIBC.prctl(_PDEATHSIG, number)
        if os.getppid() != parent:  # it went before we asked
            os._exit(128 + number)
