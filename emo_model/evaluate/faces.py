"""One face pass a video for every metric that looks at faces: MediaPipe's FaceLandmarker, video mode.

num_faces=2 as in data preparation: with 1 the landmarker smooths over time inside.
"""

from dataclasses import dataclass, fields

import numpy as np

from emo_model import weights

UPPER_LIP, LOWER_LIP = 13, 14
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
RIGHT_EYE, LEFT_EYE = [33, 133], [362, 263]
NOSE_TIP, MOUTH_CORNERS = 1, (61, 291)
EYE_BLINKS = [9, 10]  # eyeBlinkLeft, eyeBlinkRight
COUNT = 478
NO_FACE = "no face in the frames"


@dataclass(frozen=True)
class FaceTrack:
    """Per frame: found (T,), landmarks (T, 478, 2) pixels, rotation (T, 3, 3), translation (T, 3) cm, blendshapes
    (T, 52); NaN if not found.
    """

    found: np.ndarray
    landmarks: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    blendshapes: np.ndarray

    def __getitem__(self, frames: np.ndarray | slice) -> "FaceTrack":
        return FaceTrack(*(getattr(self, field.name)[frames] for field in fields(self)))

    @property
    def boxes(self) -> np.ndarray:
        """(T, 4) extent of the landmarks, x0 y0 x1 y1 in pixels."""
        return np.concatenate([self.landmarks.min(1), self.landmarks.max(1)], 1)

    @property
    def five_points(self) -> np.ndarray:
        """(T, 5, 2) pixels: eyes (mean of their corners), tip of the nose, corners of the mouth; left of the picture
        first.
        """
        eyes = [self.landmarks[:, corners].mean(1) for corners in (RIGHT_EYE, LEFT_EYE)]
        return np.stack([*eyes, *(self.landmarks[:, point] for point in (NOSE_TIP, *MOUTH_CORNERS))], 1)

    @property
    def eyes_closed(self) -> np.ndarray:
        """(T,) 0 open, 1 closed: mean of both eyes' blink coefficients."""
        return self.blendshapes[:, EYE_BLINKS].mean(1)

    @property
    def mouth_open(self) -> np.ndarray:
        """(T,) inner-lip gap over the distance of the outer eye corners."""
        gap = np.linalg.norm(self.landmarks[:, UPPER_LIP] - self.landmarks[:, LOWER_LIP], axis=-1)
        eyes = np.linalg.norm(self.landmarks[:, RIGHT_EYE_OUTER] - self.landmarks[:, LEFT_EYE_OUTER], axis=-1)
        return gap / eyes


def track_faces(frames: np.ndarray, fps: float) -> FaceTrack:
    """The largest face of every frame of (T, H, W, 3) uint8 RGB. UserError where the landmarker's file is
    missing.
    """
    import mediapipe as mp

    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(weights.path("face_landmarker"))),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=2,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    count, (height, width) = len(frames), frames.shape[1:3]
    landmarks = np.full((count, COUNT, 2), np.nan)
    rotation, translation = np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan)
    blendshapes = np.full((count, 52), np.nan)
    landmarker = vision.FaceLandmarker.create_from_options(options)
    try:
        for t, frame in enumerate(frames):
            # a view that is not contiguous finds no face and raises nothing
            image = mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(frame))
            result = landmarker.detect_for_video(image, round(t * 1000 / fps))
            faces = [np.array([(p.x * width, p.y * height) for p in face]) for face in result.face_landmarks]
            if not faces:
                continue
            largest = int(np.argmax([np.prod(np.ptp(face, axis=0)) for face in faces]))
            landmarks[t] = faces[largest]
            blendshapes[t] = [shape.score for shape in result.face_blendshapes[largest]]
            pose = np.asarray(result.facial_transformation_matrixes[largest])
            rotation[t], translation[t] = pose[:3, :3], pose[:3, 3]
    finally:
        landmarker.close()
    return FaceTrack(np.isfinite(landmarks[:, 0, 0]), landmarks, rotation, translation, blendshapes)
