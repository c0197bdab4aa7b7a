"""Head pose and head speed against the truth: rendered heads of known motion, and a photograph turned in its plane.

    python benchmarks/pose.py

Rendered: every sample person at every speed of the talking set, 25 and 30 fps, through the landmarker and the labels'
own formulas. Errors in degrees; speeds in degrees a frame at 30 fps; correlation over the frames of one video.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from scipy.spatial.transform import Rotation

from emo_model import samples
from emo_model.data import media
from emo_model.data.faces import Landmarker
from emo_model.data.head_motion import Track, clip_times, poses_at, speeds_at
from emo_model.talking_set import render_set
from emo_model.talking_set.render import SPEEDS

SECONDS = 5.0
TURN = 1.0  # degrees a frame of the photograph's turn, back and forth
REACH = 25.0  # degrees to either side


def seen(path: Path) -> tuple[Track, np.ndarray]:
    """The landmarker's track of a video, and the clip times inside it."""
    with Landmarker() as landmarker:
        rows = [(t, landmarker.see(t, picture)["matrix"]) for t, picture in media.frames(path)]
    times, found = np.array([t for t, _ in rows]), np.array([matrix is not None for _, matrix in rows])
    matrices = np.array([matrix for _, matrix in rows if matrix is not None], float).reshape(-1, 4, 4)
    return Track.from_matrices(times, found, matrices), clip_times(0.0, int(times[-1] * 30))


def truth(path: Path) -> Track:
    """The track as it was rendered."""
    rows = pq.read_table(path).to_pydict()
    turns, places = np.array(rows["quaternion"]), np.array(rows["translation"])
    return Track(np.array(rows["t_s"]), np.ones(len(turns), bool), turns, places)


def compared(measured: Track, true: Track, at: np.ndarray) -> dict[str, float]:
    """What a user of the labels wants to know of one video."""
    ours, theirs = (poses_at(track, at) for track in (measured, true))
    known = ~np.isnan(ours.quaternions[:, 0])
    turns = [Rotation.from_quat(pose.quaternions[known], scalar_first=True) for pose in (ours, theirs)]
    error = np.degrees((turns[0] * turns[1].inv()).magnitude())
    offset = turns[0] * turns[1].inv()
    steady = np.degrees((offset * offset.mean().inv()).magnitude())  # what is left once a constant is taken off
    raw = speeds_at(measured, at, smoothed=False)
    smooth, wanted = (speeds_at(track, at, smoothed=True) for track in (measured, true))
    both = ~np.isnan(smooth)
    return {
        "found": measured.found.mean(),
        "rotation error": error.mean(),
        "less its mean": steady.mean(),
        "speed": speeds_at(true, at, smoothed=False).mean(),
        "measured raw": np.nanmean(raw),
        "smoothed": np.nanmean(smooth),
        "correlation": np.corrcoef(smooth[both], wanted[both])[0, 1],
    }


def turned_photograph(portrait: Path, to: Path) -> np.ndarray:
    """Film a portrait that turns in its plane by TURN degrees a frame; returns the angle of every frame."""
    picture = cv2.cvtColor(cv2.imread(str(portrait)), cv2.COLOR_BGR2RGB)
    side = min(picture.shape[:2]) // 2 * 2
    picture = picture[:side, (picture.shape[1] - side) // 2 :][:, :side]
    angles = REACH * np.abs((np.arange(150) * TURN / REACH + 1) % 4 - 2) - REACH

    def frames():
        for angle in angles:
            turn = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1.0)
            yield cv2.warpAffine(picture, turn, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    media.write_video(to, frames(), 30, (side, side))
    return angles


def main() -> None:
    """Both tables."""
    folder = samples.default_folder()
    samples.fetch(folder)
    with tempfile.TemporaryDirectory(prefix="pose-bench-") as place:
        voices = sorted((folder / "voices").glob("*.wav"))
        videos = render_set(
            Path(place), people=samples.people(folder), voices=voices, videos=len(SPEEDS), seconds=SECONDS
        )
        results = []
        for video in videos:
            measured, at = seen(video.path)
            results.append((video, compared(measured, truth(video.truth), at)))
        names = list(results[0][1])
        print(f"{'rendered':24}" + "".join(f"{name:>16}" for name in names))
        for video, row in results:
            print(f"{video.path.stem.removeprefix('rendered_'):24}" + "".join(f"{row[name]:16.3f}" for name in names))
        for label, pick in (("least", np.min), ("median", np.median), ("most", np.max)):
            print(f"{label:24}" + "".join(f"{pick([row[name] for _, row in results]):16.3f}" for name in names))
        film = Path(place) / "turned.mp4"
        angles = turned_photograph(folder / "portraits/astronaut.png", film)
        track, at = seen(film)
        roll = poses_at(track, at).euler[:, 2]
        wanted, speeds = angles[: len(at)], speeds_at(track, at, smoothed=False)
        shown = roll - (roll - wanted).mean()
        turning = np.abs(np.abs(wanted) - REACH) > 3  # away from the turning points
        print(
            f"\nphotograph turned in its plane by {TURN} degrees a frame: measured {speeds[turning].mean():.3f} raw "
            f"(median {np.median(speeds[turning]):.3f}), roll off by {np.abs(shown - wanted).mean():.2f} degrees"
        )


if __name__ == "__main__":
    main()
