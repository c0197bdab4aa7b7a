"""Who is who: the clips of all shards as people, by the collection's name and by face.

    unit      clips of one name, or of one unnamed video, that show one face    average linkage at WITHIN
    face      units that show one face across names and videos                  average linkage at SAME
    group     people that must stand on one side of the split                   one video, face or footage, or LOOSE

A name is believed: its clips are one person, and an unnamed face that is a name's main one is that person. Other faces
are `unknown:VIDEO_ID`, by the first of their videos (`:2` for the second person there), and keep that id as they grow.

Linkage is by the mean squared distance of all pairs, so that a chain of look-alikes does not become one person, and
needs only each cluster's mean and variance. For splitting, precision matters less than a leak does: LOOSE links do
chain. What they chain is trained on, never tested on (splits.py); where they chain a crowd, they are not used, and a
conflict says so.

Everything is a function of the clips, in any order; only unknown people's ids remember the run before.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Root mean squared distances of dlib's descriptions (clips' means); measured by benchmarks/scores_people.py.
WITHIN = 0.50  # one name or video: nearly always one person
SAME = 0.42
LOOSE = 0.48  # with a rate of false links p and n people, n p must stay below 1, or all become one group
LOOSER_TO_STRICTER = (LOOSE, 0.46, 0.44)
MOST_TIED, MANY = 0.2, 100  # share of at least so many faces: more in one group is a crowd, and tells nobody apart
DIFFERENT = 0.65  # one name, clearly two faces
BLOCK = 2048  # clusters compared at once

CROWD = "look-alikes within this distance chain into a crowd, and are not tied"
UNKNOWN = "unknown:"
NAMED = "named by the collection"
BY_FACE = "not named: by face"
AS_NAMED = "not named: by face, as a name's"
ASSUMED = "not named: one person a video is assumed"
NOT_SEEN = "not named, its own face not usable: the person most seen in its video"

Array = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Clip:
    """One clip, as far as it tells who is in it."""

    clip_id: str
    video_id: str
    name: str | None


@dataclass(frozen=True)
class Conflict:
    """Where names and faces disagree, for a person to look at."""

    kind: str  # "two names, one face", "one name, two faces", or CROWD
    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class People:
    """`rows`: one of table `identities` a clip; `together`: identity -> a name for all who share its side."""

    rows: list[dict[str, Any]]
    together: dict[str, str]
    conflicts: list[Conflict]


@dataclass
class Faces:
    """Clusters by mean (N, d), mean squared distance from it (N,) and number of clips (N,)."""

    mean: Array
    variance: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    clips: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        self.mean = np.asarray(self.mean, np.float32)
        if not len(self.clips):
            self.variance, self.clips = (f(len(self.mean), np.float32) for f in (np.zeros, np.ones))

    def __getitem__(self, chosen: NDArray[Any] | slice) -> "Faces":
        return Faces(self.mean[chosen], self.variance[chosen], self.clips[chosen])

    def merged(self, labels: Labels) -> "Faces":
        """Clusters of clusters: labels (N,) from 0 without gaps."""
        count = int(labels.max(initial=-1)) + 1
        clips = np.bincount(labels, self.clips, count)
        from scipy.sparse import coo_array  # where it is used: every Dagster process would pay its 0.1 s

        weights = coo_array(
            (self.clips / clips[labels], (labels, np.arange(len(labels)))), (count, len(labels))
        ).tocsr()
        mean = weights @ self.mean
        inside = self.variance + ((self.mean - mean[labels]) ** 2).sum(axis=1)
        return Faces(mean, (weights @ inside).astype(np.float32), clips.astype(np.float32))

    def squared(self, a: slice, b: slice) -> Array:
        """(A, B) mean squared distances between the clips of two blocks of clusters, in one product of matrices."""
        left, right = self._factors
        return left[a] @ right[b].T

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        size = ((self.mean**2).sum(axis=1) + self.variance)[:, None]
        one = np.ones_like(size)
        return np.hstack([-2 * self.mean, size, one]), np.hstack([self.mean, one, size])

    def distance(self, a: int, b: int) -> float:
        """Root mean squared distance between the clips of two clusters."""
        return float(np.sqrt(max(self.squared(slice(a, a + 1), slice(b, b + 1))[0, 0], 0)))


# ---- clusters ----


def agglomerate(faces: Faces, limit: float) -> Labels:
    """(N,) cluster of each face, numbered by first appearance: average linkage, cut at `limit`.

    Merging every mutually nearest pair at once gives the same tree as one pair after the other, since a merged pair is
    never nearer to a third cluster than both were; for the same reason one with nobody inside the limit is finished.
    """
    root = np.arange(len(faces.mean))
    at = root.copy()  # open clusters, by their first member
    current = faces
    while len(at) > 1:
        nearest, squared = _nearest(current)
        inside = squared <= limit**2
        if not inside.any():
            break
        mine = np.arange(len(at))
        pairs = inside & (nearest[nearest] == mine) & (mine < nearest)
        if not pairs.any():  # rounding made a circle of equals
            first = int(squared.argmin())
            pairs[min(first, nearest[first])] = True
            nearest[min(first, nearest[first])] = max(first, nearest[first])
        root[at[nearest[pairs]]] = at[pairs]
        labels = mine.copy()
        labels[nearest[pairs]] = mine[pairs]
        kept, labels = np.unique(labels, return_inverse=True)
        is_open = np.bincount(labels, inside) > 0
        current, at = current.merged(labels)[is_open], at[kept][is_open]
    while (root[root] != root).any():
        root = root[root]
    return np.unique(root, return_inverse=True)[1]


def _nearest(faces: Faces) -> tuple[Labels, Array]:
    """(N,) nearest other cluster, the first of equals, and its squared distance."""
    count = len(faces.mean)
    nearest, squared = np.zeros(count, np.int64), np.full(count, np.inf, np.float32)

    for rows, columns, block in _blocks(faces):
        if rows == columns:
            np.fill_diagonal(block, np.inf)
        others = block.argmin(axis=1)
        found = block[np.arange(len(block)), others]
        better = found < squared[rows]
        squared[rows][better], nearest[rows][better] = found[better], others[better] + columns.start
    return nearest, squared


def _blocks(faces: Faces) -> Iterator[tuple[slice, slice, Array]]:
    """Squared distances of all clusters by blocks: a whole matrix of 60,000 would be 14 GB. (Each block is computed,
    not half of them turned round: numpy's argmin down a column is 50 times slower than along a row.)"""
    slices = [slice(start, min(start + BLOCK, len(faces.mean))) for start in range(0, len(faces.mean), BLOCK)]
    return ((a, b, faces.squared(a, b)) for a in slices for b in slices)


def links(faces: Faces, limit: float) -> Labels:
    """(P, 2) pairs of clusters within `limit` of each other."""
    found = [np.empty((0, 2), np.int64)]
    for a, b, block in _blocks(faces):
        pairs = np.argwhere(block <= limit**2) + np.array([a.start, b.start])
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


# ---- people ----


def people(
    clips: Iterable[Clip],
    embeddings: Mapping[str, Array],
    before: Sequence[Mapping[str, str]] = (),
    same_footage: Iterable[Sequence[str]] = (),
) -> People:
    """Who is in each clip. embeddings: clip_id -> (128,), of those that have one; before: the rows of the last run;
    same_footage: lists of clip_ids that show one recording."""
    listed = sorted(clips, key=lambda clip: clip.clip_id)
    seen = [clip for clip in listed if clip.clip_id in embeddings]
    units, unit_of = _units(seen, embeddings)
    face_of_unit = agglomerate(units, SAME)
    face = {clip.clip_id: int(face_of_unit[unit]) for clip, unit in zip(seen, unit_of, strict=True)}
    person = _names(seen, face)
    named = set(person)
    person |= _unknown([clip for clip in seen if face[clip.clip_id] not in named and not clip.name], face, before)
    first: dict[int, str] = {}
    for clip_id, number in face.items():
        first.setdefault(number, clip_id)
    usual = _main((clip.video_id, face[clip.clip_id]) for clip in seen if not clip.name)

    def who(clip: Clip) -> tuple[str, str]:
        if clip.name:
            return clip.name, NAMED
        number = face.get(clip.clip_id, usual.get(clip.video_id))
        if number is None:
            return f"{UNKNOWN}{clip.video_id}", ASSUMED
        if clip.clip_id not in face:
            return person[number], NOT_SEEN
        return person[number], AS_NAMED if number in named else BY_FACE

    rows = []
    for clip in listed:
        identity, method = who(clip)
        row = {"clip_id": clip.clip_id, "video_id": clip.video_id, "identity_id": identity, "method": method}
        rows.append({**row, "face_id": first.get(face.get(clip.clip_id, -1))})
    near, crowd = _look_alikes(units.merged(face_of_unit))
    conflicts = _conflicts(seen, units, unit_of, face_of_unit) + crowd
    together = _together(rows, [(first[int(a)], first[int(b)]) for a, b in near], same_footage)
    return People(rows, together, conflicts)


def _tied(pairs: Labels, count: int) -> Labels:
    """(count,) the group of each node, where pairs (P, 2) belong together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ties = coo_array((np.ones(len(pairs)), tuple(pairs.T)), (count, count))
    return connected_components(ties, directed=False)[1]


def _look_alikes(faces: Faces) -> tuple[Labels, list[Conflict]]:
    """(P, 2) pairs of faces that may be one person: within LOOSE, or nearer where that would tie a crowd together."""
    count = len(faces.mean)
    conflicts: list[Conflict] = []
    for limit in LOOSER_TO_STRICTER:
        pairs = links(faces, limit)
        largest = int(np.bincount(_tied(pairs, count)).max(initial=0))
        if count < MANY or largest <= MOST_TIED * count:
            return pairs, conflicts
        conflicts = [Conflict(CROWD, f"{largest} faces", f"of {count}", limit)]
    return pairs[:0], conflicts


def _units(seen: list[Clip], embeddings: Mapping[str, Array]) -> tuple[Faces, Labels]:
    """The units, and each clip's."""
    if not seen:
        return Faces(np.empty((0, 1), np.float32)), np.empty(0, np.int64)
    faces = Faces(np.stack([embeddings[clip.clip_id] for clip in seen]))
    scopes: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for number, clip in enumerate(seen):
        scopes[(True, clip.name) if clip.name else (False, clip.video_id)].append(number)
    labels, count = np.empty(len(seen), np.int64), 0
    for members in scopes.values():
        labels[members] = count + agglomerate(faces[np.array(members)], WITHIN)
        count = int(labels[members].max()) + 1
    return faces.merged(labels), labels


def _main(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """key -> its most frequent number, the smallest of equals."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for key, number in pairs:
        counts[key][number] += 1
    return {key: min(found, key=lambda number: (-found[number], number)) for key, found in counts.items()}


def _names(seen: list[Clip], face: Mapping[str, int]) -> dict[int, str]:
    """face -> the name whose main face it is; of two such names the one with more clips."""
    clips = Counter((clip.name, face[clip.clip_id]) for clip in seen if clip.name)
    main = _main((clip.name, face[clip.clip_id]) for clip in seen if clip.name)
    return {number: name for name, number in sorted(main.items(), key=lambda item: (clips[item], item[0]))}


def _unknown(seen: list[Clip], face: Mapping[str, int], before: Sequence[Mapping[str, str]]) -> dict[int, str]:
    """face -> id, of faces without a name. An id goes on with the face that has most of its clips."""
    old = {row["clip_id"]: row["identity_id"] for row in before if row["identity_id"].startswith(UNKNOWN)}
    taken = set(old.values())
    votes = Counter((old[clip.clip_id], face[clip.clip_id]) for clip in seen if clip.clip_id in old)
    found: dict[int, str] = {}
    for name, number in sorted(votes, key=lambda vote: (-votes[vote], vote)):
        if number not in found and name not in found.values():
            found[number] = name
    for clip in seen:
        if face[clip.clip_id] not in found:
            found[face[clip.clip_id]] = _free(f"{UNKNOWN}{clip.video_id}", taken)
    return found


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}:{number}"
    taken.add(free)
    return free


def _together(
    rows: list[dict[str, Any]], near: Iterable[tuple[str, str]], same_footage: Iterable[Sequence[str]]
) -> dict[str, str]:
    """identity -> the first of all identities that a video, a face, a look-alike or one recording ties to it."""
    nodes: dict[tuple[str, str], int] = {}

    def node(kind: str, name: str) -> int:
        return nodes.setdefault((kind, name), len(nodes))

    edges = []
    for row in rows:
        person = node("person", row["identity_id"])
        edges += [(person, node("video", row["video_id"])), (person, node("clip", row["clip_id"]))]
        if row["face_id"]:
            edges.append((person, node("face", row["face_id"])))
    edges += [(node("face", a), node("face", b)) for a, b in near]
    edges += [(node("clip", group[0]), node("clip", clip)) for group in same_footage for clip in group[1:]]
    if not edges:
        return {}
    group = _tied(np.array(edges), len(nodes))
    identities = sorted(name for kind, name in nodes if kind == "person")
    name_of: dict[int, str] = {}
    for name in identities:
        name_of.setdefault(int(group[nodes["person", name]]), name)
    return {name: name_of[int(group[nodes["person", name]])] for name in identities}


def _conflicts(seen: list[Clip], units: Faces, unit_of: Labels, face_of_unit: Labels) -> list[Conflict]:
    """Names that share a face, and names with two clearly different ones."""
    by_face: dict[int, dict[str, int]] = defaultdict(dict)
    by_name: dict[str, dict[int, str]] = defaultdict(dict)
    clips = Counter(int(unit) for unit in unit_of)
    for clip, unit in zip(seen, map(int, unit_of), strict=True):
        if clip.name:
            by_face[int(face_of_unit[unit])].setdefault(clip.name, unit)
            by_name[clip.name].setdefault(unit, clip.clip_id)
    found = []
    for names in by_face.values():
        (first, unit), *others = sorted(names.items())
        found += [Conflict("two names, one face", first, name, units.distance(unit, u)) for name, u in others]
    for name, of_name in by_name.items():
        main, *rest = sorted(of_name, key=lambda unit: (-clips[unit], of_name[unit]))
        apart = ((unit, units.distance(main, unit)) for unit in rest)
        found += [Conflict("one name, two faces", name, of_name[unit], d) for unit, d in apart if d > DIFFERENT]
    return sorted(found, key=lambda conflict: (conflict.kind, conflict.first, conflict.second))
