"""The one place that says what a row is: columns, types, units and descriptions of every table.

From `TABLES` come the pyarrow schemas, the blocking schema checks, the comments in the DuckDB catalog and the
table in the docs. From `REASONS` comes the closed list of reasons for which something is left out.
"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column. `unit` is SI or spelled out ("degrees a frame at 30 fps"); `null` says what a null means."""

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    null: str = ""  # empty: never null

    @property
    def comment(self) -> str:
        """Description, unit and meaning of null in one line, as shown by DuckDB and the docs."""
        unit = f" [{self.unit}]" if self.unit else ""
        null = f"; null: {self.null}" if self.null else ""
        return f"{self.doc}{unit}{null}"

    @property
    def field(self) -> pa.Field:
        """The column as a pyarrow field, with its description in the field's metadata."""
        return pa.field(self.name, self.type, nullable=bool(self.null), metadata={"comment": self.comment})


@dataclass(frozen=True)
class Table:
    """One table: what a row is, its columns, the step folder its parts lie in, and its sort key."""

    name: str
    folder: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """The pyarrow schema every part file of this table has, exactly."""
        return pa.schema([column.field for column in self.columns])


STRING, FLOAT, FLOAT32, INT, BOOL = pa.string(), pa.float64(), pa.float32(), pa.int32(), pa.bool_()
BYTES = pa.binary()


def _vector(_count: int, of: pa.DataType = FLOAT32) -> pa.DataType:
    """A list of that many numbers. Arrow 25 cannot read a fixed-size list back from parquet once one is null."""
    return pa.list_(of)


_RANGES = pa.list_(  # square: x, y, side in a picture `height` pixels high; box: left, top, right, bottom as shares
    pa.struct(
        [
            ("id", STRING), ("start_s", FLOAT), ("end_s", FLOAT),
            ("square", pa.list_(INT)), ("height", INT), ("box", pa.list_(FLOAT)),
        ]
    )
)  # fmt: skip
_UNREADABLE = "the file could not be read"
_NO_FACE = "no face found in this frame"
_NO_MODEL = "not scored: no model for it on this machine"
_NO_SYNC = "no model for it on this machine, no sound, or a frame without a face"

CLIP_ID = Column("clip_id", STRING, "clip, named by its video's content and its first frame: the key of a clip")
NO_MODEL = Column("no_model", pa.list_(STRING), "scores that are null because this machine has no model for them")
VIDEO_ID = Column("video_id", STRING, "sha256 of the file's bytes")
SHARD = Column("shard", STRING, "partition the source belongs to, s0000 upwards")

# Bookkeeping that every shard table carries: a re-run skips items whose two values are unchanged.
STAMP = (
    Column("input_sha256", STRING, "hash of everything this row was computed from"),
    Column("step_version", INT, "version of the step that made the row"),
)


def _shard_table(name: str, folder: str, row: str, columns: tuple[Column, ...], key: tuple[str, ...]) -> Table:
    return Table(name, folder, row, (*columns, *STAMP), key)


VIDEOS = _shard_table(
    "videos",
    "0_raw",
    "one source: a raw file or a URL",
    (
        Column("source_id", STRING, "hash of site:id or of collection and relative path: the key of a source"),
        Column("video_id", STRING, "sha256 of the file's bytes", null="not fetched"),
        SHARD,
        Column("source", STRING, "collection the file came from"),
        Column("uri", STRING, "path relative to its collection, or URL"),
        Column("licence", STRING, "licence as given with the collection"),
        Column("sha256", STRING, "sha256 of the file's bytes", null="not fetched"),
        Column("container", STRING, "container format", null=_UNREADABLE),
        Column("codec", STRING, "video codec", null=_UNREADABLE),
        Column("width", INT, "width as shown, after rotation", "pixels", _UNREADABLE),
        Column("height", INT, "height as shown, after rotation", "pixels", _UNREADABLE),
        Column("fps", FLOAT, "mean frame rate", "frames a second", _UNREADABLE),
        Column("is_vfr", BOOL, "frame intervals differ by more than rounding", null=_UNREADABLE),
        Column("duration_s", FLOAT, "first frame to end of the last", "seconds", _UNREADABLE),
        Column("video_start_s", FLOAT, "timestamp of the first video frame", "seconds", _UNREADABLE),
        Column("audio_start_s", FLOAT, "timestamp of the first audio sample", "seconds", "no audio"),
        Column("rotation", INT, "clockwise rotation to apply before showing", "degrees", _UNREADABLE),
        Column("has_audio", BOOL, "an audio stream is there", null=_UNREADABLE),
        Column("audio_rate", INT, "sample rate of the first audio stream", "hertz", "no audio"),
        Column("identity_hint", STRING, "person, if the collection names one", null="unknown"),
        Column("status", STRING, "ok or rejected"),
        Column("reason", STRING, "reason from the closed list", null="status is ok"),
    ),
    ("source_id",),
)

SOURCES = Table(
    "sources",
    "0_raw",
    "one source as registered: a raw file or a URL",
    (
        Column("number", INT, "place in the order of registration, from 0"),
        Column("source_id", STRING, "hash of site:id or of collection and relative path: the key of a source"),
        SHARD,
        Column("source", STRING, "collection the file came from"),
        Column("uri", STRING, "path relative to its collection, or URL"),
        Column("licence", STRING, "licence as given with the collection"),
        Column("identity_hint", STRING, "person, if the collection names one", null="unknown"),
        Column("bytes", pa.int64(), "file size when it was registered", "bytes", "a URL, or a folder of pictures"),
        Column("ranges", _RANGES, "annotated stretches that are used", null="the whole video"),
        Column("fps", FLOAT, "rate of a folder of pictures", "frames a second", "a video: it says so itself"),
        Column("split_hint", STRING, "train or test, where the collection fixes it", null="dealt by identity_splits"),
    ),
    ("number",),
)

FETCHED = _shard_table(
    "fetched",
    "0_raw",
    "one source after fetching: where its bytes are and what they hash to",
    (
        Column("source_id", STRING, "the source"),
        Column("video_id", STRING, "sha256 of the file's bytes", null="not fetched"),
        SHARD,
        Column("bytes", pa.int64(), "file size", "bytes", "not fetched"),
        Column("status", STRING, "ok or rejected"),
        Column("reason", STRING, "reason from the closed list", null="status is ok"),
    ),
    ("source_id",),
)

SHOTS = _shard_table(
    "shots",
    "1_clips",
    "one continuous shot of a source video, or the fade or dissolve between two",
    (
        VIDEO_ID,
        SHARD,
        Column("shot", INT, "number of the shot in its video, from 0"),
        Column("start_frame", INT, "first source frame"),
        Column("end_frame", INT, "one past the last source frame"),
        Column("start_s", FLOAT, "timestamp of the first frame, 0 at the video's first frame", "seconds"),
        Column("end_s", FLOAT, "timestamp of the end of the last frame", "seconds"),
        Column("is_transition", BOOL, "a fade or dissolve from one shot to the next: offers no clips"),
    ),
    ("video_id", "shot"),
)

LANDMARKS = _shard_table(
    "landmarks",
    "2_faces",
    "one source frame as the face landmarker saw it",
    (
        VIDEO_ID,
        SHARD,
        Column("source_frame", INT, "frame number in the source video"),
        Column("t_s", FLOAT, "timestamp, 0 at the video's first frame", "seconds"),
        Column("shot", INT, "shot the frame belongs to"),
        Column("faces", INT, "faces found in the frame"),
        Column("box", _vector(4), "extent of the 478 landmarks, x0 y0 x1 y1", "source pixels", _NO_FACE),
        Column("second_box", _vector(4), "extent of the second face", "source pixels", "one face or none"),
        Column("matrix", _vector(16), "4x4 face transform, row by row, translation in cm", null=_NO_FACE),
        Column("mouth_open", pa.float32(), "inner-lip gap over inter-ocular distance", null=_NO_FACE),
        Column("blendshapes", _vector(52, pa.float16()), "the landmarker's 52 blendshapes", null=_NO_FACE),
    ),
    ("video_id", "source_frame"),
)

PROPOSALS = _shard_table(
    "proposals",
    "2_faces",
    "one clip that a face track offers: a stretch of one shot with one person",
    (
        CLIP_ID,
        VIDEO_ID,
        SHARD,
        Column("shot", INT, "shot it lies in"),
        Column("start_s", FLOAT, "timestamp of frame 0 in the source, 0 at the video's first frame", "seconds"),
        Column("end_s", FLOAT, "start_s + num_frames / 30", "seconds"),
        Column("num_frames", INT, "frames at 30 fps"),
        Column("crop_x", INT, "left edge of the square crop; negative lies outside the frame", "source pixels"),
        Column("crop_y", INT, "top edge of the square crop", "source pixels"),
        Column("crop_size", INT, "side of the square crop", "source pixels"),
        Column("min_face_px", FLOAT, "smallest face height over the clip", "source pixels"),
        Column("range_id", STRING, "the annotated range it lies in", null="not from a list of ranges"),
    ),
    ("clip_id",),
)

CROPS = _shard_table(
    "crops",
    "1_clips",
    "one clip's cropped video file",
    (
        CLIP_ID,
        VIDEO_ID,
        SHARD,
        Column("path", STRING, "mp4, relative to the data root"),
        Column("num_frames", INT, "frames at 30 fps"),
        Column("size", INT, "width and height", "pixels"),
        Column("sha256", STRING, "sha256 of the mp4's bytes"),
        Column("union_box", _vector(4), "union of the clip's face boxes (the paper's M)", "crop pixels"),
        Column("phash", STRING, "perceptual hash of the middle frame, 64 bits as hex"),
        Column("face_hash", BYTES, "a 64-bit word of the face's surroundings every 5 frames (fingerprints.py)"),
        Column("blur", FLOAT, "variance of the Laplacian inside the face box, median over sampled frames"),
    ),
    ("clip_id",),
)

_POSE = (
    CLIP_ID,
    Column("frame", INT, "frame of the clip, from 0 at 30 fps"),
    Column("t_s", FLOAT, "time in the clip, frame / 30", "seconds"),
    Column("found", BOOL, "a face was found in the source frames on either side"),
    Column("box", _vector(4), "extent of the 478 landmarks, x0 y0 x1 y1", "crop pixels", _NO_FACE),
    Column("quaternion", _vector(4), "head rotation w x y z in the source camera", null=_NO_FACE),
    Column("translation", _vector(3), "head position x y z in the source camera", "cm", _NO_FACE),
    Column("yaw", pa.float32(), "turn to the side (scipy 'xyz': y)", "degrees", _NO_FACE),
    Column("pitch", pa.float32(), "nod (scipy 'xyz': x)", "degrees", _NO_FACE),
    Column("roll", pa.float32(), "tilt (scipy 'xyz': z)", "degrees", _NO_FACE),
)
_FACE_SHAPE = (
    Column("mouth_open", pa.float32(), "inner-lip gap over inter-ocular distance", null=_NO_FACE),
    Column("blendshapes", _vector(52, pa.float16()), "the landmarker's 52 blendshapes", null=_NO_FACE),
)

POSE = _shard_table(
    "pose", "3_motion", "one frame of a clip: 6-DoF head pose", (*_POSE, SHARD, *_FACE_SHAPE), ("clip_id", "frame")
)

_UNKNOWN = "unknown: the face is lost"
FRAMES = _shard_table(
    "frames",
    "3_motion",
    "one frame of a clip",
    (
        *_POSE,
        SHARD,
        Column("speed_raw_deg", pa.float32(), "head rotation speed, unsmoothed", "degrees a frame at 30 fps", _UNKNOWN),
        Column("speed_deg", pa.float32(), "head rotation speed, sigma 1 frame", "degrees a frame at 30 fps", _UNKNOWN),
        *_FACE_SHAPE,
    ),
    ("clip_id", "frame"),
)

CLIP_AUDIO = _shard_table(
    "clip_audio",
    "4_audio",
    "one clip's sound file",
    (
        CLIP_ID,
        VIDEO_ID,
        SHARD,
        Column("path", STRING, "16 kHz mono wav, relative to the data root"),
        Column("samples", INT, "samples at 16 kHz"),
        Column("rms_db", FLOAT, "loudness of the whole clip", "dB re full scale", "digital silence"),
        Column("is_silent", BOOL, "no sample above -60 dB re full scale"),
        Column("sound_hash", BYTES, "a 32-bit word of the sound every 32 ms (fingerprints.py)"),
        Column("sha256", STRING, "sha256 of the wav's bytes"),
    ),
    ("clip_id",),
)

AUDIO = _shard_table(
    "audio",
    "4_audio",
    "one clip's cached features",
    (
        CLIP_ID,
        SHARD,
        Column("path", STRING, "float16 array (frames, layers, width), relative to the data root"),
        Column("num_frames", INT, "frames at 30 fps"),
        Column("layers", INT, "encoder layers kept"),
        Column("width", INT, "width of a layer"),
        Column("encoder", STRING, "name of the audio encoder"),
        Column("encoder_sha256", STRING, "sha256 of the encoder's weights"),
        Column("vocals", STRING, "function that took the voice out of the sound first", null="the sound as it is"),
        Column("sha256", STRING, "sha256 of the array file's bytes"),
    ),
    ("clip_id",),
)

SYNC = _shard_table(
    "sync",
    "4_audio",
    "one clip's audio-video synchrony",
    (
        CLIP_ID,
        SHARD,
        Column("av_offset_frames", FLOAT, "frames at 25 fps by which the sound leads", null=_NO_SYNC),
        Column("sync_confidence", FLOAT, "SyncNet's LSE-C", null=_NO_SYNC),
        Column("av_offset_spread_frames", FLOAT, "between the offsets of the clip's halves, 25 fps", null=_NO_SYNC),
        Column("method", STRING, "the scorer", null=_NO_MODEL),
        NO_MODEL,
    ),
    ("clip_id",),
)

_NO_SPEECH = "no model for it, or too little speech"
SOUND = _shard_table(
    "sound",
    "4_audio",
    "one clip's sound scores",
    (
        CLIP_ID,
        SHARD,
        Column("speech_fraction", FLOAT, "share of the clip in which somebody speaks", null=_NO_MODEL),
        Column("other_voice_fraction", FLOAT, "share of the speech that is not the main voice", null=_NO_SPEECH),
        Column("music_fraction", FLOAT, "share of the clip in which music plays"),
        Column("clipped_fraction", FLOAT, "share of samples at full scale"),
        NO_MODEL,
    ),
    ("clip_id",),
)

QUALITY = _shard_table(
    "quality",
    "2_faces",
    "one clip's picture scores",
    (
        CLIP_ID,
        SHARD,
        Column("camera_motion", FLOAT, "mean background flow", "crop pixels a frame", "too little background"),
        Column("text_area", FLOAT, "share of the crop covered by burnt-in text", null=_NO_MODEL),
        Column("hands_fraction", FLOAT, "share of sampled frames with a hand on or beside the face", null=_NO_MODEL),
        Column("brightness", FLOAT, "mean luma", "0 to 255"),
        NO_MODEL,
    ),
    ("clip_id",),
)

FACE_EMBEDDINGS = _shard_table(
    "face_embeddings",
    "2_faces",
    "one clip's face",
    (
        CLIP_ID,
        VIDEO_ID,
        SHARD,
        Column(
            "embedding", _vector(128), "the face as 128 numbers, mean over frames", null="no model or no usable face"
        ),
        Column("spread", FLOAT, "mean distance of the frames' numbers from their mean", null="no embedding"),
        Column("looks", INT, "frames that were described"),
        Column("network", STRING, "name of the weights", null=_NO_MODEL),
        Column("network_sha256", STRING, "sha256 of the weights", null=_NO_MODEL),
        NO_MODEL,
    ),
    ("clip_id",),
)

_SPEED = "degrees a frame at 30 fps"
_NOT_HEARD = "no sound, too little speech, or no model for it"
_CLIP_COLUMNS = (
    CLIP_ID,
    VIDEO_ID,
    SHARD,
    Column("range_id", STRING, "the annotated range it lies in", null="not from a list of ranges"),
    Column("start_s", FLOAT, "timestamp of frame 0 in the source, 0 at the video's first frame", "seconds"),
    Column("end_s", FLOAT, "start_s + num_frames / 30", "seconds"),
    Column("num_frames", INT, "frames at 30 fps"),
    Column("path", STRING, "mp4, relative to the data root"),
    Column("crop_x", INT, "left edge of the square crop", "source pixels"),
    Column("crop_y", INT, "top edge of the square crop", "source pixels"),
    Column("crop_size", INT, "side of the square crop", "source pixels"),
    Column("has_audio", BOOL, "the clip has sound that is not digital silence"),
    Column("av_offset_frames", FLOAT, "frames at 25 fps by which the sound leads", null=_NO_SYNC),
    Column("sync_confidence", FLOAT, "SyncNet's LSE-C", null=_NO_SYNC),
    Column("av_offset_spread_frames", FLOAT, "between the offsets of the clip's halves, 25 fps", null=_NO_SYNC),
    Column("rms_db", FLOAT, "loudness of the whole clip", "dB re full scale", "no sound, or digital silence"),
    Column("speech_fraction", FLOAT, "share of the clip in which somebody speaks", null=_NOT_HEARD),
    Column("other_voice_fraction", FLOAT, "share of the speech that is not the main voice", null=_NOT_HEARD),
    Column("music_fraction", FLOAT, "share of the clip in which music plays", null="no sound"),
    Column("clipped_fraction", FLOAT, "share of samples at full scale", null="no sound"),
    Column("blur", FLOAT, "variance of the Laplacian inside the face box"),
    Column("min_face_px", FLOAT, "smallest face height over the clip", "source pixels"),
    Column("camera_motion", FLOAT, "mean background flow", "crop pixels a frame", "too little background"),
    Column("text_area", FLOAT, "share of the crop covered by burnt-in text", null=_NO_MODEL),
    Column("hands_fraction", FLOAT, "share of sampled frames with a hand on or beside the face", null=_NO_MODEL),
    Column("brightness", FLOAT, "mean luma", "0 to 255"),
    NO_MODEL,
    Column("mean_speed", FLOAT, "mean unsmoothed head speed", _SPEED, _UNKNOWN),
    Column("speed_p10", FLOAT, "10 % quantile of speed_deg", _SPEED, _UNKNOWN),
    Column("speed_p50", FLOAT, "median of speed_deg", _SPEED, _UNKNOWN),
    Column("speed_p90", FLOAT, "90 % quantile of speed_deg", _SPEED, _UNKNOWN),
    Column("speed_histogram", pa.list_(pa.int32(), 64), "frames a 0.1-degree bin of speed_deg, the last open"),
    Column("phash", STRING, "perceptual hash of the middle frame, 64 bits as hex"),
    Column("identity_hint", STRING, "person, if the collection names one", null="unknown"),
    Column("crop_sha256", STRING, "sha256 of the mp4's bytes"),
    Column("labels_sha256", STRING, "hash of the frames' face boxes and speeds"),
)
CLIP_ROWS = _shard_table(
    "clip_rows", "5_manifest", "one continuous shot of 3-12 s at 30 fps, one person", _CLIP_COLUMNS, ("clip_id",)
)

REJECTED = _shard_table(
    "rejected",
    "rejected",
    "one thing left out",
    (
        Column("kind", STRING, "what was left out: source, video, shot or clip"),
        Column("id", STRING, "source_id, video_id, video_id:shot, or clip_id"),
        SHARD,
        Column("step", STRING, "step or manifest that left it out"),
        Column("policy", STRING, "policy that left it out", null="unusable in itself"),
        Column("reason", STRING, "reason from the closed list"),
        Column("score", FLOAT, "the measured value", null="not a matter of degree"),
        Column("threshold", FLOAT, "the value it was held against", null="not a matter of degree"),
        Column("detail", STRING, "what a person wants to know", null="nothing to add"),
    ),
    ("kind", "id", "step", "reason"),
)

SPLITS = Table(
    "splits",
    "5_manifest",
    "one identity",
    (
        Column("identity_id", STRING, "person"),
        Column("split", STRING, "train or test"),
        Column("rule", STRING, "why this person is there"),
    ),
    ("identity_id",),
)
IDENTITIES = Table(
    "identities",
    "5_manifest",
    "one clip's person",
    (
        CLIP_ID,
        VIDEO_ID,
        Column("identity_id", STRING, "person"),
        Column("method", STRING, "how the person was told"),
        Column("face_id", STRING, "first of all clips that show this face", null="no embedding"),
    ),
    ("clip_id",),
)
IDENTITY_CONFLICTS = Table(
    "identity_conflicts",
    "5_manifest",
    "one place where names and faces disagree: a wrong label, a co-host, a second name",
    (
        Column("kind", STRING, "two names, one face (on one side of the split); one name, two faces; or a crowd"),
        Column("first", STRING, "the name"),
        Column("second", STRING, "the other name; or a clip that shows the other face"),
        Column("distance", FLOAT, "between the two names' faces, or the name's two"),
    ),
    ("kind", "first", "second"),
)
_KEPT = "kept"
NEAR_DUPLICATES = Table(
    "near_duplicates",
    "5_manifest",
    "one clip that shares a recording with a clip of another video",
    (
        CLIP_ID,
        Column("recording", STRING, "first of all clips that share it: they stand on one side of the split"),
        Column("near_duplicate_of", STRING, "the better clip with at least half of the shorter in common", null=_KEPT),
        Column("picture_distance", FLOAT, "share of the face hashes' bits that differ", null="kept, or not comparable"),
        Column("sound_distance", FLOAT, "share of the sound hashes' bits that differ", null="kept, or no sound"),
        Column("offset_s", FLOAT, "this clip's start in the better clip's time", "seconds", _KEPT),
        Column("overlap_s", FLOAT, "time that both show", "seconds", _KEPT),
    ),
    ("clip_id",),
)

MANIFEST = Table(
    "manifest",
    "5_manifest",
    "one clip that a purpose may use",
    (
        CLIP_ID,
        VIDEO_ID,
        SHARD,
        Column("identity_id", STRING, "person"),
        Column("split", STRING, "train or test"),
        Column("source", STRING, "collection the video came from"),
        Column("licence", STRING, "licence as given with the collection"),
        Column("start_s", FLOAT, "timestamp of frame 0 in the source, 0 at the video's first frame", "seconds"),
        Column("num_frames", INT, "frames at 30 fps"),
        Column("path", STRING, "mp4, relative to the data root"),
        Column("size", INT, "width and height of the mp4", "pixels"),
        Column("union_box", _vector(4), "union of the clip's face boxes (the paper's M)", "crop pixels"),
        Column("sound_path", STRING, "16 kHz mono wav, relative to the data root", null="no sound"),
        Column(
            "audio_path", STRING, "float16 features (frames, layers, width), relative to the data root", null="no sound"
        ),
        Column("audio_encoder", STRING, "name of the audio encoder", null="no sound"),
        Column("sound_shift_frames", INT, "frame j is trained with the sound of frame j + this (sound_shift.py)"),
        Column("mean_speed", FLOAT, "mean unsmoothed head speed", _SPEED, _UNKNOWN),
        Column("crop_sha256", STRING, "sha256 of the mp4's bytes"),
        Column("labels_sha256", STRING, "hash of the frames' face boxes and speeds"),
        Column("audio_sha256", STRING, "sha256 of the features' bytes", null="no sound"),
        Column("protocol", STRING, "evaluation protocol", null="not for evaluation"),
    ),
    ("clip_id",),
)

SCORE_CARDS = Table(
    "scores",
    "5_manifest",
    "one score of clips: how it is measured, and how often it is right (scores.py)",
    (
        Column("name", STRING, "column of clips"),
        Column("about", STRING, "what it measures or is to find"),
        Column("method", STRING, "how"),
        Column("finds", STRING, "SQL over clips that is true where it says: this is one; empty: a measure"),
        Column("model", STRING, "entry of `emo weights list`; empty: none needed"),
        Column("precision", FLOAT, "of what `finds` marks, the share that is right", null="not counted"),
        Column("recall", FLOAT, "of what is there, the share that `finds` marks", null="not counted"),
        Column("labelled", STRING, "what precision and recall were counted on"),
    ),
    ("name",),
)

EVALUATIONS = Table(
    "evaluations",
    "8_evaluation",
    "one number",
    (
        Column("run_id", STRING, "MLflow run, or the evaluation's own id"),
        Column("method", STRING, "whose videos"),
        Column("dataset", STRING, "test set"),
        Column("metric", STRING, "metric, with its stand-in in brackets"),
        Column("value", FLOAT, "the number", null="could not be computed: see reason"),
        Column("ci_low", FLOAT, "95 % interval, low", null="fewer than two identities"),
        Column("ci_high", FLOAT, "95 % interval, high", null="fewer than two identities"),
        Column("n", INT, "samples used (frames, windows or clips)"),
        Column("n_total", INT, "samples offered"),
        Column("floor", FLOAT, "ground truth half against half", null="too few samples"),
        Column("extractor", STRING, "network the features came from"),
        Column("protocol_hash", STRING, "hash of the protocol"),
        Column("reason", STRING, "why there is no number", null="there is one"),
        Column("created_at", STRING, "UTC, ISO 8601"),
    ),
    ("run_id", "method", "dataset", "metric"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        SOURCES, FETCHED, VIDEOS, SHOTS, LANDMARKS, PROPOSALS, CROPS, POSE, FRAMES, CLIP_AUDIO, AUDIO, SYNC, SOUND,
        QUALITY, FACE_EMBEDDINGS, CLIP_ROWS, REJECTED, SPLITS, IDENTITIES, IDENTITY_CONFLICTS, NEAR_DUPLICATES,
        MANIFEST, SCORE_CARDS, EVALUATIONS,
    )
}  # fmt: skip

REASONS: dict[str, str] = {
    # sources and media
    "empty_file": "the file has no bytes",
    "unreadable": "no video stream could be opened",
    "too_large": "a picture of more than 67 million pixels",
    "truncated": "the file ends before the media it declares",
    "download_failed": "the download failed after all retries",
    "unavailable": "the site says the video is removed, private or blocked here",
    "duplicate_of": "the same bytes came from another source, named in detail",
    "missing_file": "the registered file is no longer there",
    "step_failed": "the step raised an unexpected error, quoted in detail",
    # shots and faces
    "transition": "a fade or dissolve from one shot to the next",
    "no_face": "no face was found",
    "no_frames": "no frame of the video is this annotated range's alone: it lies behind the end, or another has it",
    "two_faces": "a second face is in the picture",
    "face_lost": "the face is lost for more than 5 frames",
    "face_too_small": "the face is smaller than the smallest usable size",
    "face_cut_off": "the face leaves the picture",
    "too_short": "shorter than 3 seconds",
    # manifests (policies)
    "no_audio": "no sound, and this manifest needs it",
    "audio_too_short": "the sound ends before the picture",
    "held_out": "the person belongs to the test split",
    "train_only": "the person belongs to the training split",
    "fewer_frames_than_window": "shorter than one training window",
    "not_of_this_set": "from another collection than this test set is made of",
    "low_quality": "a score lies beyond the policy's threshold",
    "out_of_sync": "sound and picture do not belong together",
    "near_duplicate": "the same recording is there in a better clip, named in detail",
    "removed_by_request": "taken out at a person's or owner's request",
}
