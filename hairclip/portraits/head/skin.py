"""Compute the look of the body: albedo of skin, lips, eyes, beard and clothes, and the light on them.

All functions work on the N body pixels of a frame (`Surface`); textures live in the canonical head's space, so they
stay on the person when the head turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hairclip.portraits.drawing.raster import FloatArray, njit
from hairclip.portraits.drawing.scene import Camera, HairVolume, Lights, ShadowMap, normalize, smoothstep
from hairclip.portraits.head.mesh import BODY, EYE, TEETH, Head
from hairclip.portraits.spec import IdentitySpec, SceneSpec

LIP_LINE = 6.604  # height in rest space where the lips meet


@dataclass(frozen=True)
class Surface:
    """The N visible body pixels.

    Attributes:
        pixels: (N,), flat index of the pixel.
        normal: (N, 3), unit normal on the posed person.
        world: (N, 3), position on the posed person.
        rest: (N, 3), position on the canonical head.
        own: (N, 3), position on this person before the pose.
        part: (N,), BODY, EYE, LASH or TEETH.
        lips: (N,) in [0, 1], 1 on the lips.
        face: (N,) in [0, 1], 1 on the face.
        ears: (N,) in [0, 1], 1 on the ears.
        eyelids: (N,) in [0, 1], 1 on the eyelids.
        tint: (N,) in [0, 1], how far hair roots cover the scalp.
        occlusion: (N,) in [0, 1], share of the ambient light that arrives.
    """

    pixels: npt.NDArray[np.intp]
    normal: FloatArray
    world: FloatArray
    rest: FloatArray
    own: FloatArray
    part: np.ndarray
    lips: FloatArray
    face: FloatArray
    ears: FloatArray
    eyelids: FloatArray
    tint: FloatArray
    occlusion: FloatArray


@njit(cache=True)
def value_noise(points, frequency, seed):  # type: ignore[no-untyped-def]
    """Return smooth noise (N,) in [-1, 1] at points (N, 3), with `frequency` cells per unit."""
    out = np.empty(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] * frequency, points[i, 1] * frequency, points[i, 2] * frequency
        ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        fx, fy, fz = x - ix, y - iy, z - iz
        fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
        total = 0.0
        for p in range(2):
            for q in range(2):
                for r in range(2):
                    h = ((ix + p) * 73856093) ^ ((iy + q) * 19349663) ^ ((iz + r) * 83492791) ^ (seed * 2654435761)
                    h = (h ^ (h >> 13)) * 1274126177
                    h = (h ^ (h >> 16)) & 0xFFFF
                    share = (fx if p else 1 - fx) * (fy if q else 1 - fy) * (fz if r else 1 - fz)
                    total += share * (h / 32767.5 - 1.0)
        out[i] = total
    return out


def _bump(values: FloatArray, center: float, width: float) -> FloatArray:
    """Return a Gaussian bump around `center`."""
    return np.exp(-(((values - center) / width) ** 2)).astype(np.float32)


def _blend(albedo: FloatArray, weight: FloatArray, target: FloatArray) -> FloatArray:
    return albedo + (target - albedo) * weight[:, None]


def mouth_mask(surface: Surface) -> npt.NDArray[np.bool_]:
    """Return which pixels show the inside of the mouth, (N,) bool."""
    x, y, z = surface.rest.T
    box = (np.abs(x) < 0.31) & (y > 6.4) & (y < 6.9) & (z > 0.5) & (z < 1.53)
    return box & (surface.part == BODY) & (surface.face < 0.5)


def cloth_mask(surface: Surface, scene: SceneSpec) -> tuple[FloatArray, FloatArray]:
    """Return which pixels are clothes, (N,) in {0, 1}, and the depth (N,) below the neckline (negative is skin)."""
    x, y, z = surface.rest.T
    front = smoothstep(-0.2, 0.9, z)
    side = np.abs(x)
    shoulder = 0.3 * smoothstep(0.42, 0.8, side)
    if scene.clothes == "v-neck":
        line = 5.86 - front * np.clip(0.34 + 0.2 * scene.neckline - side * 0.8, 0, 1)
    elif scene.clothes == "scoop":
        line = 5.80 - front * (0.14 + 0.14 * scene.neckline) * _bump(side, 0.0, 0.55)
    elif scene.clothes == "collar":
        line = 5.98 - front * np.clip(0.32 - side * 0.75, 0, 1)
    elif scene.clothes == "turtleneck":
        line = 6.00 + 0.08 * scene.neckline - 0.06 * front
    else:
        line = 5.86 - front * (0.03 + 0.06 * scene.neckline) * _bump(side, 0.0, 0.6)
    line = line + shoulder
    depth = (line - y).astype(np.float32)
    return ((depth > 0) & (surface.part == BODY) & (surface.face < 0.4)).astype(np.float32), depth


def _skin_albedo(surface: Surface, identity: IdentitySpec) -> FloatArray:
    """Return skin (N, 3) with warm cheeks and nose, fine mottling and freckles."""
    x, y, z = surface.rest.T
    skin = np.array(identity.skin, np.float32)
    seed = identity.seed % 65521
    front = smoothstep(0.6, 1.0, z)
    blush = _bump(np.abs(x), 0.42, 0.2) * _bump(y, 6.95, 0.2) + 0.8 * _bump(x, 0.0, 0.15) * _bump(y, 6.97, 0.12)
    blush = blush * front + 0.5 * surface.ears
    albedo = skin * (1 - blush[:, None] * np.array([0.0, 0.14, 0.13], np.float32))
    albedo *= 1 + 0.03 * value_noise(surface.rest, 6.0, seed)[:, None] * np.array([0.6, 1, 1], np.float32)
    albedo *= 1 + 0.018 * value_noise(surface.rest, 38.0, seed + 1)[:, None]
    if identity.freckles > 0.05:
        spots = smoothstep(0.38, 0.6, value_noise(surface.rest, 26.0, seed + 2)) * np.clip(blush * 1.4, 0, 1)
        albedo *= 1 - 0.55 * identity.freckles * spots[:, None] * np.array([0.55, 0.8, 1], np.float32)
    shade = smoothstep(0.3, 0.9, surface.eyelids) * 0.14
    return albedo * (1 - shade[:, None])


def _beard(surface: Surface, identity: IdentitySpec) -> FloatArray:
    """Return the density (N,) of the beard on lower cheeks, upper lip and chin; the lips stay free."""
    x, y, z = surface.rest.T
    jaw = smoothstep(6.98, 6.5, y - 0.5 * x * x) * smoothstep(6.0, 6.2, y) * smoothstep(0.3, 0.6, z)
    clear = 1 - 0.95 * np.exp(-((x / 0.28) ** 2) - ((y - 6.6) / 0.09) ** 2)
    grain = 0.8 + 0.2 * value_noise(surface.rest, 60.0, identity.seed % 65521 + 3)
    return np.clip(jaw * clear * smoothstep(6.86, 6.79, y) * grain * identity.beard, 0, 1).astype(np.float32)


def albedo_and_cloth(surface: Surface, identity: IdentitySpec, scene: SceneSpec) -> tuple[FloatArray, FloatArray]:
    """Return the linear albedo (N, 3) of everything but the eyes, and the mask (N,) of clothes."""
    albedo = _skin_albedo(surface, identity)
    beard = _beard(surface, identity) * (surface.part == BODY)
    beard_color = np.array(identity.brow_color, np.float32) * 0.9 + 0.1 * np.array(identity.skin, np.float32) * 0.3
    albedo = _blend(albedo, beard * 0.85, beard_color)
    lips = smoothstep(0.25, 0.75, surface.lips) * (surface.part == BODY)
    skin = np.array(identity.skin, np.float32)
    natural = skin * np.array([0.92, 0.60, 0.60], np.float32)
    painted = np.array(identity.lip_color, np.float32) * skin.max() * 0.75
    albedo = _blend(albedo, lips, natural + (painted - natural) * 0.6 * identity.lipstick)
    albedo = np.where(
        (mouth_mask(surface) & (surface.lips < 0.5))[:, None], np.array([0.09, 0.025, 0.025], np.float32), albedo
    )
    albedo = np.where((surface.part == TEETH)[:, None], np.array([0.70, 0.66, 0.60], np.float32), albedo)
    cloth, depth = cloth_mask(surface, scene)
    fabric = (
        np.array(scene.clothes_color, np.float32)
        * (1 + 0.10 * value_noise(surface.rest, 45.0, 11) + 0.10 * value_noise(surface.rest, 5.0, 12))[:, None]
    )
    fabric = fabric * (1 - 0.22 * smoothstep(0.09, 0.06, depth) * smoothstep(0.0, 0.015, depth))[:, None]
    fabric = fabric * (1 - 0.5 * smoothstep(0.02, 0.0, depth))[:, None]
    return _blend(albedo, cloth, fabric).astype(np.float32), cloth


def paint_eyes(
    albedo: FloatArray, surface: Surface, head: Head, scene: SceneSpec, identity: IdentitySpec, lights: Lights
) -> FloatArray:
    """Paint iris, pupil and white into `albedo` (N, 3) in place, and return the catch light (N,)."""
    catch = np.zeros(len(albedo), np.float32)
    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        mine = np.flatnonzero((surface.part == EYE) & (surface.own[:, 0] * side > 0))
        if not len(mine):
            continue
        ray = normalize(surface.own[mine] - head.joints[name])
        gaze = normalize(np.array([0.04 * side - scene.yaw * 0.6, (scene.pitch - 0.1) * 0.5, 1.0], np.float32))
        angle = np.arccos(np.clip(ray @ gaze, -1, 1))
        iris = smoothstep(0.46, 0.40, angle)[:, None]
        pupil = smoothstep(0.19, 0.14, angle)[:, None]
        ring = smoothstep(0.28, 0.43, angle)[:, None]
        around = np.arctan2(ray[:, 1], ray[:, 0])[:, None]
        fibers = 1.25 + 0.3 * np.sin(around * 9 + 3 * np.sin(around * 5))
        color = np.array(identity.eye, np.float32) * fibers * (1 - 0.65 * ring)
        white = np.array([0.74, 0.71, 0.69], np.float32) * (1 - 0.35 * smoothstep(0.55, 1.2, angle))[:, None]
        albedo[mine] = (white + (color - white) * iris) * (1 - pupil) + 0.01 * pupil
        glint = normalize(gaze + 0.35 * normalize(lights.key_direction + np.array([0, 0, 0.8], np.float32)))
        catch[mine] = np.exp(-((ray - glint) ** 2).sum(1) / 0.006)
    return catch


@dataclass(frozen=True)
class Shaded:
    """Light of the N body pixels.

    Attributes:
        color: (N, 3), linear light that the pixel sends, without hair.
        irradiance: (N, 3), linear light that falls on it.
    """

    color: FloatArray
    irradiance: FloatArray


def shade(
    surface: Surface,
    albedo: FloatArray,
    cloth: FloatArray,
    catch: FloatArray,
    camera: Camera,
    lights: Lights,
    shadow: ShadowMap,
    volume: HairVolume | None,
) -> Shaded:
    """Return the light of the body: wrapped diffuse light, two soft glosses, shadows of mesh and hair."""
    n, ones = surface.normal, np.ones(len(albedo), np.float32)
    visible = shadow.visibility(surface.world)
    through, around = ones, ones
    if volume is not None:
        through = np.exp(-1.1 * volume.depth(surface.world, lift=0.10))
        around = np.exp(-1.2 * volume.occupancy(surface.world + n * 0.12))
    is_skin = ((surface.part == BODY) & (cloth < 0.5)).astype(np.float32)
    wrap = is_skin[:, None] * np.array([0.36, 0.17, 0.12], np.float32)
    facing = n @ lights.key_direction
    diffuse = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1)
    light = (visible * through)[:, None] ** np.array([0.75, 1.0, 1.05], np.float32)
    open_ = (surface.occlusion * around)[:, None]
    tint = np.array([1.0, 1.0, 1.03], np.float32)
    irradiance = lights.key_color * diffuse * light * 0.62 * (0.55 + 0.45 * surface.occlusion[:, None])
    irradiance += (lights.ambient * (0.55 + 0.45 * n[:, 1:2]) * tint + 0.07) * open_
    irradiance += lights.fill * np.clip(n @ lights.fill_direction, 0, 1)[:, None] * open_
    irradiance += lights.rim * (np.clip(n @ lights.rim_direction, 0, 1) ** 2)[:, None] * open_
    view = normalize(camera.eye - surface.world)
    half = normalize(view + lights.key_direction)
    glance, grazing = np.clip((n * half).sum(1), 0, 1), 1 - np.clip((n * view).sum(1), 0, 1)
    oil = 0.6 + 0.6 * _bump(surface.rest[:, 0], 0.0, 0.3)
    gloss = (0.085 * glance**10 * oil + 0.035 * glance**36 * oil) * np.clip(facing, 0, 1) * visible * through
    gloss = gloss * (1 + 1.2 * smoothstep(0.3, 0.8, surface.lips)) + 0.012 * grazing**3 * surface.occlusion
    gloss = gloss * is_skin * (1 - 0.8 * surface.tint)
    eye = (surface.part == EYE).astype(np.float32)
    color = albedo * irradiance + gloss[:, None] * lights.key_color * 0.8 + (0.9 * catch * eye)[:, None]
    return Shaded(color=color.astype(np.float32), irradiance=irradiance.astype(np.float32))
