"""The PyTorch side of `translation.py`: CycleGAN and pix2pix with the networks of the authors' PyTorch code.

Both as pytorch-CycleGAN-and-pix2pix plays them: the translators first, against discriminators that are frozen, then the
discriminators on translations made before that step. Three variants of a step, as of peer.py: eager, tuned, compiled.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from peer import _forward_flops
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from workloads import LEARNING_RATE, Child, Settings, Workload

CYCLE, IDENTITY, L1, POOL = 10.0, 0.5, 100.0, 50


def _conv_norm(conv: nn.Module, channels: int) -> Iterator[nn.Module]:
    yield conv
    yield nn.InstanceNorm2d(channels)


class Block(nn.Module):
    """A residual block under reflection padding."""

    def __init__(self, width: int):
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), *_conv_norm(nn.Conv2d(width, width, 3), width)]  # noqa: E731
        self.body = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def translator(channels: int, out: int, width: int, blocks: int) -> nn.Module:
    """CycleGAN's ResNet generator."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_conv_norm(nn.Conv2d(channels, width, 7), width), nn.ReLU()]
    for k in (1, 2):
        layers += [*_conv_norm(nn.Conv2d(k * width, 2 * k * width, 3, 2, 1), 2 * k * width), nn.ReLU()]
    layers += [Block(4 * width) for _ in range(blocks)]
    for k in (2, 1):
        layers += [*_conv_norm(nn.ConvTranspose2d(2 * k * width, k * width, 3, 2, 1, 1), k * width), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, out, 7), nn.Tanh())


def patches(channels: int, width: int, layers: int, *, batch_norm: bool) -> nn.Module:
    """PatchGAN with so many layers of stride 2."""
    made: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for i in range(1, layers + 1):
        last, own = width * min(2 ** (i - 1), 8), width * min(2**i, 8)
        norm = nn.BatchNorm2d(own) if batch_norm else nn.InstanceNorm2d(own)
        made += [nn.Conv2d(last, own, 4, 2 if i < layers else 1, 1, bias=not batch_norm), norm, nn.LeakyReLU(0.2)]
    return nn.Sequential(*made, nn.Conv2d(width * min(2**layers, 8), 1, 4, 1, 1))


class UNet(nn.Module):
    """One level of pix2pix's U-Net around the next one."""

    def __init__(self, outer: int, inner: int, inside: "UNet | None", first: int = 0, *, drop: bool = False):
        super().__init__()
        down: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
        down.append(nn.Conv2d(first or outer, inner, 4, 2, 1, bias=False))
        if inside and not first:
            down.append(nn.BatchNorm2d(inner))
        up: list[nn.Module] = [nn.ReLU()]
        up.append(nn.ConvTranspose2d(inner * (2 if inside else 1), outer, 4, 2, 1, bias=bool(first)))
        up.append(nn.Tanh() if first else nn.BatchNorm2d(outer))
        if drop:
            up.append(nn.Dropout(0.5))
        self.body, self.first = nn.Sequential(*down, *([inside] if inside else []), *up), bool(first)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.first else torch.cat([x, self.body(x)], 1)


def unet(channels: int, out: int, width: int, downs: int) -> UNet:
    """pix2pix's generator of so many levels, at least five."""
    level = UNet(8 * width, 8 * width, None)
    for _ in range(downs - 5):
        level = UNet(8 * width, 8 * width, level, drop=True)
    for outer, inner in ((4, 8), (2, 4), (1, 2)):
        level = UNet(outer * width, inner * width, level)
    return UNet(out, width, level, first=channels)


Play = tuple[dict[str, nn.Module], Callable[[list[Tensor]], Tensor], Callable[[], Tensor]]


class Pool:
    """The last translations, shown half of the time instead of the new ones."""

    def __init__(self):
        self.kept: Tensor | None = None

    def show(self, fakes: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = fakes.repeat(-(-POOL // len(fakes)), 1, 1, 1)[:POOL].clone()
        place, old = torch.randint(POOL, (len(fakes),)), torch.rand(len(fakes)) < 0.5
        shown = torch.where(old[:, None, None, None], self.kept[place], fakes)
        self.kept[place[old]] = fakes[old]
        return shown


def cyclegan(workload: Workload, width: int, blocks: int, layers: int) -> Play:
    """Four players; the identity loss where images of both sides have as many channels."""
    channels = workload.shape[-1]
    nets = {p: translator(channels, channels, width, blocks) for p in ("g", "f")}
    nets |= {p: patches(channels, width, layers, batch_norm=False) for p in ("d_a", "d_b")}
    pools, made = {"d_a": Pool(), "d_b": Pool()}, {}

    def translators(batch: list[Tensor]) -> Tensor:
        a, b = batch
        fake_b, fake_a = nets["g"](a), nets["f"](b)
        made.update(d_a=(a, fake_a.detach()), d_b=(b, fake_b.detach()))
        fooled = (nets["d_b"](fake_b) - 1).square().mean() + (nets["d_a"](fake_a) - 1).square().mean()
        cycle = (nets["f"](fake_b) - a).abs().mean() + (nets["g"](fake_a) - b).abs().mean()
        own = (nets["g"](b) - b).abs().mean() + (nets["f"](a) - a).abs().mean()
        return fooled + CYCLE * (cycle + IDENTITY * own)

    def critics() -> Tensor:
        costs = []
        for player, (real, fake) in made.items():
            costs.append(
                (nets[player](real) - 1).square().mean() + nets[player](pools[player].show(fake)).square().mean()
            )
        return sum(costs) / 2

    return nets, translators, critics


def pix2pix(workload: Workload, width: int, downs: int, layers: int) -> Play:
    """Two players, of which the discriminator sees pairs."""
    channels = workload.shape[-1]
    g = unet(1, channels, width, downs)
    d = patches(1 + channels, width, layers, batch_norm=True)
    made: list[Tensor] = []

    def translators(batch: list[Tensor]) -> Tensor:
        x, y = batch
        fake = g(x)
        made[:] = [x, y, fake.detach()]
        logits = d(torch.cat([x, fake], 1))
        return binary_cross_entropy_with_logits(logits, torch.ones_like(logits)) + L1 * (y - fake).abs().mean()

    def critics() -> Tensor:
        x, y, fake = made
        real, false = d(torch.cat([x, y], 1)), d(torch.cat([x, fake], 1))
        right = binary_cross_entropy_with_logits(real, torch.ones_like(real))
        return (right + binary_cross_entropy_with_logits(false, torch.zeros_like(false))) / 2

    return {"generator": g, "discriminator": d}, translators, critics


def create(workload: Workload, settings: Settings, variant: str) -> Child:
    """Build a variant of a workload."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    nets, translators, critics = {"cyclegan": cyclegan, "pix2pix": pix2pix}[workload.network](
        workload, **workload.sizes
    )
    tuned = variant != "eager"
    if tuned:
        torch.set_flush_denormal(True)
        for net in nets.values():
            net.to(memory_format=torch.channels_last)
    critical = {name: net for name, net in nets.items() if name.startswith("d")}
    adams = [
        torch.optim.Adam(
            [p for net in side for p in net.parameters()], LEARNING_RATE, (0.5, 0.999), fused=tuned or None
        )
        for side in ([nets[name] for name in nets if name not in critical], list(critical.values()))
    ]
    if variant == "compiled":
        translators = torch.compile(translators)
    stored = np.load(settings.data)
    data = [
        torch.from_numpy(stored[name]).permute(0, 3, 1, 2).contiguous()
        for name in (("x_train", "x_train") if workload.network == "cyclegan" else ("drawing_train", "x_train"))
    ]

    def examples() -> list[Tensor]:
        rows = [torch.randint(len(data[0]), (workload.batch,)) for _ in data]
        if workload.network == "pix2pix":
            rows[1] = rows[0]
        return [one[own].float() / 127.5 - 1 for one, own in zip(data, rows, strict=True)]

    def step() -> Tensor:
        with _frozen(critical.values()) if tuned else contextlib.nullcontext():
            cost = translators(examples())
            adams[0].zero_grad()
            cost.backward()
            adams[0].step()
        cost = critics()
        adams[1].zero_grad()
        cost.backward()
        adams[1].step()
        return cost.detach()

    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    return Child(
        parameters,
        lambda steps: [step() for _ in range(steps)][-1].item(),
        partial(_flops, workload, nets),
        lambda: None,
    )


@contextlib.contextmanager
def _frozen(nets) -> Iterator[None]:
    for net in nets:
        net.requires_grad_(False)
    yield
    for net in nets:
        net.requires_grad_(True)


def _flops(workload: Workload, nets: dict[str, nn.Module]) -> int:
    """Of all passes, 2 for each multiplication: 3 for one that is trained, 2 for one that is passed through.

    CycleGAN's translators are run three times each (a translation, a cycle, an identity), its discriminators once for
    them and twice for themselves; pix2pix's once, and once and twice.
    """
    *sides, channels = workload.shape
    shapes = {
        "g": channels,
        "f": channels,
        "d_a": channels,
        "d_b": channels,
        "generator": 1,
        "discriminator": 1 + channels,
    }
    total = 0
    for name, net in nets.items():
        with torch.no_grad():
            once = _forward_flops(net, torch.randn(workload.batch, shapes[name], *sides))[0]
        passes = {"g": 9, "f": 9, "generator": 3}.get(name, 2 + 6)
        total += passes * once
    return total
