"""What `emo doctor` says of machines that lack something."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from emo_model import doctor, weights
from emo_model.cli import main


def finding(subject: str) -> doctor.Finding:
    return next(found for found in doctor.diagnose() if found.subject == subject)


def test_missing_system_libraries_stop_and_name_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SYSTEM_LIBRARIES", {"libno-such-thing.so.9": "libnosuch9"})
    found = finding("system libraries")
    assert found.blocking and "run: apt-get install -y --no-install-recommends libnosuch9" in found.text


def test_a_machine_without_landmarker_weights_is_told_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    assert finding("face_landmarker").blocking
    assert "run: emo weights get face_landmarker" in finding("face_landmarker").text
    assert not finding("syncnet").ok and not finding("syncnet").blocking  # a dash in the table, not a stop
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1 and "STOP  face_landmarker" in result.output


def test_a_taken_port_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setattr(doctor, "PORTS", {port: "a test"})
        assert "taken" in finding(f"port {port}").text
    assert finding(f"port {port}").ok


def test_an_unwritable_data_root_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a_file"
    file.touch()
    monkeypatch.setenv("EMO_DATA", str(file / "data"))
    assert finding("data root").blocking and "export EMO_DATA=" in finding("data root").text


def test_every_weight_is_looked_at() -> None:
    assert {found.subject for found in doctor.diagnose()} >= set(weights.REGISTRY)
