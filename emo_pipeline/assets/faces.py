"""Group clips: shots and faces of a video, found in one decode, and the pictures' scores.

Here: which assets the steps shots_and_faces, quality_scores and face_embeddings are.
What they do: emo_model.data.faces, quality, face_embeddings.
"""

from emo_pipeline.assets.shards import shard_assets
from emo_pipeline.checks import BOXES_INSIDE_FRAMES, CUTS_COVER_VIDEO

# One step, two assets: the video is decoded once for both.
shots_and_faces = shard_assets(
    "shots_and_faces",
    "clips",
    {"mediapipe", "parquet"},
    outputs={"shot_cuts": ("shots",), "face_tracks": ("landmarks", "proposals")},
    checks={"shot_cuts": (CUTS_COVER_VIDEO,), "face_tracks": (BOXES_INSIDE_FRAMES,)},
)
quality_scores = shard_assets("quality_scores", "labels", {"opencv", "parquet"})
face_embeddings = shard_assets("face_embeddings", "labels", {"dlib", "parquet"})
