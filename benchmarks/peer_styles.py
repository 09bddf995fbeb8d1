"""The PyTorch side of `styles.py`: StyleGAN2 with the grouped convolutions of the authors' PyTorch code.

Two variants of a step: eager, and tuned with channels last, fused Adam, fakes without a graph in the discriminator's
turn, a frozen discriminator in the generator's, the average in one call and denormals flushed. torch.compile does not
differentiate twice.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, softplus
from torch.utils.flop_counter import FlopCounterMode
from workloads import DECAY, SAMPLES, Child, Settings, Workload

RATE, R1_EVERY, PATH_EVERY, PATH_WEIGHT, MIXING, GROUP = 2.5e-3, 16, 4, 2.0, 0.9, 4


def activation(x: Tensor) -> Tensor:
    return math.sqrt(2) * leaky_relu(x, 0.2)


def smoothed(x: Tensor, padding: int, *, stride: int = 1, double: bool = False) -> Tensor:
    """By [1, 3, 3, 1] along each side."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    if double:
        return conv_transpose2d(x, 4 * kernel, stride=2, padding=padding, groups=x.shape[1])
    return conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])


class Linear(nn.Module):
    """With equalised learning rates."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        scale = self.rate / math.sqrt(self.weight.shape[1])
        return x @ (self.weight * scale).T + self.bias * self.rate


class Modulated(nn.Module):
    """A kernel for each example, in one grouped convolution."""

    def __init__(self, inputs: int, outputs: int, size: int, side: int = 3, *, up: bool = False, image: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.style, self.bias = Linear(size, inputs, bias=1.0), nn.Parameter(torch.zeros(outputs))
        self.noise = None if image else nn.Parameter(torch.zeros(()))
        self.up = up

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        outputs, _, side, _ = self.weight.shape
        style = self.style(w) * (1 if self.noise is not None else channels**-0.5)
        kernel = self.weight[None] * style[:, None, :, None, None]
        if self.noise is not None:
            kernel = kernel * (kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, batch * channels, height, width)
        if self.up:
            kernel = kernel.transpose(1, 2).reshape(batch * channels, outputs, side, side)
            x = conv_transpose2d(x, kernel, stride=2, groups=batch)
            x = 4 * smoothed(x.reshape(batch, outputs, *x.shape[2:]), 1)
        else:
            kernel = kernel.reshape(batch * outputs, channels, side, side)
            x = conv2d(x, kernel, padding=side // 2, groups=batch).reshape(batch, outputs, height, width)
        if self.noise is None:
            return x + self.bias[:, None, None]
        return activation(x + self.noise * torch.randn(batch, 1, *x.shape[2:]) + self.bias[:, None, None])


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, shape: tuple[int, ...], size: int, layers: int, base: int, most: int):
        super().__init__()
        of = lambda side: min(base // side, most)  # noqa: E731
        self.mapping = nn.ModuleList(Linear(size, size, 0.01) for _ in range(layers))
        self.start = nn.Parameter(torch.randn(of(4), 4, 4))
        self.register_buffer("w_avg", torch.zeros(size))
        self.convs, self.images = nn.ModuleList(), nn.ModuleList()
        for k in range(2, int(math.log2(shape[0])) + 1):
            if k > 2:
                self.convs.append(Modulated(of(2 ** (k - 1)), of(2**k), size, up=True))
            self.convs.append(Modulated(of(2**k), of(2**k), size))
            self.images.append(Modulated(of(2**k), shape[-1], size, 1, image=True))
        self.layers = len(self.convs) + 1

    def styles(self, z: Tensor) -> Tensor:
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = activation(layer(w))
        return w

    def mixed(self, z: Tensor, other: Tensor) -> Tensor:
        cut = torch.randint(1, self.layers, (len(z),))
        cut = torch.where(torch.rand(len(z)) < MIXING, cut, self.layers)
        w = self.styles(z)
        if self.training:
            self.w_avg.lerp_(w.detach().mean(0), 0.005)
        later = torch.arange(self.layers)[None] >= cut[:, None]
        return torch.where(later[..., None], self.styles(other)[:, None], w[:, None])

    def forward(self, w: Tensor) -> Tensor:
        x, image = self.start.expand(len(w), *self.start.shape), None
        for place, conv in enumerate(self.convs):
            x = conv(x, w[:, place])
            if place % 2 == 0:
                said = self.images[place // 2](x, w[:, place + 1])
                image = said if image is None else smoothed(image, 1, double=True) + said
        return image


class Conv(nn.Module):
    """With equalised learning rates; of the smoothed map with stride 2."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, *, down: bool = False, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight / math.sqrt(self.weight[0].numel())
        if self.down:
            return conv2d(smoothed(x, 2), kernel, self.bias, stride=2)
        return conv2d(x, kernel, self.bias, padding=kernel.shape[-1] // 2)


class Discriminator(nn.Module):
    """Residual, with the deviation over groups."""

    def __init__(self, shape: tuple[int, ...], base: int, most: int):
        super().__init__()
        of = lambda side: min(base // side, most)  # noqa: E731
        self.first, self.blocks = Conv(shape[-1], of(shape[0]), 1), nn.ModuleList()
        for k in range(int(math.log2(shape[0])), 2, -1):
            last, own = of(2**k), of(2 ** (k - 1))
            self.blocks.append(
                nn.ModuleList([Conv(last, last), Conv(last, own, down=True), Conv(last, own, 1, bias=False)])
            )
        self.conv, self.dense, self.logit = Conv(of(4) + 1, of(4)), Linear(16 * of(4), of(4)), Linear(of(4), 1)

    def forward(self, x: Tensor) -> Tensor:
        h = activation(self.first(x))
        for conv, down, short in self.blocks:
            h = (activation(down(activation(conv(h)))) + short(smoothed(h, 1, stride=2))) * math.sqrt(0.5)
        groups = h.reshape(GROUP, -1, *h.shape[1:])
        deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(GROUP)
        h = torch.cat([h, deviation[:, None, None, None].expand(-1, 1, *h.shape[2:])], 1)
        return self.logit(activation(self.dense(activation(self.conv(h)).flatten(1))))[:, 0]


def create(workload: Workload, settings: Settings, variant: str) -> Child:
    """Build a variant of a workload."""
    if variant == "compiled":
        raise RuntimeError("left out: torch.compile does not differentiate twice")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    sizes = workload.sizes
    g = Generator(workload.shape, workload.latent, **sizes)
    d = Discriminator(workload.shape, sizes["base"], sizes["most"])
    if variant == "tuned":
        torch.set_flush_denormal(True)
        for net in (g, d):
            net.to(memory_format=torch.channels_last)
    parameters = {"discriminator": _size(d), "generator": _size(g)}
    run = _sampling(workload, g, variant) if workload.sample else _training(workload, settings, g, d, variant)
    return Child(parameters, lambda steps: run(steps).item(), lambda: _flops(workload, g, d), lambda: None)


def _size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _flops(workload: Workload, g: Generator, d: Discriminator) -> int:
    """Of a plain step, without penalties: three passes' worth for one that is trained, two for one passed through."""
    count = SAMPLES if workload.sample else workload.batch
    once = []
    for net, x in ((g, torch.zeros(count, g.layers, workload.latent)), (d, torch.zeros(count, 3, *workload.shape[:2]))):
        with FlopCounterMode(display=False) as counter:
            net(x)
        once.append(counter.get_total_flops())
    return once[0] if workload.sample else (1 + 3) * once[0] + (6 + 2) * once[1]


def _training(
    workload: Workload, settings: Settings, g: Generator, d: Discriminator, variant: str
) -> Callable[[int], Tensor]:
    """`run(steps) -> the last cost of the generator`."""
    tuned, batch = variant == "tuned", workload.batch
    adams = [torch.optim.Adam(net.parameters(), RATE, (0.0, 0.99), fused=tuned or None) for net in (d, g)]
    average = copy.deepcopy(g).requires_grad_(False)
    data = torch.from_numpy(np.load(settings.data)["x_train"]).permute(0, 3, 1, 2).contiguous()
    gamma, length, taken = 0.0002 * workload.shape[0] ** 2 / batch, torch.zeros(()), 0
    draw = lambda count: g.mixed(torch.randn(count, workload.latent), torch.randn(count, workload.latent))  # noqa: E731

    def critic() -> Tensor:
        x = data[torch.randint(len(data), (batch,))].float() / 127.5 - 1
        with torch.set_grad_enabled(not tuned):
            fake = g(draw(batch)).detach()
        cost = softplus(d(fake)).mean()
        if taken % R1_EVERY:
            return cost + softplus(-d(x)).mean()
        x.requires_grad_(True)
        logits = d(x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return cost + softplus(-logits).mean() + R1_EVERY * gamma / 2 * slope.square().sum((1, 2, 3)).mean()

    def generator() -> Tensor:
        nonlocal length
        cost = softplus(-d(g(draw(batch)))).mean()
        if taken % PATH_EVERY:
            return cost
        w = draw(batch // 2)
        image = g(w)
        noise = torch.randn_like(image) / math.sqrt(image.shape[2] * image.shape[3])
        (slope,) = torch.autograd.grad((image * noise).sum(), w, create_graph=True)
        lengths = slope.square().sum(2).mean(1).sqrt()
        length = torch.lerp(length, lengths.detach().mean(), 0.01)
        return cost + PATH_EVERY * PATH_WEIGHT * (lengths - length).square().mean()

    def step() -> Tensor:
        nonlocal taken
        for adam, cost_of, frozen in ((adams[0], critic, False), (adams[1], generator, tuned)):
            d.requires_grad_(not frozen)
            cost = cost_of()
            adam.zero_grad()
            cost.backward()
            adam.step()
        d.requires_grad_(True)
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in g.parameters()], 1 - DECAY)
        average.w_avg.lerp_(g.w_avg, 1 - DECAY)
        taken += 1
        return cost.detach()

    return lambda steps: [step() for _ in range(steps)][-1]


def _sampling(workload: Workload, g: Generator, variant: str) -> Callable[[int], Tensor]:
    """`run(steps)` draws as many batches, as bytes; the mean pixel of the last one."""
    g.eval()

    def batch() -> Tensor:
        w = g.styles(torch.randn(SAMPLES, workload.latent))
        x = g(w[:, None].expand(-1, g.layers, -1))
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def run(steps: int) -> Tensor:
        with torch.no_grad() if variant == "eager" else torch.inference_mode():
            return [batch() for _ in range(steps)][-1].float().mean()

    return run
