"""The PyTorch side of `speed.py`: the game and the work of a ganjax step, as a PyTorch user writes them.

Three variants of the same step:

    eager     the plain training loop of most tutorials: contiguous, Adam's loop over tensors, fakes detached
    tuned     what pays: channels-last, fused Adam, no graph for the discriminator's fakes, its weights frozen in the
              generator's turn, real and fake in one pass where the discriminator has no BatchNorm, the average in one
              call, denormals flushed
    compiled  tuned, with both costs through torch.compile

Sampling is eager without gradients, tuned in inference mode and channels-last, or that compiled.
"""

import contextlib
import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import peer_networks
import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from workloads import DECAY, LEARNING_RATE, SAMPLES, WEIGHT, Child, Settings, Workload

# The discriminator's cost from logits of real and fake examples, and the generator's.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non_saturating": (
        lambda real, fake: (softplus(-real) + softplus(fake)).mean(),
        lambda fake: softplus(-fake).mean(),
    ),
    "hinge": (lambda real, fake: (relu(1 - real) + relu(1 + fake)).mean(), lambda fake: -fake.mean()),
    "wasserstein": (lambda real, fake: (fake - real).mean(), lambda fake: -fake.mean()),
}


def create(workload: Workload, settings: Settings, variant: str) -> Child:
    """Build a variant of a workload."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if settings.device == "gpu" else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = variant != "eager"
    networks = getattr(peer_networks, workload.network)(workload.shape, workload.latent, **workload.sizes)
    generator, discriminator = (network.to(device) for network in networks)
    if variant != "eager":
        torch.set_flush_denormal(True)
        generator.to(memory_format=torch.channels_last)
        discriminator.to(memory_format=torch.channels_last)
    precision = contextlib.nullcontext
    if settings.precision == "bf16":
        precision = lambda: torch.autocast(device.type, torch.bfloat16)  # noqa: E731
    make = _sampling if workload.sample else _training
    flops = partial(_flops, workload, generator, discriminator, device)
    run = make(workload, settings, variant, device, precision, generator, discriminator)
    players = {"discriminator": discriminator, "generator": generator}
    parameters = {name: sum(p.numel() for p in module.parameters()) for name, module in players.items()}

    def timed(steps: int) -> float:
        last = run(steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return last.item()

    def peak() -> float | None:
        return torch.cuda.max_memory_allocated() if device.type == "cuda" else None

    return Child(parameters, timed, flops, peak)


def _flops(workload: Workload, generator: nn.Module, discriminator: nn.Module, device: torch.device) -> int:
    """Operations of the matrix products and convolutions that a step cannot do without, 2 for each multiplication.

    With G and D for the forward passes of a batch, and their first layers G1 and D1, whose input needs no gradient:

        discriminator's turn    G + 6 D - 2 D1, and 4 D for a penalty on points of its own, 3 D on the real examples
        generator's turn        3 G - G1 + 2 D

    A penalty is a forward pass, the gradient in x, and that one's derivatives in weights and slopes; the second
    derivative of (leaky) ReLU is zero.
    """
    count = SAMPLES if workload.sample else workload.batch
    training = generator.training
    with torch.no_grad():
        g, g1 = _forward_flops(generator.eval(), torch.randn(count, workload.latent, device=device))
        generator.train(training)
        if workload.sample:
            return g
        *sides, channels = workload.shape
        d, d1 = _forward_flops(discriminator, torch.randn(count, channels, *sides, device=device))
    penalty = {"none": 0, "r1": 3}.get(workload.penalty, 4)
    return workload.turns * (g + (6 + penalty) * d - 2 * d1) + 3 * g - g1 + 2 * d


def _forward_flops(network: nn.Module, x: Tensor) -> tuple[int, int]:
    """Of all layers and of the first one."""
    counts: list[int] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output  # [B, C] or [B, C, H, W]
        counts.append(2 * layer.weight.numel() * x.numel() // x.shape[1])

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    hooks = [layer.register_forward_hook(hook) for layer in network.modules() if isinstance(layer, kinds)]
    network(x)
    for handle in hooks:
        handle.remove()
    return sum(counts), counts[0]


class Costs(NamedTuple):
    """What both players pay, as this variant computes it."""

    fakes: Callable[[Tensor], Tensor]  # of latents
    discriminator: Callable[[Tensor, Tensor], Tensor]  # of real and fake examples
    generator: Callable[[Tensor], Tensor]  # of latents


def _costs(
    workload: Workload,
    joined: bool,
    device: torch.device,
    precision: Callable[[], contextlib.AbstractContextManager],
    generator: nn.Module,
    discriminator: nn.Module,
) -> Costs:
    """The costs of both; `joined` shows real and fake examples to the discriminator in one pass."""
    d_loss, g_loss = LOSSES[workload.loss]

    def slopes(x: Tensor) -> Tensor:
        """The gradient of each example's logit, [B, size], differentiable once more; in full precision."""
        with torch.autocast(device.type, enabled=False):
            x = x.float().requires_grad_(True)
            return torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0].flatten(1)

    def penalty(real: Tensor, fake: Tensor) -> Tensor:
        if workload.penalty == "gradient_penalty":
            e = torch.rand(workload.batch, *[1] * (real.ndim - 1), device=device)
            return WEIGHT * (slopes(e * real + (1 - e) * fake).norm(dim=1) - 1).square().mean()
        return WEIGHT / 2 * slopes(real).square().sum(1).mean()

    def discriminator_cost(real: Tensor, fake: Tensor) -> Tensor:
        with precision():
            logits = discriminator(torch.cat([real, fake])).chunk(2) if joined else map(discriminator, (real, fake))
            cost = d_loss(*(part.float() for part in logits))
        return cost if workload.penalty == "none" else cost + penalty(real, fake)

    def generator_cost(z: Tensor) -> Tensor:
        with precision():
            return g_loss(discriminator(generator(z)).float())

    def fakes(z: Tensor) -> Tensor:
        with precision():
            return generator(z)

    return Costs(fakes, discriminator_cost, generator_cost)


def _examples(workload: Workload, settings: Settings, device: torch.device) -> Callable[[], Tensor]:
    """Draws a batch of training examples."""
    data = torch.from_numpy(np.load(settings.data)["x_train"])
    data = (data.permute(0, 3, 1, 2).contiguous() if data.ndim == 4 else data).to(device)

    def examples() -> Tensor:
        x = data[torch.randint(len(data), (workload.batch,), device=device)]
        return x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x

    return examples


def _averaged(module: nn.Module) -> list[Tensor]:
    """What ganjax averages: parameters and BatchNorm statistics."""
    return [t.detach() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]


def _training(
    workload: Workload,
    settings: Settings,
    variant: str,
    device: torch.device,
    precision: Callable[[], contextlib.AbstractContextManager],
    generator: nn.Module,
    discriminator: nn.Module,
) -> Callable[[int], Tensor]:
    """`run(steps) -> the discriminator's last cost`."""
    tuned = variant != "eager"
    joined = tuned and not any(isinstance(layer, nn.BatchNorm2d) for layer in discriminator.modules())
    average = copy.deepcopy(generator).requires_grad_(False)
    adam = {"lr": LEARNING_RATE, "betas": (workload.beta1, workload.beta2), "fused": tuned or None}
    d_adam = torch.optim.Adam(discriminator.parameters(), **adam)
    g_adam = torch.optim.Adam(generator.parameters(), **adam)
    examples = _examples(workload, settings, device)
    costs = _costs(workload, joined, device, precision, generator, discriminator)
    if variant == "compiled":
        costs = Costs(*map(torch.compile, costs))
    mean, latest = _averaged(average), _averaged(generator)

    def latents() -> Tensor:
        return torch.randn(workload.batch, workload.latent, device=device)

    def step() -> Tensor:
        for _ in range(workload.turns):
            real = examples()
            with torch.set_grad_enabled(not tuned):
                fake = costs.fakes(latents())
            d_cost = costs.discriminator(real, fake.detach().float())
            d_adam.zero_grad()
            d_cost.backward()
            d_adam.step()

        if tuned:
            discriminator.requires_grad_(False)
        g_cost = costs.generator(latents())
        g_adam.zero_grad()
        g_cost.backward()
        g_adam.step()
        if tuned:
            discriminator.requires_grad_(True)
            torch._foreach_lerp_(mean, latest, 1 - DECAY)
        else:
            for old, new in zip(mean, latest, strict=True):
                old.lerp_(new, 1 - DECAY)
        return d_cost.detach()

    return lambda steps: [step() for _ in range(steps)][-1]


def _sampling(
    workload: Workload,
    settings: Settings,
    variant: str,
    device: torch.device,
    precision: Callable[[], contextlib.AbstractContextManager],
    generator: nn.Module,
    discriminator: nn.Module,
) -> Callable[[int], Tensor]:
    """`run(steps)` draws as many batches, as uint8 images in the host's memory; the mean pixel of the last one."""
    del settings, discriminator
    generator.eval()
    draw = torch.compile(generator) if variant == "compiled" else generator

    def run(steps: int) -> Tensor:
        with torch.no_grad() if variant == "eager" else torch.inference_mode(), precision():
            images = [
                ((draw(torch.randn(SAMPLES, workload.latent, device=device)).float() + 1) * 127.5)
                .round_()
                .clamp_(0, 255)
                .to(torch.uint8)
                .cpu()
                for _ in range(steps)
            ]
            return torch.cat(images)[-1].float().mean()

    return run
