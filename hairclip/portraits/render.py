"""From a `PortraitSpec` to pixels, labels, hair coverage and landmarks.

One rasterisation serves any number of hair colours (`render_variants`), because a pixel is linear in the hair colour
until tone mapping (`raster.Buffers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hairclip.portraits import groom, strands
from hairclip.portraits.captions import full_caption
from hairclip.portraits.mesh import BODY, EYE, LASH, TEETH, Head, load_head_model
from hairclip.portraits.raster import (
    FAR,
    Buffers,
    ByteArray,
    FloatArray,
    box_blur,
    interpolate,
    njit,
    rasterize,
    vertex_normals,
)
from hairclip.portraits.scene import (
    Camera,
    HairVolume,
    Lights,
    Pose,
    ShadowMap,
    normalize,
    project_plane,
    smoothstep,
)
from hairclip.portraits.skin import LIP_LINE, Shaded, Surface, albedo_and_cloth, paint_eyes, shade
from hairclip.portraits.spec import HairColor, IdentitySpec, PortraitSpec, SceneSpec

SUPERSAMPLING = 3
HAIR_GLOSS = 0.8  # more white sheen than this and colours lose their names
# The FFHQ quad from eyes and mouth (Karras et al. 2019), enlarged so that hair stays in the frame.
FRAME_SCALE = 1.33
FRAME_SHIFT = -0.13  # of the eye-to-mouth distance, downwards (FFHQ: 0.1)

# CelebAMask-HQ ids; left and right as seen in the image.
BACKGROUND, SKIN, NOSE, LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, LEFT_EAR, RIGHT_EAR = 0, 1, 2, 4, 5, 6, 7, 8, 9
MOUTH, UPPER_LIP, LOWER_LIP, HAIR, NECK, CLOTH = 10, 11, 12, 13, 17, 18
LABEL_COUNT = 19

_NOSE_TIP, _MOUTH_LEFT, _MOUTH_RIGHT = 5681, 8543, 19296  # vertices of the head model; left as seen in the image


@dataclass(frozen=True)
class Portrait:
    """A rendered portrait and everything known about it.

    Attributes:
        image: (H, W, 3) uint8, sRGB.
        labels: (H, W) uint8, CelebAMask-HQ ids (left and right as seen in the image).
        hair_coverage: (H, W) float32 in [0, 1].
        landmarks: (5, 2) float32 pixels (x, y): eye left, eye right in the image, nose, mouth corner left, right.
        caption: one sentence.
        spec: what was rendered.
    """

    image: ByteArray
    labels: ByteArray
    hair_coverage: FloatArray
    landmarks: FloatArray
    caption: str
    spec: PortraitSpec


def render_portrait(spec: PortraitSpec, size: int = 128) -> Portrait:
    """Render one portrait of `size` x `size` pixels; the same spec gives the same bytes."""
    return render_variants(spec, [spec.color], size)[0]


def render_variants(spec: PortraitSpec, colors: Sequence[HairColor], size: int = 128) -> list[Portrait]:
    """The same portrait with several hair colours; geometry, light and strands are computed once."""
    frame = _render_frame(spec, size)
    labels = _downsample_labels(frame.labels, size)
    coverage = _downsample(frame.buffers.hair_coverage[..., None], size)[..., 0]
    layers = Buffers(
        depth=np.zeros((size, size), np.float32),
        color=_downsample(frame.buffers.color, size),
        hair_diffuse=_downsample(frame.buffers.hair_diffuse, size),
        hair_specular=_downsample(frame.buffers.hair_specular, size),
        hair_coverage=coverage,
    )
    portraits = []
    for color in colors:
        own = replace(spec, color=color)
        portraits.append(
            Portrait(
                image=_tone_map(layers.compose(color.rgb, HAIR_GLOSS)),
                labels=labels,
                hair_coverage=coverage,
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
    """Everything that does not depend on the hair colour, at the supersampled size."""
    full = size * SUPERSAMPLING
    model = load_head_model()
    neutral, head = model.morph_both(spec.identity, spec.scene)
    pose, lights = Pose.from_spec(spec.scene), Lights.from_spec(spec.scene)
    posed = pose.apply(head.positions)
    marks = _landmarks(posed, head)
    camera = fit_camera(marks, full)
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
    _draw_body(spec, head, surface, camera, lights, shadow, volume, buffers, labels)
    _draw_brows(neutral, head, spec, pose, camera, lights, buffers, labels)
    if hair is not None and points is not None and volume is not None:
        strands.draw_hair(hair, points, camera, lights, volume, shadow, buffers)
    labels[buffers.hair_coverage > 0.5] = HAIR
    landmarks = (camera.project(marks)[:, :2] / SUPERSAMPLING).astype(np.float32)
    return _Frame(buffers, labels, landmarks)


def _landmarks(posed: FloatArray, head: Head) -> FloatArray:
    """(5, 3) posed points: fronts of the eyeballs, tip of the nose, corners of the mouth; left in the image first."""
    eyes = []
    for side in (-1, 1):
        ball = np.flatnonzero((head.part == EYE) & (head.rest[:, 0] * side > 0))
        front = ball[head.rest[ball, 2] > head.rest[ball, 2].max() - 0.03]
        eyes.append(posed[front].mean(0))
    return np.stack([*eyes, posed[_NOSE_TIP], posed[_MOUTH_LEFT], posed[_MOUTH_RIGHT]]).astype(np.float32)


def fit_camera(landmarks: FloatArray, size: int) -> Camera:
    """The camera whose frame is the FFHQ crop around five posed landmarks (5, 3), enlarged by FRAME_SCALE."""
    plane_z = float(landmarks[:2, 2].mean())
    flat = project_plane(landmarks, plane_z).astype(np.float64) * [1, -1]  # y down, as in images
    eyes, mouth = (flat[0] + flat[1]) / 2, (flat[3] + flat[4]) / 2
    across, down = flat[1] - flat[0], mouth - eyes
    x = across - np.array([-down[1], down[0]])
    x *= max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down)) / np.linalg.norm(x) * FRAME_SCALE
    center = (eyes + FRAME_SHIFT * down) * [1, -1]
    y = np.array([-x[1], x[0]])
    return Camera(
        size=size,
        center=center.astype(np.float32),
        right=(x * [1, -1]).astype(np.float32),
        down=(y * [1, -1]).astype(np.float32),
        plane_z=plane_z,
    )


def _surface(head: Head, posed: FloatArray, tint: FloatArray, camera: Camera, buffers: Buffers) -> Surface:
    """Rasterise everything but the lashes; fills `buffers.depth`."""
    triangles = np.ascontiguousarray(head.triangles[head.part[head.triangles[:, 0]] != LASH])
    depth, index, bary = rasterize(camera.project(posed), triangles, camera.size, camera.size)
    buffers.depth[...] = depth
    masks = np.stack([head.lips, head.face, head.ears, head.eyelids, tint], 1)
    normals = vertex_normals(posed, head.triangles)
    attributes = np.concatenate([normals, posed, head.rest, head.positions, masks], 1).astype(np.float32)
    values = interpolate(index, bary, triangles, attributes)
    pixels = np.flatnonzero(index.ravel() >= 0).astype(np.int32)
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
    """Screen-space ambient occlusion: darker where the neighbourhood lies nearer to the camera."""
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
    surface: Surface,
    camera: Camera,
    lights: Lights,
    shadow: ShadowMap,
    volume: HairVolume | None,
    buffers: Buffers,
    labels: ByteArray,
) -> None:
    """Background, body, clothes, eyes, scalp tint and lashes into `buffers`, and their `labels`."""
    albedo, cloth = albedo_and_cloth(surface, spec.identity, spec.scene)
    catch = paint_eyes(albedo, surface, head, spec.scene, spec.identity, lights)
    shaded = shade(surface, albedo, cloth, catch, camera, lights, shadow, volume)
    full = camera.size
    backdrop = paint_background(spec.scene, full // SUPERSAMPLING)
    backdrop = backdrop.repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)
    buffers.color[...] = backdrop
    buffers.color.reshape(-1, 3)[surface.pixels] = shaded.color
    _draw_tint(surface, shaded, buffers)
    lashes = _lashes(head, camera, buffers, spec)
    labels.ravel()[surface.pixels] = _body_labels(surface, cloth)
    labels[lashes] = np.where(np.arange(full)[None] < full / 2, LEFT_EYE, RIGHT_EYE).repeat(full, 0)[lashes]


def _draw_tint(surface: Surface, shaded: Shaded, buffers: Buffers) -> None:
    """Hair roots on the scalp: covers the skin like hair does."""
    alpha = np.zeros(buffers.depth.shape, np.float32)
    diffuse = np.zeros(buffers.color.shape, np.float32)
    alpha.ravel()[surface.pixels] = surface.tint
    diffuse.reshape(-1, 3)[surface.pixels] = shaded.irradiance * (0.45 * surface.tint)[:, None]
    buffers.cover(alpha, diffuse, np.zeros_like(diffuse))
    # Roots alone are hair only where they are dense.
    buffers.hair_coverage[...] = smoothstep(0.35, 0.75, alpha)


def _lashes(head: Head, camera: Camera, buffers: Buffers, spec: PortraitSpec) -> np.ndarray:
    """Darken the visible lashes; returns where they are."""
    triangles = np.ascontiguousarray(head.triangles[head.part[head.triangles[:, 0]] == LASH])
    posed = Pose.from_spec(spec.scene).apply(head.positions)
    depth, index, _ = rasterize(camera.project(posed), triangles, camera.size, camera.size)
    visible = (index >= 0) & (depth < buffers.depth + 0.01)
    strength = np.float32(0.3 + 0.5 * (1 - spec.identity.male))
    buffers.color[visible] = buffers.color[visible] * (1 - strength) + 0.012 * strength
    return visible


def _body_labels(surface: Surface, cloth: FloatArray) -> ByteArray:
    """CelebAMask-HQ ids (N,) of the body pixels."""
    x, y, z = surface.rest.T
    left = x < 0  # the person's right side is on the left of the image
    body = surface.part == BODY
    out = np.full(len(x), SKIN, np.uint8)
    out[body & (surface.face < 0.45) & (y < 6.75) & (z < 1.4) & (y - 0.55 * z < 6.35)] = NECK
    out[body & (surface.ears > 0.4) & left] = LEFT_EAR
    out[body & (surface.ears > 0.4) & ~left] = RIGHT_EAR
    width = 0.09 + 0.12 * smoothstep(7.15, 6.95, y)
    out[body & (np.abs(x) < width) & (y > 6.84) & (y < 7.3) & (z > 1.36) & (surface.face > 0.5)] = NOSE
    mouth = body & (np.abs(x) < 0.31) & (y > 6.4) & (y < 6.9) & (z < 1.53) & (z > 0.5) & (surface.face < 0.5)
    out[mouth | (surface.part == TEETH)] = MOUTH
    out[body & (surface.lips > 0.5) & (y >= LIP_LINE)] = UPPER_LIP
    out[body & (surface.lips > 0.5) & (y < LIP_LINE)] = LOWER_LIP
    out[(surface.part == EYE) & left] = LEFT_EYE
    out[(surface.part == EYE) & ~left] = RIGHT_EYE
    out[cloth > 0.5] = CLOTH
    return out


def paint_background(scene: SceneSpec, size: int) -> FloatArray:
    """(size, size, 3) linear backdrop: gradient, vignette, two-tone wall, blurred lights or a window."""
    rng = np.random.default_rng(scene.seed % 2**63)
    first, second = (np.array(color, np.float32) for color in scene.background_colors)
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    angle = rng.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    mix = smoothstep(-0.7, 0.7, along)
    if scene.background == "two-tone":
        edge = rng.uniform(-0.25, 0.25)
        mix = smoothstep(edge - 0.03, edge + 0.03, (y - 0.5) if rng.random() < 0.5 else along)
    elif scene.background == "vignette":
        mix = smoothstep(0.15, 0.85, np.hypot(x - 0.5 - 0.2 * np.sin(scene.light_azimuth), y - 0.45))
    image = first + (second - first) * mix[..., None]
    if scene.background == "bokeh":
        for _ in range(int(rng.integers(8, 18))):
            center, radius = rng.uniform(-0.1, 1.1, 2), rng.uniform(0.03, 0.11)
            glow = smoothstep(radius * 1.15, radius * 0.85, np.hypot(x - center[0], y - center[1]))
            tone = (first * rng.random() + second * rng.random() + 0.25) * rng.uniform(0.5, 1.3)
            image = image + glow[..., None] * (tone - image) * rng.uniform(0.15, 0.5)
    elif scene.background == "window":
        left, top, width, height = (
            rng.uniform(-0.3, 0.7),
            rng.uniform(-0.3, 0.2),
            rng.uniform(0.3, 0.6),
            rng.uniform(0.4, 0.9),
        )
        pane = smoothstep(left, left + 0.05, x) * smoothstep(left + width, left + width - 0.05, x)
        pane = pane * smoothstep(top, top + 0.05, y) * smoothstep(top + height, top + height - 0.05, y)
        pane = pane * (1 - 0.8 * np.exp(-(((x - left - width / 2) / 0.02) ** 2)))
        bright = second * 0.6 + np.array([0.32, 0.34, 0.36], np.float32)
        image = image + pane[..., None] * (bright - image) * rng.uniform(0.5, 0.9)
    falloff = 1.08 - 0.4 * ((x - 0.5 - 0.2 * np.sin(scene.light_azimuth)) ** 2 + (y - 0.5) ** 2)
    return np.clip(image * falloff[..., None], 0, None).astype(np.float32)


def _draw_brows(
    neutral: Head,
    head: Head,
    spec: PortraitSpec,
    pose: Pose,
    camera: Camera,
    lights: Lights,
    buffers: Buffers,
    labels: ByteArray,
) -> None:
    """Eyebrows as short soft hairs that lie on the skin."""
    identity = spec.identity
    hairs = pose.apply(_grow_brows(head, identity))
    density = np.zeros(buffers.depth.shape, np.float32)
    width = camera.pixels_per_unit * 0.016
    _splat_lines(camera.project(hairs), buffers.depth, density, np.float32(width))
    alpha = (1 - np.exp(-0.9 * density)) * 0.86
    lit = 0.25 * lights.key_color.mean() * (0.6 + 0.4 * max(float(lights.key_direction[2]), 0.0)) + 0.6 * lights.ambient
    color = np.array(identity.brow_color, np.float32) * np.float32(lit)
    buffers.color += alpha[..., None] * (color - buffers.color)
    half = np.arange(camera.size)[None] < camera.project(hairs.reshape(-1, 3))[:, 0].mean()
    strong = alpha > 0.3
    labels[strong & half] = LEFT_BROW
    labels[strong & ~half] = RIGHT_BROW


def _grow_brows(head: Head, identity: IdentitySpec, count: int = 300) -> FloatArray:
    """(2 * count, 5, 3) brow hairs on the unposed head."""
    rng = np.random.default_rng(identity.seed % 2**63)
    skin = np.flatnonzero(
        (head.part == BODY) & (head.rest[:, 2] > 0.9) & (head.rest[:, 1] > 7.3) & (head.rest[:, 1] < 7.7)
    )
    rest = head.rest[skin, :2]
    out = []
    for side in (-1, 1):
        u = rng.random(count)
        x = 0.115 + u * 0.40
        arc = 7.475 + identity.brow_height + 0.055 * identity.brow_arch * np.sin(np.clip(u * 1.25, 0, 1) * np.pi * 0.75)
        arc = arc - 0.10 * np.clip(u - 0.62, 0, 1)
        thickness = 0.030 * identity.brow_thickness * (1 - 0.7 * u) * (0.5 + 0.5 * np.clip(u * 5, 0, 1))
        y = arc + np.clip(rng.normal(0, 0.5, count), -1, 1) * thickness
        place = np.stack([x * side, y], 1)
        nearest, distance = _nearest_three(rest, place.astype(np.float32))
        weight = 1 / (distance + 1e-3)
        weight = (weight / weight.sum(1, keepdims=True))[..., None]
        vertex = skin[nearest]
        root = (head.positions[vertex] * weight).sum(1)
        root[:, :2] += place - (head.rest[vertex][..., :2] * weight).sum(1)
        normal = normalize((head.normals[vertex] * weight).sum(1))
        along = np.stack([side * (0.35 + 0.65 * u), 0.75 - 1.25 * u + rng.normal(0, 0.12, count), -0.35 * u], 1)
        flat = normalize(along - (along * normal).sum(1, keepdims=True) * normal)
        reach = np.linspace(0, 1, 5)[None, :, None] * 0.075 * (0.7 + 0.5 * rng.random((count, 1, 1)))
        out.append(root[:, None] + normal[:, None] * 0.012 + flat[:, None] * reach)
    return np.concatenate(out).astype(np.float32)


@njit(cache=True)
def _nearest_three(points, queries):  # type: ignore[no-untyped-def]
    """Indices (q, 3) of the points (n, 2) nearest to queries (q, 2), and their distances."""
    index = np.zeros((queries.shape[0], 3), np.int64)
    best = np.full((queries.shape[0], 3), np.float32(1e9), np.float32)
    for i in range(queries.shape[0]):
        for j in range(points.shape[0]):
            d = (points[j, 0] - queries[i, 0]) ** 2 + (points[j, 1] - queries[i, 1]) ** 2
            k = 3
            while k > 0 and d < best[i, k - 1]:
                k -= 1
            if k < 3:
                for m in range(2, k, -1):
                    best[i, m], index[i, m] = best[i, m - 1], index[i, m - 1]
                best[i, k], index[i, k] = d, j
    return index, np.sqrt(best)


@njit(cache=True)
def _splat_lines(lines, depth, density, width):  # type: ignore[no-untyped-def]
    """Add antialiased lines (S, K, 3) in pixels and depth to a density image, where nothing lies in front."""
    height, columns = depth.shape
    for s in range(lines.shape[0]):
        for k in range(lines.shape[1] - 1):
            x0, y0, z0 = lines[s, k, 0], lines[s, k, 1], lines[s, k, 2]
            x1, y1, z1 = lines[s, k + 1, 0], lines[s, k + 1, 1], lines[s, k + 1, 2]
            steps = int(max(abs(x1 - x0), abs(y1 - y0)) * 2) + 1
            length = np.sqrt((x1 - x0) ** 2 + (y1 - y0) ** 2)
            for i in range(steps):
                f = (i + 0.5) / steps
                x, y = x0 + (x1 - x0) * f - 0.5, y0 + (y1 - y0) * f - 0.5
                z = z0 + (z1 - z0) * f
                ix, iy = int(np.floor(x)), int(np.floor(y))
                for q in range(2):
                    for p in range(2):
                        px, py = ix + p, iy + q
                        if px < 0 or py < 0 or px >= columns or py >= height or z > depth[py, px] + 0.03:
                            continue
                        share = (x - ix if p else 1 - x + ix) * (y - iy if q else 1 - y + iy)
                        density[py, px] += np.float32(share * width * length / steps)


def _downsample(image: FloatArray, size: int) -> FloatArray:
    """Mean over SUPERSAMPLING x SUPERSAMPLING blocks: (size * s, size * s, c) to (size, size, c)."""
    total = np.zeros((size, size, image.shape[2]), np.float32)
    for i in range(SUPERSAMPLING):
        for j in range(SUPERSAMPLING):
            total += image[i::SUPERSAMPLING, j::SUPERSAMPLING]
    return total / np.float32(SUPERSAMPLING**2)


def _downsample_labels(labels: ByteArray, size: int) -> ByteArray:
    """The most frequent label of each block."""
    counts = np.zeros((LABEL_COUNT, size, size), np.uint8)
    for i in range(SUPERSAMPLING):
        for j in range(SUPERSAMPLING):
            block = labels[i::SUPERSAMPLING, j::SUPERSAMPLING]
            for label in range(LABEL_COUNT):
                counts[label] += block == label
    return counts.argmax(0).astype(np.uint8)


def _tone_map(linear: FloatArray) -> ByteArray:
    """Soft shoulder, then sRGB: (H, W, 3) linear light to uint8."""
    exposed = linear * np.float32(1.05)
    mapped = exposed * (1 + exposed / 6) / (1 + 0.55 * exposed)
    display = np.where(mapped < 0.0031, 12.92 * mapped, 1.055 * np.maximum(mapped, 1e-6) ** (1 / 2.4) - 0.055)
    return (np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8)
