"""What speed.py measures: one table that both sides build from. Free of JAX and PyTorch.

A training workload's step is all turns of the discriminator and one of the generator; a step of a sampling workload is
a batch of 64 images drawn by the generator in evaluation mode.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SAMPLES = 64  # images of one sampling step, and in a call of PyTorch; ganjax.training.draw takes more in a call


class Settings(NamedTuple):
    """What every child is told."""

    threads: int
    device: str  # cpu or gpu
    precision: str  # float32 or bf16
    data: Path = Path()  # the .npz file of the training examples
    before: Path | None = None  # a checkout of another commit, whose ganjax is the contender "ganjax before"


class Child(NamedTuple):
    """One side of a workload, built."""

    parameters: dict[str, int]  # of each player
    run: Callable[[int], float]  # steps -> a number that must be finite; returns when all is computed
    flops: Callable[[], int | None]  # floating-point operations of one step, where this side counts them
    peak: Callable[[], float | None]  # bytes of the accelerator's memory at most; None on a CPU


class Workload(NamedTuple):
    """The numbers of a game, and its two networks."""

    experiment: str  # file in experiments/
    options: dict[str, Any]  # fields of its config beside those below: the networks as ganjax calls them
    network: str  # the function in peer_networks.py
    sizes: dict[str, Any]  # its arguments
    shape: tuple[int, ...]  # of one example: (height, width, channels) or (dimension,)
    data: str = "random"  # random, pairs, fashion_mnist or ring
    batch: int = 64
    latent: int = 100
    loss: str = "non_saturating"
    penalty: str = "none"
    turns: int = 1  # of the discriminator
    beta1: float = 0.5
    beta2: float = 0.999
    sample: bool = False  # draw images instead of training
    goal: float | None = None  # time of tuned PyTorch over that of ganjax, on a CPU
    gpu_goal: float | None = None  # the same on a GPU
    second_order: bool = False  # torch.compile does not differentiate twice
    peer: str = "peer"  # the module of PyTorch's side

    @property
    def images(self) -> int:
        """Examples of one step: real ones that the discriminator sees, or drawn ones."""
        return SAMPLES if self.sample else self.batch * self.turns

    def config(self, data: Path) -> dict[str, Any]:
        """The fields of the experiment's config; what is not here is not the peer's affair."""
        if self.peer != "peer":  # no game of two
            own = {k: str(data) if v == DATA else v for k, v in self.options.items()}
            return {"data": str(data), "batch_size": self.batch, "ema_decay": DECAY, **own}
        return {
            "data": str(data),
            "batch_size": self.batch,
            "latent": self.latent,
            "loss": self.loss,
            "penalty": self.penalty,
            "penalty_weight": WEIGHT,
            "discriminator_turns": self.turns,
            "learning_rate": LEARNING_RATE,
            "beta1": self.beta1,
            "ema_decay": DECAY,
            **({} if self.beta2 == 0.999 else {"beta2": self.beta2}),
            **self.options,
        }


DATA = "the file of data"  # an option that names it a second time
LEARNING_RATE, DECAY, WEIGHT = 2e-4, 0.999, 10.0  # of Adam, of the averaged generator, of the penalty

_RING = {"generator": (128, 128), "discriminator": (128, 128)}
_MLP = {"generator": (256, 512, 1024), "discriminator": (512, 256)}
TOY8 = Workload(
    "vanilla_gan",
    {f"{player}_hidden": widths for player, widths in _RING.items()},
    "mlp",
    _RING,
    (2,),
    data="ring",
    batch=512,
    latent=16,
    goal=1.5,
    gpu_goal=5.0,
)
MLP28 = Workload(
    "vanilla_gan",
    {f"{player}_hidden": widths for player, widths in _MLP.items()},
    "mlp",
    _MLP,
    (28, 28, 1),
    data="fashion_mnist",
    goal=1.35,
    gpu_goal=5.0,
)
_GP = {"loss": "wasserstein", "penalty": "gradient_penalty", "turns": 5, "second_order": True}
_NORMED = {"width": 64, "discriminator_norm": "batch"}
DCGAN32 = Workload("dcgan_cifar", _NORMED, "dcgan", {"width": 64}, (32, 32, 3), goal=1.25, gpu_goal=5.0)
DCGAN28 = DCGAN32._replace(shape=(28, 28, 1), data="fashion_mnist", goal=1.1)
_PLAIN = {"options": {"width": 64, "discriminator_norm": "none"}, "sizes": {"width": 64, "norm": False}}


def _resnet(experiment: str, generator: int, discriminator: int, **changes: Any) -> Workload:
    return Workload(
        experiment,
        {"width": generator, "discriminator_width": discriminator, "decay_steps": 0},
        "resnet",
        {"generator": generator, "discriminator": discriminator, "critic": experiment == "wgan_gp"},
        (32, 32, 3),
        latent=128,
        turns=5,
        beta1=0.0,
        beta2=0.9,
        **changes,
    )


# Widths of mimicry's networks for 32x32; reduced ones, "_s", are 64 channels in both.
SNGAN32 = _resnet("sngan", 256, 128, loss="hinge", goal=1.2, gpu_goal=2.0)
SNGAN32_S = _resnet("sngan", 64, 64, loss="hinge", goal=1.5)
WGANGP_RES_S = _resnet("wgan_gp", 64, 64, loss="wasserstein", penalty="gradient_penalty", second_order=True, goal=1.5)
WORKLOADS = {
    "toy8": TOY8,
    "mlp28": MLP28,
    "wgangp_mlp": MLP28._replace(**_GP, goal=1.6, gpu_goal=None),
    "dcgan28": DCGAN28,
    "dcgan32": DCGAN32,
    "sngan32_s": SNGAN32_S,
    "sngan32": SNGAN32,
    "wgangp_res_s": WGANGP_RES_S,
    "sample_dcgan": DCGAN32._replace(sample=True, goal=1.5, gpu_goal=None),
    "sample_sngan_s": SNGAN32_S._replace(sample=True, goal=1.2),
}
# Second-order terms through strided convolutions, which objectives.py measures.
OBJECTIVES = {
    "wgan_gp28": DCGAN28._replace(**_PLAIN, **_GP, goal=None),
    "r1_28": DCGAN28._replace(**_PLAIN, penalty="r1", second_order=True, goal=None),
}

# Models with a likelihood, which relatives.py measures.
_GATED = Workload(
    "pixelcnn",
    {"network": "gated", "width": 16, "blocks": 6, "learning_rate": 3e-3, "decay_steps": 0},
    "gated_pixelcnn",
    {"width": 16, "blocks": 6},
    (28, 28, 1),
    data="fashion_mnist",
    goal=1.0,
    peer="peer_relatives",
)
RELATIVES = {
    "vae": Workload(
        "vae",
        {"latent": 50, "hidden": 200, "learning_rate": 1e-3, "decay_steps": 0},
        "vae",
        {"hidden": 200},
        (28, 28, 1),
        data="fashion_mnist",
        batch=100,
        latent=50,
        goal=1.0,
        peer="peer_relatives",
    ),
    "gated_pixelcnn": _GATED,
    "sample_gated_pixelcnn": _GATED._replace(sample=True),
}
# Translators, which translation.py measures.
_PATCHES = {"learning_rate": LEARNING_RATE, "average": "none", "decay_steps": 0}
TRANSLATION = {
    "cyclegan": Workload(
        "cyclegan",
        {**_PATCHES, "target": DATA, "identity": 0.5, "hold": 0, "width": 32, "blocks": 3, "layers": 2},
        "cyclegan",
        {"width": 32, "blocks": 3, "layers": 2},
        (32, 32, 1),
        batch=16,
        goal=1.0,
        peer="peer_translation",
    ),
    "pix2pix": Workload(
        "pix2pix",
        {**_PATCHES, "control": False, "jitter": 0, "downs": 6},
        "pix2pix",
        {"width": 32, "downs": 6, "layers": 2},
        (64, 64, 3),
        data="pairs",
        batch=16,
        goal=1.0,
        peer="peer_translation",
    ),
}
# Generators of styles, which styles.py measures.
_STYLEGAN = Workload(
    "stylegan",
    {"latent": 64, "augment": "none", "mirror": False},
    "stylegan",
    {"layers": 2, "base": 2048, "most": 64},
    (64, 64, 3),
    batch=16,
    latent=64,
    goal=1.0,
    second_order=True,
    peer="peer_styles",
)
STYLES = {"stylegan64": _STYLEGAN, "sample_stylegan64": _STYLEGAN._replace(sample=True)}


def data_file(workload: Workload, folder: Path, count: int = 10_000) -> Path:
    """The .npz file of the training examples, written if need be: the same for both sides."""
    if workload.data == "fashion_mnist":
        return Path(__file__).resolve().parent.parent / "ganjax" / "data" / "embedded" / "fashion_mnist.npz"
    import numpy as np

    path = folder / f"{workload.data}-{'x'.join(map(str, workload.shape))}-{count}.npz"
    if not path.exists():
        rng = np.random.default_rng(0)
        if workload.data == "ring":  # eight Gaussians on a circle of radius 2
            angle = 2 * np.pi * rng.integers(8, size=count) / 8
            x = 2 * np.stack([np.cos(angle), np.sin(angle)], -1) + 0.02 * rng.standard_normal((count, 2))
            x = x.astype(np.float32)
        else:
            x = rng.integers(256, size=(count, *workload.shape), dtype=np.uint8)
        drawings = {"drawing_train": 255 - x[..., :1]} if workload.data == "pairs" else {}
        np.savez(path, x_train=x, **drawings)
    return path
