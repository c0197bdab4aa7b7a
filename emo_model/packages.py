"""Single files out of registry packages: pip brings the archive, we keep one file of it and check its sha256.

Nothing is installed. Wheels run no code. For an sdist pip runs its set-up script to read the metadata, so the
whole archive is pinned by hash first: what runs is known.
"""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emo_model.errors import UserError


@dataclass(frozen=True)
class Package:
    """One pinned release on the package index pip is configured for."""

    name: str
    version: str
    sdist_sha256: str | None = None  # given: the sdist is taken, and must be this one; None: the wheel is taken

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class PackagedFile:
    """One file inside a package. `inner` has more than one entry where an archive lies inside the archive."""

    package: Package
    inner: tuple[str, ...]


def bring(files: Iterable[tuple[PackagedFile, str, Path]]) -> None:
    """Put each (file, its sha256, target) in place, one download a package. UserError on another hash."""
    by_package: dict[Package, list[tuple[PackagedFile, str, Path]]] = {}
    for wanted in files:
        by_package.setdefault(wanted[0].package, []).append(wanted)
    for package, group in by_package.items():
        with downloaded(package) as archive:
            for file, expected, target in group:
                place(take(archive, file.inner), target, expected)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def downloaded(package: Package) -> Iterator[Path]:
    """The package's archive in a temporary folder, gone afterwards. UserError if pip cannot bring it."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"this Python has no pip to download {package} with; run: {sys.executable} -m ensurepip")
    with tempfile.TemporaryDirectory(prefix="emo-download-") as folder:
        requirement, choice = f"{package.name}=={package.version}", "--only-binary=:all:"
        if package.sdist_sha256:
            requirement, choice = (
                f"{requirement} --hash=sha256:{package.sdist_sha256}",
                f"--no-binary={package.name}",
            )
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(requirement)
        archives = Path(folder, "archives")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*pip, choice, "-d", archives, "-r", wanted], capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
            raise UserError(f"pip could not download {package}: {errors[-1]}; check the network, run the same again")
        yield next(archives.iterdir())


def take(archive: Path, inner: tuple[str, ...]) -> bytes:
    """Content of the inner file of a wheel, zip or tar.gz. UserError if it is not there."""
    try:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as tar:
                member = tar.extractfile(inner[0])
                content = member.read() if member else b""
        else:
            content = zipfile.ZipFile(archive).read(inner[0])
        for name in inner[1:]:
            content = zipfile.ZipFile(io.BytesIO(content)).read(name)
    except KeyError as error:
        raise UserError(f"{archive.name} holds no {inner[-1]}; was the package republished? report it") from error
    return content


def place(content: bytes, target: Path, expected: str) -> None:
    """Write the content whole or not at all. UserError if its sha256 is not the expected one."""
    got = hashlib.sha256(content).hexdigest()
    if got != expected:
        raise UserError(
            f"{target.name}: wanted sha256 {expected[:12]}..., got {got[:12]}... ({len(content):,} bytes); "
            "not kept: the package index serves another file, report it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as temporary:
        try:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
            os.chmod(temporary.name, 0o644)
            os.replace(temporary.name, target)
        except BaseException:
            os.unlink(temporary.name)
            raise
