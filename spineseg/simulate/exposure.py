"""From attenuation to stored pixels: beam, scatter, noise, detector, the vendor's display processing, markers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32

Image = Float32[np.ndarray, "rows columns"]
Values = Float[np.ndarray, "rows columns"]
"""Of either precision."""


@dataclass(frozen=True)
class ExposureConfig:
    """How far exposure and processing range; pairs are (low, high) of a uniform draw."""

    scatter: tuple[float, float] = (0.05, 0.9)
    """Scatter as a share of the primary beam at the film's median."""
    photons_log10: tuple[float, float] = (2.9, 4.9)
    """Photons per square millimetre behind the median of the body."""
    saturation: tuple[float, float] = (3.0, 40.0)
    """Signal at which the detector clips, as a multiple of the median."""
    compression: tuple[float, float] = (0.25, 1.0)
    """What the display keeps of slow contrast (1 = all)."""
    sharpening: tuple[float, float] = (0.0, 1.3)
    gamma: tuple[float, float] = (0.65, 1.7)
    collimated_probability: float = 0.35
    marker_probability: float = 0.6


def _blur(image: Values, sigma: float) -> Values:
    """Gaussian blur; large ones on a smaller copy."""
    step = max(1, int(sigma / 4))
    if step == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    rows, columns = image.shape
    small = cv2.resize(image, (max(columns // step, 4), max(rows // step, 4)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)


def _collimation(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """1 inside four blades, slightly turned, 0 outside, with a soft edge."""
    rows, columns = shape
    left, right = rng.uniform(0, 0.14, 2) * columns
    top, bottom = rng.uniform(-0.02, 0.04, 2) * rows
    corners = np.array([(left, top), (columns - right, top), (columns - right, rows - bottom), (left, rows - bottom)])
    turn = np.deg2rad(rng.normal(0, 1.0))
    middle = np.array([columns, rows]) / 2
    corners = (corners - middle) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + middle
    opened = np.zeros(shape, np.uint8)
    cv2.fillPoly(opened, [np.round(corners * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return _blur(opened.astype(np.float32) / 255, rng.uniform(0.6, 2.5))


def _marker(display: Values, rng: np.random.Generator) -> None:
    """A lead letter or a burnt-in box, anywhere but most often near the edge."""
    rows, columns = display.shape
    text = str(rng.choice(["L", "R", "LT", "RT", "LT.", "RT.", "L  STANDING", "STANDING", "UPRIGHT", "KV 85", "ERECT"]))
    size = rng.uniform(0.0006, 0.0018) * rows
    thick = max(1, round(size * rng.uniform(1.5, 3)))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    x, y = int(rng.uniform(0, max(columns - width, 1))), int(rng.uniform(height + 2, rows))
    if rng.random() < 0.7:
        x = int(rng.choice([rng.uniform(0, 0.2), rng.uniform(0.75, 0.95)]) * columns)
    drawn = np.zeros((rows, columns), np.uint8)
    cv2.putText(drawn, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
    if rng.random() < 0.3:
        drawn = np.ascontiguousarray(np.flip(drawn, 1))
    share = drawn.astype(np.float32) / 255
    if rng.random() < 0.35:
        around = cv2.dilate(drawn, np.ones((3 * thick + 3, 5 * thick + 3), np.uint8)).astype(np.float32) / 255
        display[:] = display * (1 - around) + around * (1 - share)
    else:
        level = rng.uniform(0.75, 1.0)
        display[:] = display * (1 - share) + level * share


def expose(attenuation: Image, pixel_mm: float, rng: np.random.Generator, config: ExposureConfig) -> Image:
    """Display values 0..1, bright = dense, of one exposure. Empty air ends near 0."""
    body = attenuation > 0.3
    primary = np.exp(-attenuation)
    typical = float(np.median(primary[body])) if body.any() else 0.1
    capped = np.minimum(primary, typical * 8)
    spread = _blur(capped, 35 / pixel_mm)
    signal = primary + rng.uniform(*config.scatter) * typical * spread / max(float(np.median(spread)), 1e-6)
    blades = _collimation(attenuation.shape, rng) if rng.random() < config.collimated_probability else None
    if blades is not None:
        signal = signal * (0.02 + 0.98 * blades)
    photons = 10 ** rng.uniform(*config.photons_log10) * pixel_mm**2
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    signal = signal + noise * np.sqrt(signal * typical / photons) * rng.uniform(0.5, 1.0)
    signal = np.clip(signal, typical * 0.004, typical * rng.uniform(*config.saturation))
    if rng.random() < 0.7:
        signal = _blur(signal.astype(np.float32), rng.uniform(0.15, 0.5) / pixel_mm + 0.2)
    return _display(-np.log(signal), body if blades is None else body & (blades > 0.5), blades, pixel_mm, rng, config)


def _display(
    density: Values,
    seen: np.ndarray,
    blades: Image | None,
    pixel_mm: float,
    rng: np.random.Generator,
    config: ExposureConfig,
) -> Image:
    """What the workstation stores: slow contrast compressed, edges sharpened, windowed, curved, shuttered, marked."""
    slow = _blur(density, rng.uniform(18, 45) / pixel_mm)
    kept = rng.uniform(*config.compression)
    shown = density + (kept - 1) * slow
    shown += rng.uniform(*config.sharpening) * (density - _blur(density, rng.uniform(0.8, 5) / pixel_mm))
    sample = shown[seen][::7] if seen.any() else shown.ravel()[::7]
    low, high = np.percentile(sample, [rng.uniform(0.0, 12), rng.uniform(98.0, 100)])
    air = float(np.percentile(shown[~seen], 50)) if (~seen).any() else low
    if rng.random() < 0.4:
        low = low + (air - low) * rng.uniform(0, 0.9) if air < low else low
    display = np.clip((shown - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(*config.gamma)
    if rng.random() < 0.3:
        steep = rng.uniform(2, 7)
        display = 1 / (1 + np.exp(-steep * (display - rng.uniform(0.4, 0.6))))
        display = (display - display.min()) / max(float(np.ptp(display)), 1e-6)
    display = np.ascontiguousarray(display, dtype=np.float32)
    if blades is not None and rng.random() < 0.8:
        display = display * blades + (1 - blades) * float(rng.choice([0.0, 0.0, 0.0, 1.0, 0.1]))
    while rng.random() < config.marker_probability * 0.6:
        _marker(display, rng)
    return (display * rng.uniform(0.75, 1.0)).astype(np.float32)
