"""From a `PortraitSpec` to pixels, labels, hair coverage and landmarks.

One rasterization serves any number of hair colors (`render_variants`), because a pixel is linear in the hair color
until tone mapping (`raster.Buffers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hairclip.common.face_labels import HAIR
from hairclip.common.framing import PORTRAITS
from hairclip.portraits.backdrop import paint_background
from hairclip.portraits.captions import full_caption
from hairclip.portraits.drawing.raster import (
    FAR,
    Buffers,
    ByteArray,
    FloatArray,
    box_blur,
    interpolate,
    rasterize,
    vertex_normals,
)
from hairclip.portraits.drawing.scene import (
    Camera,
    HairVolume,
    Lights,
    Pose,
    ShadowMap,
    normalize,
    project_plane,
    smoothstep,
)
from hairclip.portraits.hair import groom, strands
from hairclip.portraits.head.brows import draw_brows
from hairclip.portraits.head.labels import LEFT_EYE, RIGHT_EYE, body_labels, majority
from hairclip.portraits.head.mesh import EYE, LASH, Head, load_head_model
from hairclip.portraits.head.skin import Shaded, Surface, albedo_and_cloth, paint_eyes, shade
from hairclip.portraits.spec import HairColor, PortraitSpec

SUPERSAMPLING = 3
HAIR_GLOSS = 0.8  # more white sheen than this and colors lose their names

_NOSE_TIP, _MOUTH_LEFT, _MOUTH_RIGHT = 5681, 8543, 19296  # vertices of the head model; left as seen in the image


@dataclass(frozen=True)
class Portrait:
    """A rendered portrait and everything known about it.

    Attributes:
        image: (H, W, 3) uint8, sRGB.
        labels: (H, W) uint8, CelebAMask-HQ ids (left and right as seen in the image).
        hair_coverage: (H, W) float32 in [0, 1].
        hair_direction: (H, W, 2) float32, see `Buffers`; its length is the coverage by strands that agree.
        landmarks: (5, 2) float32 pixels (x, y): eye left, eye right in the image, nose, mouth corner left, right.
        caption: one sentence.
        spec: what was rendered.
    """

    image: ByteArray
    labels: ByteArray
    hair_coverage: FloatArray
    hair_direction: FloatArray
    landmarks: FloatArray
    caption: str
    spec: PortraitSpec


def render_portrait(spec: PortraitSpec, size: int = 128) -> Portrait:
    """Render one portrait of `size` x `size` pixels; the same spec gives the same bytes."""
    return render_variants(spec, [spec.color], size)[0]


def render_variants(spec: PortraitSpec, colors: Sequence[HairColor], size: int = 128) -> list[Portrait]:
    """Render one portrait with several hair colors; geometry, light and strands are computed once."""
    frame = _render_frame(spec, size)
    labels = majority(frame.labels, SUPERSAMPLING)
    coverage = _downsample(frame.buffers.hair_coverage[..., None], size)[..., 0]
    layers = Buffers(
        depth=np.zeros((size, size), np.float32),
        color=_downsample(frame.buffers.color, size),
        hair_diffuse=_downsample(frame.buffers.hair_diffuse, size),
        hair_specular=_downsample(frame.buffers.hair_specular, size),
        hair_coverage=coverage,
        hair_direction=_downsample(frame.buffers.hair_direction, size),
    )
    portraits = []
    for color in colors:
        own = replace(spec, color=color)
        portraits.append(
            Portrait(
                image=_tone_map(layers.compose(color.rgb, HAIR_GLOSS)),
                labels=labels,
                hair_coverage=coverage,
                hair_direction=layers.hair_direction,
                landmarks=frame.landmarks,
                caption=full_caption(own),
                spec=own,
            )
        )
    return portraits


@dataclass(frozen=True)
class _Frame:
    buffers: Buffers
    labels: ByteArray
    landmarks: FloatArray


def _render_frame(spec: PortraitSpec, size: int) -> _Frame:
    """Render everything that does not depend on the hair color, at the supersampled size."""
    full = size * SUPERSAMPLING
    model = load_head_model()
    neutral, head = model.morph_both(spec.identity, spec.scene)
    pose, lights = Pose.from_spec(spec.scene), Lights.from_spec(spec.scene)
    posed = pose.apply(head.positions)
    marks = _landmarks(posed, head)
    camera = fit_camera(marks, full, spec.scene.frame_scale)
    shadow = ShadowMap(posed, head.triangles, lights)
    hair = groom.grow_hair(neutral, spec.hair)
    points = volume = None
    if hair is not None:
        points = pose.apply(hair.points)
        volume = HairVolume(points, hair.valid, lights)
    tint = np.zeros(len(head.rest), np.float32) if hair is None else hair.tint
    buffers = Buffers.empty(full, full)
    surface = _surface(head, posed, tint, camera, buffers)
    labels = np.zeros((full, full), np.uint8)
    _draw_body(spec, head, posed, surface, camera, lights, shadow, volume, buffers, labels)
    draw_brows(head, spec.identity, pose, camera, lights, buffers, labels)
    if hair is not None and points is not None and volume is not None:
        strands.draw_hair(hair, points, camera, lights, volume, shadow, buffers)
    labels[buffers.hair_coverage > 0.5] = HAIR
    return _Frame(buffers, labels, camera.project(marks)[:, :2] / np.float32(SUPERSAMPLING))


def _landmarks(posed: FloatArray, head: Head) -> FloatArray:
    """Return posed points (5, 3): eyes, tip of the nose, corners of the mouth; left in the image first."""
    eyes = []
    for side in (-1, 1):
        ball = np.flatnonzero((head.part == EYE) & (head.rest[:, 0] * side > 0))
        front = ball[head.rest[ball, 2] > head.rest[ball, 2].max() - 0.03]
        eyes.append(posed[front].mean(0))
    return np.stack([*eyes, posed[_NOSE_TIP], posed[_MOUTH_LEFT], posed[_MOUTH_RIGHT]]).astype(np.float32)


def fit_camera(landmarks: FloatArray, size: int, frame_scale: float = 1.0) -> Camera:
    """Return the camera whose picture is the square `PORTRAITS` around five posed landmarks (5, 3).

    Args:
        landmarks: posed points (5, 3).
        size: height and width of the picture in pixels.
        frame_scale: side of the picture as a multiple of that square's; the middle stays.
    """
    plane_z = float(landmarks[:2, 2].mean())
    flat = project_plane(landmarks, plane_z).astype(np.float64) * [1, -1]  # y down, as in images
    center, x, y = PORTRAITS.place(flat[:2], flat[3:5])
    return Camera(
        size=size,
        center=(center * [1, -1]).astype(np.float32),
        right=(frame_scale * x * [1, -1]).astype(np.float32),
        down=(frame_scale * y * [1, -1]).astype(np.float32),
        plane_z=plane_z,
    )


def _surface(head: Head, posed: FloatArray, tint: FloatArray, camera: Camera, buffers: Buffers) -> Surface:
    """Rasterize everything but the lashes; fills `buffers.depth`."""
    triangles = np.ascontiguousarray(head.triangles[head.part[head.triangles[:, 0]] != LASH])
    depth, index, bary = rasterize(camera.project(posed), triangles, camera.size, camera.size)
    buffers.depth[...] = depth
    masks = np.stack([head.lips, head.face, head.ears, head.eyelids, tint], 1)
    normals = vertex_normals(posed, head.triangles)
    attributes = np.concatenate([normals, posed, head.rest, head.positions, masks], 1).astype(np.float32)
    values = interpolate(index, bary, triangles, attributes)
    pixels = np.flatnonzero(index.ravel() >= 0)
    column = [np.ascontiguousarray(values[:, i]) for i in range(12, 17)]
    return Surface(
        pixels=pixels,
        normal=normalize(values[:, 0:3]),
        world=np.ascontiguousarray(values[:, 3:6]),
        rest=np.ascontiguousarray(values[:, 6:9]),
        own=np.ascontiguousarray(values[:, 9:12]),
        part=head.part[triangles[index.ravel()[pixels], 0]],
        lips=column[0],
        face=column[1],
        ears=column[2],
        eyelids=column[3],
        tint=column[4],
        occlusion=_occlusion(depth).ravel()[pixels],
    )


def _occlusion(depth: FloatArray) -> FloatArray:
    """Return the ambient light (H, W) in [0, 1] that arrives: less where the neighborhood lies nearer to the camera."""
    near = np.where(depth < FAR, depth, np.float32(2.5))
    open_ = np.ones_like(near)
    for share, strength in ((0.012, 6.0), (0.035, 2.6)):
        blurred = box_blur(np.minimum(near, np.float32(2.0)), int(depth.shape[0] * share))
        behind = near - np.minimum(blurred, near + 0.5)
        open_ /= 1 + np.clip(behind, 0, 0.4) * strength
    return open_.astype(np.float32)


def _draw_body(
    spec: PortraitSpec,
    head: Head,
    posed: FloatArray,
    surface: Surface,
    camera: Camera,
    lights: Lights,
    shadow: ShadowMap,
    volume: HairVolume | None,
    buffers: Buffers,
    labels: ByteArray,
) -> None:
    """Draw background, body, clothes, eyes, scalp tint and lashes into `buffers`, and their `labels`."""
    albedo, cloth = albedo_and_cloth(surface, spec.identity, spec.scene)
    catch = paint_eyes(albedo, surface, head, spec.scene, spec.identity, lights)
    shaded = shade(surface, albedo, cloth, catch, camera, lights, shadow, volume)
    full = camera.size
    backdrop = paint_background(spec.scene, full // SUPERSAMPLING)
    backdrop = backdrop.repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)
    buffers.color[...] = backdrop
    buffers.color.reshape(-1, 3)[surface.pixels] = shaded.color
    _draw_tint(surface, shaded, buffers)
    lashes = _lashes(head, posed, camera, buffers, spec.identity.male)
    labels.ravel()[surface.pixels] = body_labels(surface, cloth)
    labels[lashes] = np.where(np.arange(full)[None] < full / 2, LEFT_EYE, RIGHT_EYE).repeat(full, 0)[lashes]


def _draw_tint(surface: Surface, shaded: Shaded, buffers: Buffers) -> None:
    """Draw hair roots on the scalp; they cover the skin as hair does."""
    alpha = np.zeros(buffers.depth.shape, np.float32)
    diffuse = np.zeros(buffers.color.shape, np.float32)
    alpha.ravel()[surface.pixels] = surface.tint
    diffuse.reshape(-1, 3)[surface.pixels] = shaded.irradiance * (0.45 * surface.tint)[:, None]
    buffers.cover(alpha, diffuse, np.zeros_like(diffuse))
    # Roots alone are hair only where they are dense.
    buffers.hair_coverage[...] = smoothstep(0.35, 0.75, alpha)


def _lashes(head: Head, posed: FloatArray, camera: Camera, buffers: Buffers, male: float) -> npt.NDArray[np.bool_]:
    """Darken the visible lashes; returns where they are."""
    triangles = np.ascontiguousarray(head.triangles[head.part[head.triangles[:, 0]] == LASH])
    depth, index, _ = rasterize(camera.project(posed), triangles, camera.size, camera.size)
    visible = (index >= 0) & (depth < buffers.depth + 0.01)
    strength = np.float32(0.3 + 0.5 * (1 - male))
    buffers.color[visible] = buffers.color[visible] * (1 - strength) + 0.012 * strength
    return visible


def _downsample(image: FloatArray, size: int) -> FloatArray:
    """Return means of SUPERSAMPLING x SUPERSAMPLING blocks: (size * s, size * s, c) to (size, size, c)."""
    total = np.zeros((size, size, image.shape[2]), np.float32)
    for i in range(SUPERSAMPLING):
        for j in range(SUPERSAMPLING):
            total += image[i::SUPERSAMPLING, j::SUPERSAMPLING]
    return total / np.float32(SUPERSAMPLING**2)


def _tone_map(linear: FloatArray) -> ByteArray:
    """Map linear light (H, W, 3) to sRGB uint8, with a soft shoulder for bright light."""
    exposed = linear * np.float32(1.05)
    mapped = exposed * (1 + exposed / 6) / (1 + 0.55 * exposed)
    display = np.where(mapped < 0.0031, 12.92 * mapped, 1.055 * np.maximum(mapped, 1e-6) ** (1 / 2.4) - 0.055)
    return (np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8)
