"""A scene becomes a small picture: plain shapes on grey, with the box of each thing.

Where the things stand and how large they are varies a little with the scene's seed, so that two
pictures of one meaning differ. Drawing is done four times as large and then reduced, which gives
smooth edges without randomness: the same Pillow draws the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from paraclip_bench.demo.scenes import Scene, Thing

SIDE = 64
_SCALE = 4
_RADIUS = {"small": 7.0, "large": 12.5}
_INK = {
    "red": (214, 40, 40),
    "blue": (40, 80, 214),
    "green": (40, 160, 60),
    "yellow": (240, 215, 50),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
}
_EDGE = (70, 70, 70)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """A 64x64 RGB image and the boxes (left, top, right, bottom; pixels) of first and second."""

    image: Image.Image
    first: Box
    second: Box

    def box(self, margin: int = 2) -> Box:
        """Return the box around both things with `margin` pixels of room, inside the image."""
        a, b = self.first, self.second
        return (
            max(0, min(a[0], b[0]) - margin),
            max(0, min(a[1], b[1]) - margin),
            min(SIDE, max(a[2], b[2]) + margin),
            min(SIDE, max(a[3], b[3]) + margin),
        )


def render(scene: Scene) -> Picture:
    """Draw a full scene; the same scene and seed give the same picture."""
    rng = Random(f"render/{scene.seed}")
    first, second = scene.content.first, scene.content.second
    radii = [_RADIUS[thing.size] * rng.uniform(0.93, 1.07) for thing in (first, second)]
    spots = _spots(scene.content.relation, radii, rng)
    grey = rng.randint(150, 170)
    image = Image.new("RGB", (SIDE * _SCALE, SIDE * _SCALE), (grey, grey, grey))
    draw = ImageDraw.Draw(image)
    # The second is drawn first: in a "front" scene the first thing covers it.
    for thing, spot, radius in ((second, spots[1], radii[1]), (first, spots[0], radii[0])):
        _draw(draw, thing, spot, radius)
    image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return Picture(image, _box(spots[0], radii[0]), _box(spots[1], radii[1]))


def _spots(relation: str, radii: list[float], rng: Random) -> list[tuple[float, float]]:
    """Return the two centres in pixels; every thing stays inside the picture."""
    middle = SIDE / 2
    if relation == "front":
        # Close enough to overlap, far enough that the one behind still shows.
        reach = max(radii) * rng.uniform(1.05, 1.2) / 2
        angle = math.radians(rng.choice((45, 135, 225, 315)) + rng.uniform(-15, 15))
        dx, dy = reach * math.cos(angle), reach * math.sin(angle)
        x, y = (middle + rng.uniform(-7, 7) for _ in "xy")
        spots = [(x + dx, y + dy), (x - dx, y - dy)]
    else:
        low, high = middle - 15 + rng.uniform(-2, 2), middle + 15 + rng.uniform(-2, 2)
        sway = [middle + rng.uniform(-6, 6) for _ in radii]
        spots = [(low, sway[0]), (high, sway[1])]
        if relation == "above":
            spots = [(y, x) for x, y in spots]
    return [
        (min(max(x, r + 1), SIDE - r - 1), min(max(y, r + 1), SIDE - r - 1))
        for (x, y), r in zip(spots, radii, strict=True)
    ]


def _box(spot: tuple[float, float], radius: float) -> Box:
    x, y = spot
    return (
        math.floor(x - radius),
        math.floor(y - radius),
        math.ceil(x + radius),
        math.ceil(y + radius),
    )


def _draw(draw: ImageDraw.ImageDraw, thing: Thing, spot: tuple[float, float], r: float) -> None:
    x, y, r = spot[0] * _SCALE, spot[1] * _SCALE, r * _SCALE
    ink, width = _INK[thing.colour], _SCALE
    if thing.shape == "ball":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink, outline=_EDGE, width=width)
    elif thing.shape == "ring":
        draw.ellipse((x - r, y - r, x + r, y + r), outline=_EDGE, width=width)
        inner = r - width
        draw.ellipse(
            (x - inner, y - inner, x + inner, y + inner), outline=ink, width=round(r * 0.42)
        )
    elif thing.shape == "box":
        draw.rectangle(
            (x - r * 0.9, y - r * 0.9, x + r * 0.9, y + r * 0.9),
            fill=ink,
            outline=_EDGE,
            width=width,
        )
    else:
        draw.polygon(_corners(thing.shape, x, y, r), fill=ink, outline=_EDGE, width=width)


def _corners(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    if shape == "cone":
        return [(x, y - r), (x + r, y + r * 0.9), (x - r, y + r * 0.9)]
    if shape == "diamond":
        return [(x, y - r), (x + r * 0.8, y), (x, y + r), (x - r * 0.8, y)]
    points = []
    for tip in range(10):
        reach = r if tip % 2 == 0 else r * 0.45
        angle = math.pi * tip / 5 - math.pi / 2
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return points
