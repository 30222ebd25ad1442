"""Sizes and activations of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mvm.settings import Settings

__all__ = ["NetworkSettings"]

Activation = Literal["relu", "leaky_relu", "silu", "swish4"]


class NetworkSettings(Settings):
    """Sizes of the generator f_θ and the metric network g_w."""

    width: int = Field(64, ge=4, le=2048, description="points: units in each hidden layer of both networks")
    depth: int = Field(3, ge=1, le=8, description="points: hidden layers of both networks")
    activation: Activation = Field(
        "relu",
        title="Metric activation",
        description="points: the metric's activation; with smooth ones fakes lie less closely on the manifold",
    )
    generator_activation: Activation = Field(
        "swish4", description="points: the generator's activation; swish4, x σ(4x), is ReLU with a rounded corner"
    )
    noise_dim: int = Field(4, ge=1, le=512, description="m: dimension of the generator's Gaussian input")
    embedding_dim: int = Field(10, ge=1, le=512, description="n: dimension of the learned metric's embedding")
    frequencies: Annotated[tuple[float, ...], Field(max_length=16)] = Field(
        (),
        description="points: append sines and cosines of these frequencies to the metric's input, which has standard "
        "deviation 1, so that the metric resolves smaller scales",
    )
    unit_embedding: bool = Field(False, description="scale every embedding to length 1 (published StyleGAN2 variant)")
    channels: int = Field(128, ge=4, le=1024, description="pictures: channels of the generator's residual blocks")
    metric_channels: int = Field(
        32, ge=4, le=256, description="pictures: channels of the metric's first layer; each further layer doubles them"
    )

    backbone: Literal["small", "srresnet", "rdn", "nsrnet"] = Field(
        "small", description="super-resolution: the generator; small has 89 thousand weights, the others their papers'"
    )
    discriminator: Literal["light", "srgan"] = Field(
        "light", description="super-resolution: the discriminator of a GAN; srgan is the paper's of that name"
    )

    @field_validator("frequencies")
    @classmethod
    def _positive(cls, frequencies: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < frequency <= 1000 for frequency in frequencies):
            raise ValueError("each frequency must be above 0, and at most 1000")
        return frequencies
