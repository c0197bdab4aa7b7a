"""What this machine lacks, each finding with the next command. Standard library only: set-up runs it first.

A finding that blocks stops every command; the others only limit what can be done.
"""

import ctypes
import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emo_model import weights

# library -> Debian package. mediapipe loads the first two, the cv2 it brings the others.
SYSTEM_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
PYTHONS = ((3, 11), (3, 12))
PORTS = {3000: "Dagster's UI", 5000: "MLflow's UI"}  # of `make dev`
DEMO_BYTES = 2_000_000_000  # clips, checkpoints and videos of `make demo`, with room


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    ok: bool
    text: str
    blocking: bool = False  # necessary, and not ok

    def line(self) -> str:
        """As the command line shows it."""
        sign = "ok  " if self.ok else "STOP" if self.blocking else "note"
        return f"{sign}  {self.subject:21} {self.text}"


def missing_system_libraries() -> list[str]:
    """Names of the shared libraries the loader cannot find."""
    return [library for library in SYSTEM_LIBRARIES if not _loads(library)]


def install_command(libraries: list[str]) -> str:
    """The command that brings these libraries on Debian and Ubuntu."""
    return "apt-get install -y --no-install-recommends " + " ".join(SYSTEM_LIBRARIES[name] for name in libraries)


def diagnose() -> list[Finding]:
    """Look at everything; nothing is changed, and a failing look is itself a finding."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _system_libraries, _torch, _folders, _weights, _ports,
    )  # fmt: skip
    return [finding for look in looks for finding in look()]


def _python() -> Iterator[Finding]:
    ok = sys.version_info[:2] in PYTHONS
    text = f"{sys.version.split()[0]} at {sys.executable}"
    yield Finding("Python", ok, text if ok else f"{text}; wanted 3.11 or 3.12: make setup PYTHON=...", not ok)


def _system_libraries() -> Iterator[Finding]:
    missing = missing_system_libraries()
    text = f"missing {', '.join(missing)}; run: {install_command(missing)}" if missing else "all found"
    yield Finding("system libraries", not missing, text, bool(missing))


def _torch() -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("torch", False, "not installed; run: make setup", True)
        return
    yield Finding("torch", True, version)
    import torch

    gpu = torch.cuda.is_available()
    text = torch.cuda.get_device_name() if gpu else "none: TINY trains on the CPU in minutes, PAPER needs one"
    yield Finding("GPU", gpu, text)


def _folders() -> Iterator[Finding]:
    data = Path(os.environ.get("EMO_DATA", "data")).absolute()
    for subject, folder in (("data root", data), ("weights folder", weights.folder())):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        writable = existing.is_dir() and os.access(existing, os.W_OK)
        text = str(folder) if writable else f"cannot write {folder}; run: export EMO_DATA=FOLDER"
        # A weights folder may well be somebody else's, read-only: only get() writes there.
        yield Finding(subject, writable, text, blocking=not writable and folder is data)
        if folder is data:
            free = shutil.disk_usage(existing).free
            enough = free > DEMO_BYTES
            advice = "" if enough else f"; the demo wants {DEMO_BYTES / 1e9:.0f}: export EMO_DATA=FOLDER_ON_OTHER_DISK"
            yield Finding("disk", enough, f"{free / 1e9:.0f} GB free at the data root{advice}", not enough)


def _weights() -> Iterator[Finding]:
    for name, weight in weights.REGISTRY.items():
        verdict = weights.verify(name, reread=False)
        ok = verdict in (weights.Verdict.OK, weights.Verdict.UNKNOWN)
        text = f"{weight.purpose}: {verdict}" + ("" if ok else f"; run: emo weights get {name}")
        # Without landmarks no video becomes a clip; every other missing network is a dash in a table.
        yield Finding(name, ok, text, blocking=not ok and name == "face_landmarker")


def _ports() -> Iterator[Finding]:
    for port, user in PORTS.items():
        with socket.socket() as probe:
            free = probe.connect_ex(("127.0.0.1", port)) != 0
        variable = "DAGSTER_PORT" if port == 3000 else "MLFLOW_PORT"
        text = f"free, for {user}" if free else f"taken, {user} wants it; run: make dev {variable}={port + 1}"
        yield Finding(f"port {port}", free, text)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
