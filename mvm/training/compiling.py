"""When compiling networks pays: seconds that compiled steps save, against the seconds that compiling takes.

    saved = steps · V · 12.0 ms · batch/256 · (size/64)² · channels/128
    cost  = V · 55 s
    compile if saved > cost

Measured on an NVIDIA H100 at 64 x 64, 128 channels, batch 256, the default recipe: 7,048 images/s as a captured graph,
10,516 with compiled networks in it, after 55 s of compiling with an empty cache. The compiler fuses operations that
read and write whole arrays of activations; what they cost is proportional to the size of these arrays, from which the
rule extrapolates to other sizes. A whole run is judged, not the steps that are left: a resumed run computes by the same
kernels as before, which it finds in the compiler's cache. Perceptrons have no rule, as nothing is measured for them.
"""

from __future__ import annotations

__all__ = ["COLD_SECONDS", "SAVED_SECONDS", "seconds_gained"]

COLD_SECONDS = 55.0
SAVED_SECONDS = 256 / 7_048 - 256 / 10_516  # per step at 64 x 64, 128 channels, batch 256


def seconds_gained(steps: int, *, size: int, channels: int, batch: int, members: int) -> float:
    """Seconds that compiling saves in a training on a GPU, compiling included; negative if it does not pay.

    Args:
        steps: of the whole training.
        size: height and width of the pictures in pixels.
        channels: of the generator.
        batch: pictures per batch.
        members: V, number of networks trained together; each is compiled.
    """
    work = batch / 256 * (size / 64) ** 2 * channels / 128
    return members * (steps * SAVED_SECONDS * work - COLD_SECONDS)
