"""Archives from the index: what is not the pinned one never runs, and files land whole or not at all."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from emo_model.errors import UserError
from emo_model.packages import Package, downloaded, place, take


def test_an_sdist_with_another_hash_is_refused_before_its_set_up_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    script = f"open({str(ran)!r}, 'w').close()\nimport setuptools\nsetuptools.setup(name='odd', version='1.0')\n"
    index = tmp_path / "index"
    index.mkdir()
    with tarfile.open(index / "odd-1.0.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("odd-1.0/setup.py")
        member.size = len(script)
        sdist.addfile(member, io.BytesIO(script.encode()))
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(index)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with (
        pytest.raises(UserError, match="could not download odd 1.0"),
        downloaded(Package("odd", "1.0", "0" * 64)),
    ):
        pass
    assert not ran.exists()


def test_a_file_of_a_tar_archive_is_taken(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd-1.0.tar.gz", "w:gz") as sdist:
        member = tarfile.TarInfo("odd-1.0/data/voice.wav")
        member.size = 4
        sdist.addfile(member, io.BytesIO(b"RIFF"))
    assert take(tmp_path / "odd-1.0.tar.gz", ("odd-1.0/data/voice.wav",)) == b"RIFF"
    with pytest.raises(UserError, match="holds no odd-1.0/data/other.wav"):
        take(tmp_path / "odd-1.0.tar.gz", ("odd-1.0/data/other.wav",))


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "net.bin"
    target.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        place(b"new", target, hashlib.sha256(b"new").hexdigest())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]  # no temporary file is left
