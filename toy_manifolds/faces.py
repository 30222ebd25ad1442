"""Toy faces: an image manifold with ground truth, twelve factors and a renderer.

    image = render(c),   c uniform in [0, 1]¹²        (n, 12) -> (n, 3, size, size) in [0, 1]

Every part is a signed distance d to its outline, in units of half the image, painted over the canvas with
coverage(d) = a cubic step over one pixel about d = 0. Images are anti-aliased at any size and smooth in the factors:
`render` is differentiable. Renderings of one face at two sizes differ in resolution only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["FACTORS", "Faces"]

FACTORS: dict[str, str] = {
    "skin": "tone of the skin, dark to light",
    "width": "width of the face",
    "eye_size": "size of the eyes",
    "eye_spacing": "distance between the eyes",
    "gaze": "where the eyes look, left to right",
    "mouth_curve": "frown to smile",
    "mouth_width": "width of the mouth",
    "hair_colour": "black to blond",
    "hair_length": "short to below the chin",
    "turn": "turn of the head, left to right",
    "light": "side the light comes from, left to right",
    "background": "hue behind the face",
}

CHUNK = 64  # faces per batch: their layers fit into the processor's cache
DARK_SKIN, LIGHT_SKIN = (0.36, 0.22, 0.15), (0.98, 0.82, 0.70)
DARK_HAIR, LIGHT_HAIR = (0.08, 0.06, 0.06), (0.93, 0.77, 0.42)
LIPS, SHIRT, IRIS = (0.72, 0.22, 0.25), (0.25, 0.32, 0.48), (0.20, 0.35, 0.45)


class Faces:
    """The manifold: 12-dimensional, in 3 · size² dimensions.

    Args:
        size: pixels along each side, 8 or more.
    """

    title = "Toy faces"
    intrinsic_dim = len(FACTORS)

    def __init__(self, size: int = 32) -> None:
        if size < 8:
            raise ValueError(f"size: faces of {size} pixels; give 8 or more")
        self.size = size

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Factors of `n` random faces, uniform in the unit cube, `(n, 12)`, on the generator's device."""
        device = "cpu" if generator is None else generator.device
        return torch.rand(n, self.intrinsic_dim, generator=generator, device=device)

    def render(self, factors: Tensor) -> Tensor:
        """Faces with these factors, `(n, 12)` -> `(n, 3, size, size)` in [0, 1], in the factors' dtype and device.

        Raises:
            ValueError: `factors` are not `(n, 12)`.
        """
        if factors.ndim != 2 or factors.shape[1] != self.intrinsic_dim:
            raise ValueError(f"factors must be (n, {self.intrinsic_dim}), got {tuple(factors.shape)}")
        return (
            torch.cat([self._render(chunk) for chunk in factors.split(CHUNK)]) if len(factors) else self._empty(factors)
        )

    def images(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random faces in the format of an image cache, `(n, size, size, 3)` uint8, and their factors `(n, 12)`."""
        factors = self.draw(n, generator)
        return self.pictures(factors), factors

    @torch.no_grad()
    def pictures(self, factors: Tensor) -> Tensor:
        """Faces with these factors `(n, 12)` in the format of an image cache, `(n, size, size, 3)` uint8."""
        parts = [self._render(chunk).mul_(255).round_().byte() for chunk in factors.split(CHUNK)]
        return torch.cat(parts).permute(0, 2, 3, 1).contiguous()

    def _empty(self, like: Tensor) -> Tensor:
        return like.new_zeros(0, 3, self.size, self.size)

    def _render(self, factors: Tensor) -> Tensor:
        f = dict(zip(FACTORS, factors[:, :, None, None].unbind(1), strict=True))  # (n, 1, 1) each
        axis = (torch.arange(self.size, dtype=factors.dtype, device=factors.device) + 0.5) * (2 / self.size) - 1
        x, y = axis[None, None, :], axis[None, :, None]  # (1, 1, size), (1, size, 1)

        turn = 2 * f["turn"] - 1
        rx, ry = 0.40 + 0.16 * f["width"], 0.60
        shift = 0.16 * turn  # of the features on the face
        near = 1 - 0.12 * turn.abs()  # they move together as the head turns
        skin = _mix(DARK_SKIN, LIGHT_SKIN, f["skin"])
        hair = _mix(DARK_HAIR, LIGHT_HAIR, f["hair_colour"])
        shade = 1 + 0.28 * (2 * f["light"] - 1) * x / rx.clamp_min(0.1)
        shade = shade.clamp(0.6, 1.3)[:, None]

        canvas = self._background(f["background"], y)
        # behind the head: hair down to its length, neck and shoulders
        bottom = 0.05 + 0.75 * f["hair_length"]
        canvas = self._paint(
            canvas, _rounded_box(x, y, rx + 0.10, (bottom + 0.55) / 2, (bottom - 0.55) / 2, 0.35), hair
        )
        canvas = self._paint(canvas, _rounded_box(x, y, 0.20, 0.40, 0.75, 0.05), 0.82 * skin)
        canvas = self._paint(canvas, _ellipse(x, y - 1.08, 0.85 + 0 * rx, 0.35), _colour(SHIRT, factors))
        # the head, its light, and the fringe
        head = _ellipse(x, y - 0.10, rx, ry)
        canvas = self._paint(canvas, head, (skin * shade).clamp(0, 1))
        fringe = torch.maximum(_ellipse(x, y - 0.08, rx + 0.03, ry + 0.03), y + 0.26 - 0.10 * (x - shift) ** 2 / rx**2)
        canvas = self._paint(canvas, fringe, hair)
        # the features
        apart, big = (0.15 + 0.07 * f["eye_spacing"]) * near, 0.07 + 0.055 * f["eye_size"]
        white, iris, black = (_colour(c, factors) for c in ((0.97, 0.97, 0.97), IRIS, (0.03, 0.03, 0.03)))

        def pair(dx: Tensor, dy: Tensor, rx: Tensor, ry: Tensor) -> Tensor:
            """Distance to an ellipse in each eye, at offset (dx, dy) from its centre."""
            left, right = (_ellipse(x - shift - side * apart - dx, y - dy, rx, ry) for side in (-1, 1))
            return torch.minimum(left, right)

        middle, look, none = 0.02 + 0 * big, 0.42 * big * (2 * f["gaze"] - 1), 0 * big
        canvas = self._paint(canvas, pair(none, middle, big, 0.72 * big), white)
        canvas = self._paint(canvas, pair(look, middle, 0.55 * big, 0.55 * big), iris)
        canvas = self._paint(canvas, pair(look, middle, 0.27 * big, 0.27 * big), black)
        canvas = self._paint(canvas, pair(none, -0.02 - 1.25 * big, 1.1 * big, 0.025 + none), 0.7 * hair)
        canvas = self._paint(canvas, _ellipse(x - 1.35 * shift, y - 0.24, 0.045 + 0 * rx, 0.075), 0.80 * skin)
        half = (0.13 + 0.13 * f["mouth_width"]) * near
        canvas = self._paint(
            canvas, _mouth(x - shift, y - 0.47, half, 2 * f["mouth_curve"] - 1), _colour(LIPS, factors)
        )
        return canvas

    def _background(self, hue: Tensor, y: Tensor) -> Tensor:
        phase = 2 * math.pi * torch.tensor([0.0, 1 / 3, 2 / 3], dtype=hue.dtype, device=hue.device)[None, :, None, None]
        colour = 0.66 + 0.22 * torch.cos(
            2 * math.pi * 0.8 * hue[:, None] + phase
        )  # four fifths of a turn, so that the ends differ
        return (colour + 0.06 * y[:, None]).expand(-1, -1, -1, self.size)

    def _paint(self, canvas: Tensor, distance: Tensor, colour: Tensor) -> Tensor:
        """Paint `colour` (n, 3, 1, 1) or (n, 3, size, size) over the canvas where the distance is negative."""
        t = (0.5 - distance * (self.size / 4)).clamp(0, 1)  # two pixels wide: its cubic step looks one wide
        return torch.lerp(canvas, colour.expand_as(canvas), (t * t * (3 - 2 * t))[:, None])


def _colour(rgb: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(rgb, dtype=like.dtype, device=like.device)[None, :, None, None].expand(len(like), -1, -1, -1)


def _mix(low: tuple[float, float, float], high: tuple[float, float, float], t: Tensor) -> Tensor:
    """(n, 1, 1) -> (n, 3, 1, 1)."""
    like = t[:, 0, 0][:, None]
    return torch.lerp(_colour(low, like), _colour(high, like), t[:, None])


def _ellipse(x: Tensor, y: Tensor, rx: Tensor, ry: Tensor | float) -> Tensor:
    """Distance to an ellipse about the origin, to first order: k(k − 1)/‖∇k²‖/2 with k = ‖(x/rx, y/ry)‖."""
    k = ((x / rx) ** 2 + (y / ry) ** 2 + 1e-9).sqrt()
    slope = ((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9).sqrt()
    return k * (k - 1) / slope


def _rounded_box(x: Tensor, y: Tensor, half_x: Tensor | float, half_y: Tensor | float, middle: Tensor | float,
                 radius: float) -> Tensor:  # fmt: skip
    """Distance to a box about (0, middle) with rounded corners."""
    dx, dy = x.abs() - (half_x - radius), (y - middle).abs() - (half_y - radius)
    outside = (dx.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2 + 1e-9).sqrt()
    return outside + torch.maximum(dx + 0 * dy, dy + 0 * dx).clamp_max(0) - radius


def _mouth(x: Tensor, y: Tensor, half: Tensor, curve: Tensor) -> Tensor:
    """Distance to a thick parabola of the given half width; a positive `curve` lifts its ends."""
    along = (x / half).clamp(-1, 1)
    sag = 0.10 * curve * (along**2 - 0.5)
    slope = 0.20 * curve * along / half
    across = (y + sag) / (1 + slope**2).sqrt()
    beyond = (x.abs() - half).clamp_min(0)
    return (across**2 + beyond**2 + 1e-9).sqrt() - 0.035
