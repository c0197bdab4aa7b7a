"""Sample media: the registry is complete, a changed file is seen, and the real files are what it says."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from emo_model import samples
from emo_model.cli import main
from emo_model.errors import UserError


def test_every_sample_states_what_it_shows_its_origin_and_its_licence() -> None:
    for sample in samples.SAMPLES:
        assert sample.shows and sample.origin and sample.licence, sample.path
        assert len(sample.sha256) == 64 and not sample.path.is_absolute()
    assert len({sample.path for sample in samples.SAMPLES}) == len(samples.SAMPLES)


def test_a_changed_sample_is_named_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "bring", lambda files: list(files))  # nothing is downloaded
    monkeypatch.setattr(samples, "SAMPLES", samples.SAMPLES[:1])
    file = tmp_path / samples.SAMPLES[0].path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a home video")
    with pytest.raises(UserError, match="obama_speech.mp4 is not the sample; move it away"):
        samples.fetch(tmp_path)
    assert file.read_bytes() == b"a home video"


@pytest.mark.weights
def test_the_videos_are_as_long_and_as_loud_as_their_entries_say() -> None:
    import av

    for sample in samples.fetch(samples.default_folder()):
        if sample.path.parts[-3] != "videos":
            continue
        with av.open(str(sample.path)) as container:
            video = container.streams.video[0]
            assert f"{video.width}x{video.height}" in sample.shows, sample.path
            assert f"{float(video.duration * video.time_base):.1f} s" in sample.shows, sample.path
            assert bool(container.streams.audio) == ("no sound track" not in sample.shows), sample.path


@pytest.mark.weights
def test_people_are_rendered_by_the_name_of_their_picture(tmp_path: Path) -> None:
    media = samples.default_folder()
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        shutil.copy(media / "portraits/astronaut.png", tmp_path / folder / "eileen.png")
    one, twin = (str(tmp_path / folder / "eileen.png") for folder in ("here", "there"))
    run = lambda *words: CliRunner().invoke(main, ["samples", "render", str(tmp_path / "out"), *words])  # noqa: E731
    done = run(one, "--videos", "2", "--seconds", "0.5", "--voice", str(media / "voices/silero_test.wav"))
    assert done.exit_code == 0 and "emo prepare" in done.output
    assert sorted(path.name for path in (tmp_path / "out/eileen").glob("*.mp4")) == [
        "rendered_eileen_0.mp4", "rendered_eileen_1.mp4",
    ]  # fmt: skip
    twins = run(one, twin)
    assert twins.exit_code == 2 and f"{one}: another file has that name" in twins.output
