"""The user study: what the page gives away, which files count, and numbers with known answers."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emo_model.data import media
from emo_model.errors import UserError
from emo_model.evaluate import GROUND_TRUTH, Evaluation
from emo_model.study import Key, Ratings, collect, write_study, write_table
from emo_model.study.agreement import krippendorff_alpha
from emo_model.study.table import agreement, opinions, to_page
from tests.model.report.conftest import ODD, data, evaluation  # noqa: F401

SALT = "a salt of its own"


@pytest.fixture(scope="session")
def study(
    evaluation: Evaluation,  # noqa: F811
    data: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "study"
    write_study(evaluation, folder, root=data, salt=SALT)
    return folder


@pytest.fixture
def key(study: Path) -> Key:
    return Key.read(study / "key.json")


def rated(key: Key, rater: str = "r1", finished: str = "2026-01-01T00:00:00Z", **changed: Any) -> dict[str, Any]:
    """A complete file: lip sync 4 for the ground truth, 2 for others; vividness 3."""
    ratings = [
        {"video": name, "lip_sync": 4 if method == GROUND_TRUTH else 2, "vividness": 3}
        for name, (_, method) in key.videos.items()
    ]
    return {"study": key.study, "rater": rater, "finished": finished, "ratings": ratings} | changed


def write(folder: Path, name: str, record: Any) -> None:
    (folder / name).write_text(record if isinstance(record, str) else json.dumps(record))


# ---- the page ----


def test_neither_names_nor_source_nor_bytes_tell_a_method(study: Path, key: Key, data: Path) -> None:  # noqa: F811
    page = study / "page"
    secret = [GROUND_TRUTH, "ours", "R&D", '"c0"', '"c1"', "person", "real", SALT, str(data)]
    source = (page / "index.html").read_text()
    shown = json.loads(source.split('id="study">')[1].split("</script>")[0])
    assert not [word for word in secret if word in json.dumps(shown)]
    assert not [word for word in secret if word not in ("real", "ours", "person") and word in source]
    for file in (page / "media").iterdir():
        assert len(file.stem) == 16 and set(file.stem) <= set("0123456789abcdef")
        assert not [word for word in secret if len(word) > 4 and word.encode() in file.read_bytes()]
    assert {path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()} == {
        "index.html", *(f"media/{name}.mp4" for name in key.videos), *(f"media/{name}.jpg" for name in key.clips)
    }  # fmt: skip


def test_every_video_has_equal_form_and_its_own_pictures(study: Path, key: Key) -> None:
    forms, brightness = set(), {}
    for name, (clip, method) in key.videos.items():
        known = media.probe(study / "page" / "media" / f"{name}.mp4")
        forms.add((known.codec, known.width, known.height, known.fps, known.has_audio, known.audio_rate))
        first = next(picture for _, picture in media.frames(study / "page" / "media" / f"{name}.mp4"))
        brightness[clip, method] = float(np.median(first))
    assert forms == {("h264", 512, 512, 30.0, True, 16000)}
    assert {(m, round(v / 20)) for (_, m), v in brightness.items()} == {(GROUND_TRUTH, 2), ("ours", 5), (ODD, 8)}


def test_the_order_on_the_page_depends_on_the_salt_alone(key: Key) -> None:
    """Names are hashes, listed by name: another salt, another order."""
    first = sorted(key.videos)
    assert [key.videos[name][1] for name in first] != sorted(key.videos[name][1] for name in first)


def test_a_study_that_may_be_running_is_not_written_over(
    evaluation: Evaluation,  # noqa: F811
    data: Path,  # noqa: F811
    study: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="somebody may be rating it; run: emo study --out ANOTHER"):
        write_study(evaluation, study, root=data)
    with pytest.raises(UserError, match="no videos of nobody in this evaluation; known: ground truth, ours"):
        write_study(evaluation, tmp_path / "other", root=data, methods=("nobody",))
    with pytest.raises(UserError, match="compares two methods at least"):
        write_study(evaluation, tmp_path / "other", root=data, methods=("ours",))
    assert not list(tmp_path.iterdir())


# ---- the files that come back ----


def test_complete_files_are_counted_under_the_methods_names(key: Key, tmp_path: Path) -> None:
    write(tmp_path, "a.json", rated(key, "r1"))
    write(tmp_path, "b.json", rated(key, "r2"))
    found = collect(tmp_path, key)
    assert found.raters == ("r1", "r2") and found.values.shape == (2, 2, 3, 2) and not found.refused
    means = {(one.method, one.scale): one.mean for one in opinions(found)}
    assert means[GROUND_TRUTH, "lip_sync"] == 4 and means["ours", "lip_sync"] == 2 and means[ODD, "vividness"] == 3


def test_files_that_do_not_fit_are_refused_by_name(key: Key, tmp_path: Path) -> None:
    whole = rated(key)["ratings"]
    wrong = {
        "not-json.json": "{", "a-list.json": [], "deep.json": "[" * 100_000,
        "other-study.json": rated(key, study="f" * 16),
        "nobody.json": rated(key, rater=" "), "a-number.json": rated(key, rater=7),
        "unfinished.json": rated(key, finished=None), "no-list.json": rated(key, ratings={}),
        "too-few.json": rated(key, ratings=whole[:-1]), "twice.json": rated(key, ratings=[*whole, whole[0]]),
        "six.json": rated(key, ratings=[whole[0] | {"lip_sync": 6}]),
        "half.json": rated(key, ratings=[whole[0] | {"vividness": 2.5}]),
        "true.json": rated(key, ratings=[whole[0] | {"lip_sync": True}]),
        "stranger.json": rated(key, ratings=[whole[0] | {"video": "e" * 16}]),
        "unhashable.json": rated(key, ratings=[whole[0] | {"video": ["x"]}]),
    }  # fmt: skip
    for name, record in wrong.items():
        write(tmp_path, name, record)
    with pytest.raises(UserError, match="no ratings to count"):
        collect(tmp_path, key)
    write(tmp_path, "right.json", rated(key))
    found = collect(tmp_path, key)
    assert found.raters == ("r1",)
    assert [line.partition(":")[0] for line in found.refused] == sorted(wrong)
    said = dict(line.split(": ", 1) for line in found.refused)
    assert said["too-few.json"] == "1 of 6 videos are not rated"
    assert said["twice.json"].endswith("is rated twice")
    assert said["six.json"] == "rating 1: wanted lip_sync from 1 to 5 as a whole number, got 6"


def test_of_one_raters_files_the_one_finished_first_counts(key: Key, tmp_path: Path) -> None:
    later = rated(key, finished="2026-01-02T00:00:00Z")
    later["ratings"][0]["lip_sync"] = 1
    write(tmp_path, "a-later.json", later)
    write(tmp_path, "b-first.json", rated(key))
    write(tmp_path, "c-copy.json", rated(key))
    found = collect(tmp_path, key)
    assert found.values.min() == 2
    assert found.refused == (
        "a-later.json: rater r1 is in b-first.json already; the ratings finished first count",
        "c-copy.json: rater r1 is in b-first.json already; the same ratings",
    )


# ---- numbers ----


def test_alpha_of_krippendorffs_own_example() -> None:
    """Four coders, twelve units, missing values: ordinal 0.815 (Computing Krippendorff's Alpha-Reliability, 2011)."""
    _ = np.nan
    ratings = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ])  # fmt: skip
    alpha = krippendorff_alpha(ratings)
    assert alpha is not None and round(alpha, 3) == 0.815
    assert krippendorff_alpha(ratings[::-1]) == pytest.approx(alpha)  # raters have no order


def test_alpha_at_its_ends() -> None:
    agreed = np.tile([1, 2, 3, 4, 5, 1], (3, 1))
    assert krippendorff_alpha(agreed) == 1
    chance = krippendorff_alpha(np.random.default_rng(0).integers(1, 6, (5, 4000)))
    assert chance is not None and abs(chance) < 0.02
    opposed = krippendorff_alpha(np.array([[1, 5, 1, 5], [5, 1, 5, 1]]))
    assert opposed is not None and opposed < 0
    assert krippendorff_alpha(np.full((3, 4), 2)) is None
    assert krippendorff_alpha(np.array([[1, np.nan], [np.nan, 2]])) is None


def ratings(values: np.ndarray) -> Ratings:
    raters, clips, methods, _ = values.shape
    names = (
        tuple(f"{letter}{n}" for n in range(count))
        for letter, count in zip("rcm", (raters, clips, methods), strict=True)
    )
    return Ratings(*names, values, ())


def test_intervals_hold_what_raters_and_clips_vary() -> None:
    """Opinion = 3 + rater's own + clip's own: the mean's spread is that of both, over the roots of their numbers."""
    rng = np.random.default_rng(1)
    raters, clips = rng.normal(0, 0.5, (30, 1)), rng.normal(0, 0.8, (1, 20))
    values = np.broadcast_to((3 + raters + clips)[:, :, None, None], (30, 20, 1, 2))
    one = opinions(ratings(values))[0]
    assert one.low is not None and one.high is not None and one.low < one.mean < one.high
    spread = np.hypot(raters.std() / np.sqrt(30), clips.std() / np.sqrt(20))
    assert (one.high - one.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.1)


def test_one_rater_has_no_interval_and_equal_ratings_no_agreement() -> None:
    found = ratings(np.full((1, 4, 2, 2), 3))
    assert all(one.low is None for one in opinions(found))
    assert agreement(found) == {"lip_sync": None, "vividness": None}
    assert "Lip sync –, Vividness –" in to_page(found)


def test_the_table_keeps_printed_numbers_and_refused_files_apart(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 6, (4, 3, 2, 2))
    found = Ratings(("a", "b", "c", "d"), ("c0", "c1", "c2"), ("ours", "theirs"), values, ("x.json: why",))
    text = write_table(found, tmp_path).read_text()
    rated_here, printed = text.split("## As EMO printed it")
    assert "| ours |" in rated_here and "| EMO | 4.17 | 4.38 |" in printed and "EMO |" not in rated_here
    assert "- x.json: why" in text and json.loads((tmp_path / "table.json").read_text())["raters"] == 4


def test_the_pages_script_parses(study: Path, tmp_path: Path) -> None:
    """Where node is there; what the script does is tested in a browser (test_pages.py)."""
    script = (study / "page" / "index.html").read_text().rsplit("<script>", 1)[1].split("</script>")[0]
    (tmp_path / "page.js").write_text(script)
    try:
        done = subprocess.run(["node", "--check", tmp_path / "page.js"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no node here")
    assert done.returncode == 0, done.stderr
