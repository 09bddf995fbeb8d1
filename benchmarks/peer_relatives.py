"""The PyTorch side of `relatives.py`: a variational autoencoder and Gated PixelCNN, as a PyTorch user writes them.

Three variants of a training step: eager, the plain loop; tuned, with fused Adam, the average in one call, denormals
flushed and channels last; compiled, tuned with the cost through torch.compile. An image is drawn by a pass of the
network for each of its pixels: eager of the whole image; tuned in inference mode, and of those rows alone that the
pixel's windows reach, which says the same; compiled, that through torch.compile.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, conv2d, pad
from workloads import DECAY, SAMPLES, Child, Settings, Workload


class VAE(nn.Module):
    """Burda's one-layer network: two layers of tanh units each way."""

    def __init__(self, shape: tuple[int, ...], latent: int, hidden: int):
        super().__init__()
        size = int(np.prod(shape))

        def mlp(first: int, last: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(first, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, last)
            )

        self.encoder, self.decoder = mlp(size, 2 * latent), mlp(latent, size)

    def cost(self, x: Tensor) -> Tensor:
        """Minus the evidence lower bound of binary images, a mean over examples."""
        x = x.flatten(1)
        mean, log_std = self.encoder(x).chunk(2, 1)
        logits = self.decoder(mean + log_std.exp() * torch.randn_like(mean))
        divergence = (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum() / 2
        return (binary_cross_entropy_with_logits(logits, x, reduction="sum") + divergence) / len(x)


class Masked(nn.Module):
    """A convolution of rows up to a pixel's own, of which it sees what lies left of it, and itself unless masked."""

    def __init__(self, first: int, last: int, size: tuple[int, int] = (1, 1), right: int = 0, *, hide: bool = False):
        super().__init__()
        rows, columns = size
        self.weight = nn.Parameter(torch.randn(last, first, rows, columns) / (first * rows * columns) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(last))
        self.padding = (columns - 1 - right, right, rows - 1, 0)
        mask = torch.ones(1, 1, rows, columns)
        mask[..., -1, columns - 1 - right] = not hide
        self.register_buffer("mask", mask, persistent=False)
        self.hide = hide

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(pad(x, self.padding), self.weight * self.mask if self.hide else self.weight, self.bias)


def gate(h: Tensor) -> Tensor:
    a, b = h.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class GatedPixelCNN(nn.Module):
    """Two stacks of `blocks` + 1 layers on grey images, a logit for each pixel."""

    def __init__(self, shape: tuple[int, ...], latent: int, width: int, blocks: int):
        super().__init__()
        del latent
        self.shape = shape
        many = range(blocks + 1)
        self.down = nn.ModuleList(
            Masked(width if i else 1, 2 * width, (2, 3) if i else (4, 7), 1 if i else 3) for i in many
        )
        self.link = nn.ModuleList(Masked(2 * width, 2 * width) for _ in many)
        self.across = nn.ModuleList(Masked(width if i else 1, 2 * width, (1, 2 if i else 4), hide=not i) for i in many)
        self.join = nn.ModuleList(Masked(width, width) for _ in many)
        self.out = nn.Sequential(nn.ReLU(), Masked(width, width), nn.ReLU(), Masked(width, 1))
        self.reach = 4 + blocks  # rows of a pixel's windows above its own, and that row

    def forward(self, x: Tensor) -> Tensor:
        v, h = pad(x, (0, 0, 1, 0))[:, :, :-1], x
        for i, (down, link, across, join) in enumerate(zip(self.down, self.link, self.across, self.join, strict=True)):
            v = down(v)
            g = join(gate(across(h) + link(v)))
            h = h + g if i else g
            v = gate(v)
        return self.out(h)

    def cost(self, x: Tensor) -> Tensor:
        """Nats of binary images, a mean over examples; the network sees -1 and 1."""
        return binary_cross_entropy_with_logits(self(2 * x - 1), x, reduction="sum") / len(x)


NETWORKS = {"vae": VAE, "gated_pixelcnn": GatedPixelCNN}


def create(workload: Workload, settings: Settings, variant: str) -> Child:
    """Build a variant of a workload."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    network = NETWORKS[workload.network](workload.shape, workload.latent, **workload.sizes)
    if variant != "eager":
        torch.set_flush_denormal(True)
        network.to(memory_format=torch.channels_last)
    run = (_sampling if workload.sample else _training)(workload, settings, variant, network)
    return Child(_parameters(network), lambda steps: run(steps).item(), lambda: _flops(workload, network), lambda: None)


def _parameters(network: nn.Module) -> dict[str, int]:
    """Of each player of ganjax."""
    parts = {"encoder": network.encoder, "decoder": network.decoder} if isinstance(network, VAE) else {"model": network}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def _flops(workload: Workload, network: nn.Module) -> int:
    """2 for each multiplication of a forward pass, three times that of a training step."""
    positions = int(np.prod(workload.shape)) if workload.network == "gated_pixelcnn" else 1
    once = 2 * positions * sum(p.numel() for p in network.parameters() if p.ndim > 1)
    return SAMPLES * once if workload.sample else 3 * workload.batch * once


def _training(workload: Workload, settings: Settings, variant: str, network: nn.Module) -> Callable[[int], Tensor]:
    """`run(steps) -> the last cost`."""
    tuned = variant != "eager"
    average = copy.deepcopy(network).requires_grad_(False)
    mean, latest = list(average.parameters()), [p.detach() for p in network.parameters()]
    adam = torch.optim.Adam(network.parameters(), lr=workload.options["learning_rate"], fused=tuned or None)
    data = torch.from_numpy(np.load(settings.data)["x_train"]).permute(0, 3, 1, 2).contiguous()
    cost_of = torch.compile(network.cost) if variant == "compiled" else network.cost

    def step() -> Tensor:
        x = data[torch.randint(len(data), (workload.batch,))].float() / 255
        cost = cost_of((torch.rand_like(x) < x).float())
        adam.zero_grad()
        cost.backward()
        adam.step()
        if tuned:
            torch._foreach_lerp_(mean, latest, 1 - DECAY)
        else:
            for old, new in zip(mean, latest, strict=True):
                old.lerp_(new, 1 - DECAY)
        return cost.detach()

    return lambda steps: [step() for _ in range(steps)][-1]


def _sampling(workload: Workload, settings: Settings, variant: str, network: nn.Module) -> Callable[[int], Tensor]:
    """`run(steps)` draws as many batches, pixel after pixel; the mean pixel of the last one."""
    del settings
    height, width, _ = workload.shape
    say = torch.compile(network) if variant == "compiled" else network

    def batch() -> Tensor:
        x = torch.zeros(SAMPLES, 1, height, width)
        for row in range(height):
            first = 0 if variant == "eager" else max(0, row + 1 - network.reach)
            last = height if variant == "eager" else row + 1
            for column in range(width):
                logits = say(x[:, :, first:last])[:, 0, row - first, column]
                x[:, 0, row, column] = 2 * torch.bernoulli(logits.sigmoid()) - 1
        return x

    def run(steps: int) -> Tensor:
        with torch.no_grad() if variant == "eager" else torch.inference_mode():
            return [batch() for _ in range(steps)][-1].mean()

    return run
