"""A photographed head that turns and talks: the canonical face posed in 3D, textured with one portrait.

Inside the outline of the face the picture is exact: the mesh, rotated and seen by a camera of 63 degrees vertical
field of view, as MediaPipe assumes. Around it, rings of points carry the turn outwards over hair and neck and let it
fade to the still background. Each output pixel asks its triangle where in the portrait it came from.
"""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from emo_model.talking_set.mesh import LOWER_INNER_LIP, OVAL, UPPER_INNER_LIP, Mesh

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Points = NDArray[np.float64]  # (V, 2) pixels or (V, 3) cm

VERTICAL_FIELD_OF_VIEW = 63.0  # degrees, MediaPipe's face geometry
DISTANCE_CM = 34.0  # puts the face at about 45 % of the picture's height
JAW_DROP_CM = 1.4  # of the lower lip at mouth opening 1
# Rings around the outline: (size relative to the outline, cm behind it, share of the head's motion).
RINGS = ((1.10, 3.0, 0.97), (1.25, 6.0, 0.90), (1.5, 8.0, 0.62), (1.9, 8.0, 0.25))
PIVOT_CM = np.array([0.0, 0.0, -7.0])  # heads turn about the neck, not about the tip of the nose
MOUTH_COLOUR = (52, 16, 20)


def translation(turn: Rotation) -> NDArray[np.float64]:
    """(3,) cm t with camera point = R vertex + t: x right, y up, the camera looks along -z, as MediaPipe's matrix."""
    return PIVOT_CM - turn.apply(PIVOT_CM) - (0, 0, DISTANCE_CM)


@dataclass(frozen=True)
class Head:
    """One identity: a mesh of its own shape and a portrait warped to the picture in which it looks straight ahead.

    `seen` holds, for each mesh vertex, its place in the portrait.
    """

    mesh: Mesh
    portrait: Picture
    seen: Points
    size: int

    @property
    def focal(self) -> float:
        """Pixels at a distance of one."""
        return self.size / 2 / np.tan(np.radians(VERTICAL_FIELD_OF_VIEW) / 2)

    def project(self, points: Points) -> Points:
        """Points in the head's cm, already posed -> pixels."""
        depth = DISTANCE_CM - points[:, 2]
        return self.size / 2 + self.focal * points[:, :2] * (1, -1) / depth[:, None]

    def posed(self, turn: Rotation, mouth: float) -> Points:
        """Mesh vertices in cm, jaw dropped by `mouth` in [0, 1], head turned about its pivot."""
        vertices = self.mesh.vertices + mouth * self._jaw
        return turn.apply(vertices - PIVOT_CM) + PIVOT_CM

    @cached_property
    def _jaw(self) -> Points:
        """(V, 3) cm each vertex moves down as the mouth opens fully: lower lip and chin, less at its corners."""
        v = self.mesh.vertices
        upper, lower = v[list(UPPER_INNER_LIP)], v[list(LOWER_INNER_LIP)]
        line = (upper[:, 1].mean() + lower[:, 1].mean()) / 2
        half = np.ptp(upper[:, 0]) / 2
        below = np.clip((line - v[:, 1]) / 0.5, 0, 1)
        below[list(LOWER_INNER_LIP)] = 1
        below[list(UPPER_INNER_LIP)] = 0
        near_lips = np.exp(-((v[:, 1] - line) ** 2) / 2)
        side = np.clip(1 - (np.abs(v[:, 0]) / half) ** 2, 0, 1)
        across = near_lips * side + (1 - near_lips) * np.exp(-((v[:, 0] / 5) ** 2))
        return np.outer(below * across, (0, -JAW_DROP_CM, 0))

    @cached_property
    def _rest(self) -> Points:
        return self.project(self.posed(Rotation.identity(), 0.0))

    @cached_property
    def _rings(self) -> tuple[Points, NDArray[np.float64], NDArray[np.int32]]:
        """Rest positions in cm (R*36, 3), share of motion, and the triangles between mesh, rings and frame."""
        outline = self.mesh.vertices[list(OVAL)]
        centre = outline.mean(axis=0)
        points, share = [], []
        for scale, behind, moves in RINGS:
            ring = centre + (outline - centre) * (scale, scale, 1) - (0, 0, behind)
            ring[:, :2] *= ((DISTANCE_CM - ring[:, 2]) / (DISTANCE_CM - outline[:, 2]))[:, None]  # keep the 2D ring
            down = np.clip((centre[1] - ring[:, 1]) / 12, 0, 1)  # the neck turns less than the hair
            points.append(ring)
            share.append(moves * (1 - 0.35 * down))
        n, triangles = len(OVAL), []
        starts = [list(OVAL), *[list(range(468 + k * n, 468 + (k + 1) * n)) for k in range(len(RINGS) + 1)]]
        for inner, outer in itertools.pairwise(starts):
            for i in range(n):
                j = (i + 1) % n
                triangles += [(inner[i], inner[j], outer[i]), (inner[j], outer[j], outer[i])]
        return np.concatenate(points), np.concatenate(share), np.array(triangles, np.int32)

    @cached_property
    def _frame(self) -> Points:
        """36 points on the picture's edge, one outwards of each outline point; they never move."""
        rest = self._rest[list(OVAL)]
        direction = rest - rest.mean(axis=0)
        return self.size / 2 + direction / np.abs(direction).max(axis=1, keepdims=True) * self.size * 0.75

    @cached_property
    def _source(self) -> Points:
        """Where every point (mesh, rings, frame) lies in the portrait. Outside the face, the portrait is the rest."""
        return np.concatenate([self.seen, self.project(self._rings[0]), self._frame])

    def render(self, turn: Rotation, mouth: float) -> Picture:
        """The picture (size, size, 3) for one head rotation and mouth opening."""
        ring, share, outer = self._rings
        moved = self.project(turn.apply(ring - PIVOT_CM) + PIVOT_CM)
        jaw = np.tile(self._jaw[list(OVAL)], (len(RINGS), 1)) * share[:, None]
        moved += self.project(ring + mouth * jaw) - self.project(ring)
        rings = share[:, None] * moved + (1 - share[:, None]) * self.project(ring)
        face = self.posed(turn, mouth)
        points = np.concatenate([self.project(face), rings, self._frame])
        depth = face[:, 2][self.mesh.triangles].mean(axis=1)
        order = np.argsort(depth)  # the far ones first
        triangles = np.concatenate([outer[::-1], self.mesh.triangles[order]])
        inside = np.concatenate([np.zeros(len(outer), bool), self.mesh.mouth[order]])
        return self._paint(points, triangles, inside)

    def _paint(self, points: Points, triangles: NDArray[np.int32], inside: NDArray[np.bool_]) -> Picture:
        """Draw triangle numbers back to front, then fetch every pixel through its triangle's affine map."""
        shift = 4  # cv2 takes corners in 16ths of a pixel
        corners = np.round(points[triangles] * (1 << shift)).astype(np.int32)
        owner = np.zeros((self.size, self.size), np.int32)
        for number, corner in enumerate(corners):
            cv2.fillConvexPoly(owner, corner, number, shift=shift)
        ones = np.ones((len(triangles), 3, 1))
        to = np.concatenate([points[triangles], ones], axis=2)  # (T, 3 corners, x y 1)
        area = np.linalg.det(to)
        to[np.abs(area) < 1e-6] = np.eye(3)  # edge-on: owns no pixel that matters
        affine = np.linalg.solve(to, self._source[triangles])  # (T, 3, 2)
        y, x = np.mgrid[: self.size, : self.size].astype(np.float64)
        a = affine[owner]
        where = x[..., None] * a[..., 0, :] + y[..., None] * a[..., 1, :] + a[..., 2, :]
        picture = cv2.remap(
            self.portrait, where.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        dark = inside[owner].astype(np.float32)
        dark = cv2.GaussianBlur(dark, (3, 3), 0)[..., None]
        return (picture * (1 - dark) + np.array(MOUTH_COLOUR) * dark).round().astype(np.uint8)

    def box(self, turn: Rotation, mouth: float) -> NDArray[np.float64]:
        """Extent of the posed mesh, x0 y0 x1 y1 in pixels."""
        points = self.project(self.posed(turn, mouth))
        return np.concatenate([points.min(axis=0), points.max(axis=0)])


def fit(mesh: Mesh, picture: Picture, landmarks: Points, size: int) -> Head:
    """A head of this mesh from a portrait and its 468 landmarks in pixels: the portrait is moved, scaled and turned in
    plane until its face lies where the mesh is seen when it looks straight ahead."""
    empty = Head(mesh, np.zeros((size, size, 3), np.uint8), np.zeros((len(mesh.vertices), 2)), size)
    rest = empty.project(empty.posed(Rotation.identity(), 0.0))
    move, _ = cv2.estimateAffinePartial2D(landmarks, rest, method=cv2.LMEDS)
    portrait = cv2.warpAffine(picture, move, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    seen = landmarks @ move[:, :2].T + move[:, 2]
    return replace(empty, portrait=portrait, seen=seen)
