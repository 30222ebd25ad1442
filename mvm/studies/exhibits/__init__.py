"""The survey's results as exhibits, by name. An exhibit is a function that measures, a text, and one line here.

mvm claims --survey             measures all
the page Exhibits               shows them
"""

from __future__ import annotations

from mvm.studies.exhibits.densities import FLOW, measure_likelihood, measure_noise, measure_overfitting
from mvm.studies.exhibits.exhibit import Exhibit, Panel, Result, Series
from mvm.studies.exhibits.latents import measure_autoencoder, measure_bound, measure_topology
from mvm.studies.exhibits.level_sets import measure_level_sets
from mvm.studies.exhibits.samples import DATA, PEERS, measure_peers, measure_score, measure_weak_losses

__all__ = ["EXHIBITS", "SURVEY", "Exhibit", "Panel", "Result", "Series"]

SURVEY = "Loaiza-Ganem et al., *Deep generative models through the lens of the manifold hypothesis*, TMLR 2024"

EXHIBITS: dict[str, Exhibit] = {
    "likelihood": Exhibit(
        title="On a curve, likelihood grows without bound",
        description="A *full-dimensional density* gives every region of space a probability, and *likelihood* is "
        "the density at data points: what normalizing flows, VAEs and energy-based models are trained to raise. If "
        "all data lie on a "
        "curve, the density may become a ridge over it, ever narrower and ever higher: likelihood has no maximum, "
        "and "
        "training never converges. The more dimensions the space around the curve has (the *ambient dimension*), the "
        "more directions there are in which the ridge can narrow. Data with a little noise fill the space, and their "
        "likelihood levels off.",
        source="theorem 1 (likelihood instability); Fig. 3",
        criterion="in each ambient dimension, held-out log-likelihood on the curve still rises in the second half of "
        "the training, by at least .1 nats and by more than for data with noise, and its gain over noisy data grows "
        "with the ambient dimension",
        knob="Ambient dimension",
        settings={**FLOW, "ambient_dim": 8},
        shown={
            "late rise, 2": "rise in the second half: 2 dimensions",
            "late rise, 8": "8 dimensions",
            "late rise with noise, 8": "8 dimensions, data with noise",
        },
        measure=measure_likelihood,
    ),
    "overfitting": Exhibit(
        title="Likelihood rises while the distribution on the curve is wrong",
        description="What a ridge over the curve says of *where along the curve* data are frequent hardly changes "
        "its "
        "likelihood: that is ruled by the ridge's height, which has no limit. So a training can reach a high "
        "likelihood with a wrong distribution along the curve: *manifold overfitting*. "
        "*Total variation* is half the area between two densities: 0 if they are equal, 1 if nothing overlaps.",
        source="section on manifold overfitting; Fig. 5",
        criterion="from a fifth of the training to its end, log-likelihood rises by at least half a nat, and total "
        "variation at the end is above its lowest value before (a weak test: its median still falls)",
        knob="Training step",
        settings=FLOW,
        shown={
            "likelihood, early": "log-likelihood: early",
            "likelihood, end": "at the end",
            "error, early": "total variation: early",
            "error, end": "at the end",
        },
        measure=measure_overfitting,
    ),
    "noise": Exhibit(
        title="Noise is a remedy, and can be taken away again",
        description="Add Gaussian noise of standard deviation σ to the data: they fill the space, likelihood is "
        "bounded, and "
        "its maximum is the right distribution, blurred. The blur can be removed from samples: *Tweedie's formula* "
        "moves a noisy point to the mean of the data points that it may come from, x + σ² ∇ log p(x). Too little "
        "noise may not help; too much blurs the curve's bends.",
        source="section on adding noise",
        criterion="with σ = 0.1, the total variation along the curve is lower than without noise, and denoising at "
        "least halves the samples' median distance to the curve",
        knob="Noise σ",
        settings={**FLOW, "normalizing_flow": {"couplings": 4, "noise": 0.1}},
        shown={
            "error, σ = 0": "total variation: σ = 0",
            "error, σ = 0.1": "σ = 0.1",
            "off, σ = 0.1": "median distance to the curve, σ = 0.1",
            "off, denoised, σ = 0.1": "denoised",
        },
        measure=measure_noise,
    ),
    "autoencoder": Exhibit(
        title="A perfect autoencoder is not yet a model",
        description="An *autoencoder* is two networks: an encoder takes a data point to a few numbers, its "
        "*latents*, and a "
        "decoder takes them back. Here it learns to reconstruct a circle nearly without error. That says nothing of "
        "latents that no data point has: the decoder takes them off the circle. Its outputs do not tell where the "
        "data "
        "are; the latents need a distribution of their own. The survey's figure also shows a point off the data that "
        "is reconstructed perfectly; whether that "
        "occurs here is measured, too: the share below is 0 where it does not.",
        source="Fig. 2",
        criterion="outputs for Gaussian latents are on average at least 5 times as far from the circle as real "
        "points "
        "are from their reconstructions",
        knob="What is decoded",
        settings={"data": "circle", "method": "two_step", "two_step": {"prior": "gaussian"}},
        shown={
            "reconstruction error": "mean reconstruction error",
            "off the manifold": "mean distance of outputs to the circle",
            "of these, reconstructed like data": "share of outputs off the circle that are reconstructed like data",
        },
        measure=measure_autoencoder,
    ),
    "topology": Exhibit(
        title="A line of latents misfits a circle; a plane bridges two",
        description="Encoder and decoder are continuous: they bend and stretch, but cannot tear. A line (one "
        "latent) cannot be closed to a circle: neighbours on the circle are encoded at the two ends, and "
        "the points between are reconstructed badly. A plane of latents (two dimensions) is in one piece, and two "
        "separate circles are not: samples lie on bridges between them.",
        source="section on topology",
        criterion="the worst reconstruction with 1 latent dimension is over 5 times that with 2, and at least 1 % "
        "of the samples for two circles, and at least twice the share for one, lie farther than 0.1 from the data",
        knob="Data and latents",
        settings={
            "data": "two_circles",
            "method": "two_step",
            "network": {"noise_dim": 2, "embedding_dim": 2},
        },
        shown={
            "worst reconstruction, 1 latent": "worst reconstruction of a circle: 1 latent",
            "worst reconstruction, 2 latents": "2 latents",
            "between, circle": "samples off the data: circle",
            "between, two circles": "two circles",
        },
        measure=measure_topology,
    ),
    "level_sets": Exhibit(
        title="Level sets can fit holes and pieces",
        description="A curve in the plane can also be given by an equation, F(x) = 0: a *level set*. Here F is a "
        "network that "
        "learns to vanish at the data and nowhere else, a *neural implicit manifold*. It needs no latents, so "
        "nothing is torn or bridged: two circles are one equation. Points are brought onto the curve by Newton's "
        "method, and an energy learned on it says where along the curve data are frequent.",
        source="section on topology: neural implicit manifolds",
        criterion="on each of the three data sets at most 1 % of the samples lie farther than 0.1 from the data",
        knob="Data",
        settings={"data": "two_circles", "method": "implicit"},
        shown={
            "off, circle": "share of samples off the data: circle",
            "off, two circles": "two circles",
            "off, concentric circles": "concentric circles",
        },
        measure=measure_level_sets,
    ),
    "bound": Exhibit(
        title="Two steps bound the distance to the data",
        description="A *two-step model* is an autoencoder and a model of its latents. *W₂*, the Wasserstein "
        "distance, is the least root mean square move that turns one sample into another. Moving samples to data "
        "can be done "
        "by first moving their latents: so W₂ is at most the reconstruction error plus L times W₂ of the latents, "
        "where L is by how much the decoder stretches distances (its *Lipschitz constant*; here on the pairs of "
        "latents that are moved to each other, which is what the proof needs: with it the bound cannot fail, and "
        "the picture shows how tight it is). Lowering the bound is one argument for latent diffusion models.",
        source="two-step models and Wasserstein distance (the survey's second new result)",
        criterion="W₂ is at most the bound at every measured step of both trainings",
        knob="Model of the latents",
        settings={
            "data": "circle",
            "method": "two_step",
            "two_step": {"prior": "diffusion"},
        },
        shown={
            "W₂, gaussian": "W₂: Gaussian latents",
            "bound, gaussian": "bound",
            "W₂, diffusion": "W₂: diffusion latents",
            "bound, diffusion": "bound ",
        },
        measure=measure_bound,
    ),
    "score": Exhibit(
        title="The score explodes at the manifold, and tells its dimension",
        description="The *score* is the gradient of the log-density, ∇ log p; diffusion models learn "
        "it for "
        "data with noise of every size σ. Near a manifold of d dimensions in D it points back to the manifold; its "
        "length grows as √(D − d) / σ, so that at σ = 0 it does not exist. What makes "
        "training hard is also a measurement: D minus the mean of σ² ‖score‖² is the dimension d of the data, read "
        "off a trained model.",
        source="sections on diffusion models and on intrinsic dimension",
        criterion="at σ = 0.087 the dimension is right to within 0.25, and the score's length scales as a power of "
        "σ within 0.15 of −1 from σ = 0.25 to 0.03, on all three data sets",
        knob="Data",
        settings={"data": "circle", "method": "diffusion"},
        shown={
            "dimension, circle": "dimension at σ = 0.087: circle",
            "dimension, circle in 4 dimensions": "circle in 4 dimensions",
            "dimension, sphere": "sphere",
            "slope, circle": "power of σ, circle",
        },
        measure=measure_score,
    ),
    "weak_losses": Exhibit(
        title="Weak losses see a manifold",
        description="The *Kullback–Leibler divergence* (KL), which maximum likelihood descends, is infinite between "
        "two "
        "curves that do not overlap, be they far apart or nearly equal: it cannot say which way to go. *Weak "
        "losses* such as W₂, sliced W₂ (W₂ of projections to lines) and MMD (*maximum mean discrepancy*, a distance "
        "of the means of many features) fall smoothly to zero as one curve moves onto the other. A generator whose "
        "samples lie on a curve can descend "
        "them. MvM (manifold matching, this lab's model) does the same with features that it learns: those of its "
        "*metric network*.",
        source="section on weak convergence; Figs. 3 and 4",
        criterion="W₂, sliced W₂ and MMD fall at every step as one circle is shifted onto another, and training by "
        "each of MMD, sliced W₂ and MvM lowers W₂ to below a fifth of its value before training",
        knob="Loss",
        settings={"data": "circle", "method": "moment_matching"},
        shown={
            "W₂ / baseline, untrained": "W₂ / baseline: untrained",
            "W₂ / baseline, MMD": "MMD",
            "W₂ / baseline, sliced W₂": "sliced W₂",
            "W₂ / baseline, MvM": "MvM",
        },
        measure=measure_weak_losses,
    ),
    "peers": Exhibit(
        title="MvM among the survey's models",
        description="Seven models with the same number of training steps, of 128 points each, on three data sets. "
        "The number "
        "is W₂ to held-out data over its *baseline*, W₂ between two real samples: 1 is as good as real. Like MMD "
        "and sliced W₂, MvM matches samples; its question is whether a learned metric pays: its medians here are "
        "lower than theirs. It loses to diffusion on one circle and on two; diffusion evaluates its network 39 "
        "times for a sample, "
        "MvM once. Equal steps are not equal time, and no model but MvM had its defaults tuned on such data.",
        source="Table 1 (the survey's overview of models)",
        criterion="W₂ of MvM is below that of both models trained by likelihood, VAE and normalizing flow, on all "
        "three data sets",
        knob="Data",
        settings={"data": "circle", "method": "mvm"},
        shown={},
        measure=measure_peers,
        table=(tuple(DATA), tuple(PEERS)),
    ),
}
