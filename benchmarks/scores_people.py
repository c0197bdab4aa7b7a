"""How often faces and fingerprints are right: same person or not, same recording or not, and what both cost at scale.

    python benchmarks/scores_people.py ROOT COPIES    a prepared data root of known people, and the collection of copies
    python benchmarks/scores_people.py --scale [N]    N generated faces (60,000) and clips' fingerprints

A video's person is the name before `__` in its file's name (else its folder's): `ann__small.mp4` in the collection
COPIES is a copy of `ann.mp4`. `--copies FOLDER FILE...` writes such copies into FOLDER: smaller, other rate and level,
trimmed by 1.37 s, cropped with a logo and trimmed by 0.71 s, mirrored.
"""

import itertools
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from emo_model.data.identities import LOOSE, SAME, Clip, Faces, agglomerate, links, people
from emo_model.data.near_duplicates import SAME_SOUND, common, find, read_clips, sampled
from emo_model.data.splits import embeddings
from emo_model.data.store import DataRoot

KINDS: dict[str, dict] = {
    "small": {"width": 320, "crf": 32},
    "fps": {"fps": 30, "gain": 0.4},
    "trim": {"start_s": 1.37},
    "crop": {"crop": 0.06, "logo": True, "start_s": 0.71, "bit_rate": 32_000},
    "mirror": {"width": 400, "mirror": True},
}


def copy(source: Path, out: Path, *, width: int = 0, crf: int = 28, fps: int = 0, start_s: float = 0, gain: float = 1,
         crop: float = 0, logo: bool = False, mirror: bool = False, bit_rate: int = 48_000) -> None:  # fmt: skip
    """Write a copy of a film as another site would show it."""
    import av
    import cv2

    with av.open(str(source)) as film, av.open(str(out), "w") as new:
        shown, heard = film.streams.video[0], next(iter(film.streams.audio), None)
        rate = Fraction(fps or shown.average_rate).limit_denominator(1001)
        w, h = shown.codec_context.width, shown.codec_context.height
        size = ((width or w) // 2 * 2, round(h * (width or w) / w) // 2 * 2)
        picture = new.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        (picture.width, picture.height), picture.pix_fmt = size, "yuv420p"
        sound = new.add_stream("aac", rate=44_100, layout="stereo") if heard else None
        if sound:
            sound.bit_rate = bit_rate
        resampler, number, samples = av.AudioResampler("fltp", "stereo", 44_100), 0, 0
        for frame in film.decode(*filter(None, (shown, heard))):
            if frame.time is None or frame.time < start_s:
                continue
            if isinstance(frame, av.AudioFrame):
                for part in resampler.resample(frame):
                    louder = av.AudioFrame.from_ndarray(part.to_ndarray() * np.float32(gain), "fltp", "stereo")
                    louder.sample_rate, louder.pts, louder.time_base = 44_100, samples, Fraction(1, 44_100)
                    samples += louder.samples
                    new.mux(sound.encode(louder))
                continue
            y, x = int(h * crop), int(w * crop)
            image = cv2.resize(frame.to_ndarray(format="rgb24")[y : h - y // 2, x : w - x // 2], size)
            image = np.ascontiguousarray(image[:, ::-1] if mirror else image)
            if logo:
                image[: size[1] // 8, : size[0] // 5] = (230, 30, 40)
            while start_s + number / rate <= frame.time:
                drawn = av.VideoFrame.from_ndarray(image, format="rgb24")
                drawn.pts, drawn.time_base = number, 1 / rate
                new.mux(picture.encode(drawn))
                number += 1
        for stream in filter(None, (picture, sound)):
            new.mux(stream.encode(None))


def right(found: set, true: set) -> str:
    """Precision and recall, with their counts."""
    hit = len(found & true)
    return f"precision {hit}/{len(found)}, recall {hit}/{len(true)}"


def score(root: DataRoot, copies: str) -> None:
    """Print precision and recall over all pairs of clips of a root whose people are known by file name."""
    videos = [row for row in root.read("videos").to_pylist() if row["status"] == "ok"]
    stem = {v["video_id"]: (v["identity_hint"] or Path(v["uri"]).stem.split("__")[0]) for v in videos}
    copied = {v["video_id"] for v in videos if v["source"] == copies}
    video = {row["clip_id"]: row["video_id"] for row in root.read("crops").to_pylist()}
    found = embeddings(root)
    pairs = list(itertools.combinations(sorted(found), 2))
    same = {pair for pair in pairs if stem[video[pair[0]]] == stem[video[pair[1]]]}
    apart = {pair: float(np.linalg.norm(found[pair[0]] - found[pair[1]])) for pair in pairs}
    strangers = [pair for pair in pairs if pair not in same and not copied & {video[pair[0]], video[pair[1]]}]
    print(f"{len(found)} clips of {len({stem[video[c]] for c in found})} people; {len(same)} pairs of one person")
    for name, limit in (("SAME", SAME), ("LOOSE", LOOSE)):
        print(f"  {name} {limit}: {right({pair for pair in pairs if apart[pair] <= limit}, same)}")
    between = np.array([apart[pair] for pair in strangers])
    print(f"  {len(strangers)} pairs of strangers (no copies): mean {between.mean():.3f}, sd {between.std():.3f}, "
          f"least {between.min():.3f}; one person's widest {max(apart[pair] for pair in same):.3f}")  # fmt: skip
    rows = people((Clip(c, video[c], None) for c in found), found).rows
    person = {row["clip_id"]: row["identity_id"] for row in rows}
    print(f"  people found without names: {right({p for p in pairs if person[p[0]] == person[p[1]]}, same)}")
    clips = read_clips(root)
    true = {
        (a.clip_id, b.clip_id)
        for a, b in itertools.combinations(clips, 2)
        if stem[a.video_id] == stem[b.video_id] and a.video_id != b.video_id and copied & {a.video_id, b.video_id}
    }
    print(f"one recording, {len(clips)} clips: {right({(p.a, p.b) for p in find(clips)}, true)}")
    for clip in clips:
        object.__setattr__(clip, "sound", clip.sound[:0])
    print(f"  by pictures alone: {right({(p.a, p.b) for p in find(clips)}, true)}")


def scale(count: int) -> None:
    """Generated faces: three videos a person in the mean, strangers 0.77 apart with a deviation of 0.07 as measured,
    one person's at 0.35; generated fingerprints: clips of 6 s, one in a hundred a copy with 5 % of its bits wrong."""
    rng = np.random.default_rng(0)
    persons = count // 3
    of = rng.integers(0, persons, count)
    spread = np.r_[np.ones(60), np.full(68, 0.05)]
    faces = rng.normal(size=(persons, 128)) * spread * 0.77 / np.sqrt(2 * (spread**2).sum())
    clips = (faces[of] + rng.normal(size=(count, 128)) * 0.35 / np.sqrt(2 * 128)).astype(np.float32)
    start = time.process_time()
    labels = agglomerate(Faces(clips), SAME)
    merged = Faces(clips).merged(labels)
    near = links(merged, LOOSE)
    sizes = np.unique(of[np.unique(labels, return_index=True)[1]])
    print(f"{count} faces of {len(np.unique(of))} people: {labels.max() + 1} clusters of {len(sizes)} people, "
          f"{len(near)} loose links, {time.process_time() - start:.0f} s of one core")  # fmt: skip
    words = [rng.integers(1, 2**32, 170, np.uint64).astype(np.uint32) for _ in range(count)]
    for number in range(0, count, 100):
        wrong = np.packbits(rng.random((170, 32)) < 0.05, axis=1).view(np.uint32).ravel()
        words[number] = np.maximum(words[number + 1] ^ wrong, 1)
    start = time.process_time()
    found = [(a, b) for a, b, _ in common([sampled(w) for w in words], np.arange(count))]
    true = {(number, number + 1) for number in range(0, count, 100)}
    print(f"{count} sounds, looked up: {len(found)} candidates, {len(true & set(found))} of {len(true)} copies, "
          f"{time.process_time() - start:.0f} s; SAME_SOUND {SAME_SOUND}")  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--scale", *more]:
            scale(int(more[0]) if more else 60_000)
        case ["--copies", out, *files]:
            for file, (kind, how) in itertools.product(map(Path, files), KINDS.items()):
                copy(file, Path(out) / f"{file.stem}__{kind}.mp4", **how)
        case [root, copies]:
            score(DataRoot(Path(root)), copies)
        case _:
            sys.exit(__doc__)
