"""Toy faces: smooth in every factor, the same at every size, and mirrored where their factors are."""

import pytest
import torch
from torch.nn import functional as F

from toy_manifolds.faces import CHUNK, FACTORS, Faces

NAMES = list(FACTORS)


def factors(n: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return Faces().draw(n, torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("size", [8, 32, 64])
def test_render_is_pixels_between_0_and_1(size):
    images = Faces(size).render(factors(5, dtype=torch.float32))
    assert images.shape == (5, 3, size, size)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < 0.1
    assert 0.9 < images.max() <= 1


def test_extreme_factors_stay_in_range():
    corners = torch.randint(2, (200, len(NAMES)), generator=torch.Generator().manual_seed(0)).double()
    images = Faces(16).render(corners)
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_every_factor_is_its_finite_difference(name):
    base = 0.2 + 0.6 * factors(4)
    base.requires_grad_()
    weights = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(f: torch.Tensor) -> torch.Tensor:
        return (Faces(32).render(f) * weights).sum((1, 2, 3))

    (gradient,) = torch.autograd.grad(value(base).sum(), base)
    k, h = NAMES.index(name), 1e-5
    step = h * F.one_hot(torch.tensor(k), len(NAMES)).double()
    numeric = (value(base.detach() + step) - value(base.detach() - step)) / (2 * h)
    torch.testing.assert_close(gradient[:, k], numeric, rtol=1e-3, atol=1e-3)
    assert numeric.abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_every_factor_shows(name):
    """From one end to the other the picture changes all the way: no two values look alike."""
    sweep = factors(1).repeat(9, 1)
    sweep[:, NAMES.index(name)] = torch.linspace(0, 1, 9)
    images = Faces(32).render(sweep).flatten(1)
    distances = torch.cdist(images, images)
    nearest = (distances + 1e9 * torch.eye(9)).min(1).values
    assert nearest.min() > 0.02
    assert (distances.argsort(1)[1:-1, 1:3] - torch.arange(1, 8)[:, None]).abs().max() == 1  # neighbours are nearest


def test_a_mirrored_face_is_the_face_of_mirrored_factors():
    face = factors(8)
    mirrored = face.clone()
    for name in ("gaze", "turn", "light"):
        mirrored[:, NAMES.index(name)] = 1 - face[:, NAMES.index(name)]
    torch.testing.assert_close(Faces(24).render(face).flip(-1), Faces(24).render(mirrored))


def test_two_sizes_show_one_face():
    face = factors(6)
    small, large = Faces(32).render(face), F.avg_pool2d(Faces(128).render(face), 4)
    assert (small - large).abs().mean() < 0.01
    assert (small - large.roll(1, -1)).abs().mean() > 2 * (small - large).abs().mean()


def test_a_face_does_not_depend_on_its_company():
    face = factors(CHUNK + 3)
    together = Faces(8).render(face)
    torch.testing.assert_close(together[-2:], Faces(8).render(face[-2:]))
    assert Faces(8).render(face[:0]).shape == (0, 3, 8, 8)


def test_images_are_what_is_rendered():
    images, face = Faces(16).images(70, torch.Generator().manual_seed(3))
    assert (images.shape, images.dtype) == ((70, 16, 16, 3), torch.uint8)
    wanted = (Faces(16).render(face) * 255).round().byte().permute(0, 2, 3, 1)
    assert torch.equal(images, wanted)
    again, _ = Faces(16).images(70, torch.Generator().manual_seed(3))
    assert torch.equal(images, again)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="size: faces of 4 pixels; give 8 or more"):
        Faces(4)
    with pytest.raises(ValueError, match=r"factors must be \(n, 12\), got \(3, 11\)"):
        Faces().render(torch.zeros(3, 11))
