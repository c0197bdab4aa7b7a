"""Who is who: faces as points whose truth is known, in any order, growing, merging and parting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo_model.data import identities
from emo_model.data.identities import (
    AS_NAMED,
    ASSUMED,
    BY_FACE,
    DIFFERENT,
    NOT_SEEN,
    SAME,
    WITHIN,
    Clip,
    Faces,
    agglomerate,
    links,
    people,
)  # fmt: skip


def at(*where: float) -> np.ndarray:
    """A face at a place; places a unit apart are other people."""
    return np.array([*where, *[0.0] * (4 - len(where))], np.float32)


def who(clips, faces, **more) -> dict[str, str]:
    return {row["clip_id"]: row["identity_id"] for row in people(clips, faces, **more).rows}


def brute_force(points: np.ndarray, limit: float) -> set[frozenset[int]]:
    """Average linkage on squared distances, one pair after the other."""
    clusters = [[n] for n in range(len(points))]

    def apart(a: list[int], b: list[int]) -> float:
        return float(np.mean([((points[i] - points[j]) ** 2).sum() for i in a for j in b]))

    while len(clusters) > 1:
        distance, i, j = min(
            (apart(a, b), i, j) for i, a in enumerate(clusters) for j, b in enumerate(clusters) if i < j
        )
        if distance > limit**2:
            break
        clusters[i] += clusters.pop(j)
    return set(map(frozenset, clusters))


@pytest.mark.parametrize("seed", range(8))
def test_merging_many_pairs_at_once_is_average_linkage(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BLOCK", 7)
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(9, 3))[rng.integers(0, 9, 40)] + rng.normal(0, 0.15, (40, 3))).astype(np.float32)
    labels = agglomerate(Faces(points), 0.6)
    assert {frozenset(np.flatnonzero(labels == n).tolist()) for n in range(labels.max() + 1)} == brute_force(
        points, 0.6
    )


def test_equal_points_are_one_and_a_chain_is_not() -> None:
    assert set(agglomerate(Faces(np.ones((50, 3))), 0.1)) == {0}
    chain = np.arange(60)[:, None] * np.array([[0.4, 0]])  # each near the next, the ends far apart
    labels = agglomerate(Faces(chain), SAME)
    widest = max(np.ptp(chain[labels == n, 0]) for n in set(labels))
    assert len(set(labels)) > 20 and widest < 3 * SAME
    assert len(links(Faces(chain), 0.5)) == 59


def test_one_face_in_two_unnamed_videos_is_one_person_and_two_faces_in_one_are_two() -> None:
    clips = [Clip("v_0", "v", None), Clip("v_1", "v", None), Clip("w_0", "w", None), Clip("w_1", "w", None)]
    faces = {"v_0": at(0), "w_0": at(0.2), "w_1": at(2)}
    found = people(clips, faces)
    ids = {row["clip_id"]: row["identity_id"] for row in found.rows}
    assert ids["v_0"] == ids["w_0"] == "unknown:v" and ids["w_1"] == "unknown:w"
    methods = {row["clip_id"]: row["method"] for row in found.rows}
    assert (ids["v_1"], methods["v_1"], methods["v_0"]) == ("unknown:v", NOT_SEEN, BY_FACE)
    assert len(set(found.together.values())) == 1, "w ties its two people to one side"


def test_two_people_of_one_video_get_ids_that_do_not_collide() -> None:
    clips = [Clip(f"v_{n}", "v", None) for n in range(3)]
    assert who(clips, {"v_0": at(0), "v_1": at(2), "v_2": at(4)}) == {
        "v_0": "unknown:v", "v_1": "unknown:v:2", "v_2": "unknown:v:3",
    }  # fmt: skip


def test_without_embeddings_a_video_is_a_person_as_ever() -> None:
    found = people([Clip("a", "v", None), Clip("b", "v", None), Clip("c", "w", "Ann")], {})
    assert [row["identity_id"] for row in found.rows] == ["unknown:v", "unknown:v", "Ann"]
    assert found.rows[0]["method"] == ASSUMED and found.rows[0]["face_id"] is None
    assert people([], {}).rows == []


def test_an_unnamed_video_of_a_named_face_is_that_person() -> None:
    found = people([Clip("a", "v", "Ann"), Clip("b", "w", None)], {"a": at(0), "b": at(0.1)})
    assert {row["identity_id"] for row in found.rows} == {"Ann"} and found.rows[1]["method"] == AS_NAMED


def test_two_names_with_one_face_keep_their_names_stand_together_and_are_told() -> None:
    clips = [Clip("a", "v", "Jim"), Clip("b", "w", "James"), Clip("c", "x", "Zoe")]
    found = people(clips, {"a": at(0), "b": at(0.1), "c": at(3)})
    assert [row["identity_id"] for row in found.rows] == ["Jim", "James", "Zoe"]
    assert found.together["Jim"] == found.together["James"] != found.together["Zoe"]
    assert [(c.kind, c.first, c.second) for c in found.conflicts] == [("two names, one face", "James", "Jim")]


def test_a_name_with_two_faces_stays_one_person_is_told_and_lends_its_name_to_the_main_face_only() -> None:
    clips = [Clip("a", "v", "Ann"), Clip("b", "v", "Ann"), Clip("c", "v", "Ann"), Clip("d", "w", None)]
    found = people(clips, {"a": at(0), "b": at(0.1), "c": at(1), "d": at(1.1)})
    assert [row["identity_id"] for row in found.rows] == ["Ann", "Ann", "Ann", "unknown:w"]
    [told] = found.conflicts
    assert (told.kind, told.first, told.second) == ("one name, two faces", "Ann", "c") and told.distance > DIFFERENT
    assert found.together["Ann"] == found.together["unknown:w"], "one side: the face of c is in both"


def test_look_alikes_are_two_people_on_one_side() -> None:
    found = people([Clip("a", "v", None), Clip("b", "w", None)], {"a": at(0), "b": at((SAME + identities.LOOSE) / 2)})
    assert found.rows[0]["identity_id"] != found.rows[1]["identity_id"]
    assert len(set(found.together.values())) == 1


def test_one_recording_ties_people_to_one_side() -> None:
    clips = [Clip("a", "v", "Ann"), Clip("b", "w", "Bob"), Clip("c", "x", "Cid")]
    together = people(clips, {}, same_footage=[["a", "b"]]).together
    assert together["Ann"] == together["Bob"] != together["Cid"]


worlds = st.integers(0, 10_000)


def world(seed: int, videos: int = 14) -> tuple[list[Clip], dict[str, np.ndarray]]:
    """Videos of a few people, some named, some with a guest, some clips without a usable face."""
    rng = np.random.default_rng(seed)
    places = rng.normal(0, 0.7, (6, 4))
    clips, faces = [], {}
    for video in range(videos):
        host = int(rng.integers(0, 6))
        for number in range(int(rng.integers(1, 4))):
            face = host if rng.random() < 0.8 else int(rng.integers(0, 6))
            clip = Clip(f"v{video:02}_{number}", f"v{video:02}", f"name {host}" if host < 2 else None)
            clips.append(clip)
            if rng.random() < 0.9:
                faces[clip.clip_id] = (places[face] + rng.normal(0, 0.06, 4)).astype(np.float32)
    return clips, faces


@settings(max_examples=30, deadline=None)
@given(worlds)
def test_the_order_of_the_clips_is_nothing(seed: int) -> None:
    clips, faces = world(seed)
    shuffled = [clips[n] for n in np.random.default_rng(seed + 1).permutation(len(clips))]
    assert people(clips, faces) == people(shuffled, dict(reversed(faces.items())))


@settings(max_examples=30, deadline=None)
@given(worlds)
def test_a_second_run_and_a_grown_root_keep_every_id_that_still_has_clips(seed: int) -> None:
    clips, faces = world(seed)
    some = [clip for clip in clips if clip.video_id < "v08"]
    before = people(some, faces).rows
    assert people(some, faces, before).rows == before
    after = {row["clip_id"]: row["identity_id"] for row in people(clips, faces, before).rows}
    old: dict[str, set[str]] = {}
    for row in before:
        old.setdefault(after[row["clip_id"]], set()).add(row["identity_id"])
    for (
        person,
        ids,
    ) in old.items():  # who parts gives the id to one of the parts
        if person.startswith("unknown:") and person not in ids:
            assert ids <= set(after.values())


@settings(max_examples=30, deadline=None)
@given(worlds)
def test_video_face_and_name_stand_together(seed: int) -> None:
    found = people(*world(seed))
    for tie in ("video_id", "face_id", "identity_id"):
        groups: dict[str, set[str]] = {}
        for row in found.rows:
            if row[tie]:
                groups.setdefault(row[tie], set()).add(found.together[row["identity_id"]])
        assert all(len(group) == 1 for group in groups.values())


def test_within_a_video_more_is_one_person_than_across() -> None:
    assert SAME < WITHIN < DIFFERENT
    far = (SAME + WITHIN) / 2
    assert len(set(who([Clip("a", "v", None), Clip("b", "v", None)], {"a": at(0), "b": at(far)}).values())) == 1
    assert len(set(who([Clip("a", "v", None), Clip("b", "w", None)], {"a": at(0), "b": at(far)}).values())) == 2


def test_look_alikes_that_would_chain_into_a_crowd_are_tied_by_a_nearer_limit_and_that_is_told() -> None:
    step = (identities.LOOSE + 0.44) / 2 + 0.005  # between the loosest limit and the strictest
    faces = {f"c{n}": at(n * step, 0.0) for n in range(150)}  # each within LOOSE of the next: one long chain
    faces |= {"x": at(-9.0, 0.0), "y": at(-9.0, 0.43)}  # two that are near by any limit
    clips = [Clip(name, f"video of {name}", None) for name in faces]
    found = people(clips, faces)
    group = {row["clip_id"]: found.together[row["identity_id"]] for row in found.rows}
    assert group["x"] == group["y"] and len(set(group.values())) == 151
    crowd = [conflict for conflict in found.conflicts if conflict.kind == identities.CROWD]
    assert [(conflict.first, conflict.second) for conflict in crowd] == [("150 faces", "of 152")]
