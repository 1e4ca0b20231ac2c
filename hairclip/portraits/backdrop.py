"""What is behind a person: soft gradients, two-tone walls, blurred lights and windows."""

from __future__ import annotations

import numpy as np

from hairclip.portraits.drawing.raster import FloatArray
from hairclip.portraits.drawing.scene import smoothstep
from hairclip.portraits.spec import SceneSpec


def paint_background(scene: SceneSpec, size: int) -> FloatArray:
    """Return the backdrop of a scene, (size, size, 3) linear light."""
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
        left, top = rng.uniform(-0.3, 0.7), rng.uniform(-0.3, 0.2)
        width, height = rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.9)
        pane = smoothstep(left, left + 0.05, x) * smoothstep(left + width, left + width - 0.05, x)
        pane = pane * smoothstep(top, top + 0.05, y) * smoothstep(top + height, top + height - 0.05, y)
        pane = pane * (1 - 0.8 * np.exp(-(((x - left - width / 2) / 0.02) ** 2)))
        bright = second * 0.6 + np.array([0.32, 0.34, 0.36], np.float32)
        image = image + pane[..., None] * (bright - image) * rng.uniform(0.5, 0.9)
    falloff = 1.08 - 0.4 * ((x - 0.5 - 0.2 * np.sin(scene.light_azimuth)) ** 2 + (y - 0.5) ** 2)
    return np.clip(image * falloff[..., None], 0, None).astype(np.float32)
