"""Sample media: the registry is complete, a changed file is seen, and the real files are what it says."""

from pathlib import Path

import pytest

from emo_model import samples
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
