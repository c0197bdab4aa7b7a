"""The command line: user errors are one line and exit code 2, and heavy work is behind it, not in it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emo_model import weights
from emo_model.cli import main


def emo(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "arguments",
    [("weights", "path", "vgg"), ("weights", "get", "vgg"), ("weights", "verify", "vgg"), ("weights", "get")],
    ids=" ".join,
)
def test_a_user_error_is_one_line_with_the_next_command(arguments: tuple[str, ...]) -> None:
    result = emo(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("emo: ") and result.stderr.count("\n") == 1
    assert "run: emo weights" in result.stderr


def test_weights_list_names_every_entry_with_its_licence() -> None:
    output = emo("weights", "list").output
    for weight in weights.REGISTRY.values():
        assert weight.name in output and weight.licence in output


def test_weights_verify_fails_on_other_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    (tmp_path / weights.REGISTRY["face_mesh"].filename).write_bytes(b"x" * 19_376)
    result = emo("weights", "verify", "face_mesh", "i3d")
    assert result.exit_code == 1
    assert "wrong hash" in result.output and "missing" in result.output


def test_weights_path_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMO_WEIGHTS", raising=False)
    monkeypatch.setenv("EMO_DATA", str(tmp_path))
    assert emo("weights", "path").output == f"{tmp_path / 'weights'}\n"
