"""What translations from one domain of images to another have in common: samplers, and measures with a truth."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.optimize import linear_sum_assignment

from ganjax.core import Array, Batch, Game, Key, Measure, PyTree, Sampler, Weights, noise
from ganjax.games.likelihood import CLASSIFIER
from ganjax.games.network import Network, network
from ganjax.kinds import IMAGE, from_bytes
from ganjax.layers.resampling import smoothed

A, B = "a", "b"  # the streams
G, F, D_A, D_B = "g", "f", "d_a", "d_b"  # the players: G: A -> B, F: B -> A, and who tells A and who tells B
NOISE = 6 / 256  # three of 256 grey levels, of pixels from -1 to 1
SIGMAS = (0.0, 0.01, NOISE, 0.05, 0.1, 0.2)  # of the curve of what noise destroys
AMPLIFIED = 64  # a quarter of a grey level then shows


def fooling(fake_logits: Array) -> Array:
    """`(D(G(a)) - 1)^2`, what a translator pays, of each logit; not halved, as the code of CycleGAN has it."""
    return (fake_logits - 1) ** 2


def judging(real_logits: Array, fake_logits: Array) -> Array:
    """`mean (D(b) - 1)^2 / 2 + mean D(G(a))^2 / 2`, what a discriminator pays.

    There may be more of one than of the other; of as many it is the mean of `losses.least_squares_discriminator`.
    """
    return ((real_logits - 1) ** 2).mean() / 2 + (fake_logits**2).mean() / 2


def check_made(where: str, player: str, made: tuple, shape: Sequence[int]) -> None:
    """Raise unless a network makes examples of this shape, each by itself.

    Args:
        where: the game.
        player: whose network.
        made: what `Network.init` returned.
        shape: of an example.

    Raises:
        ValueError: it makes others, or has statistics of the batch.
    """
    _, state, output = made
    if output.shape[1:] != tuple(shape):
        raise ValueError(f"{where}: {player} makes {output.shape[1:]} of an example, expected {tuple(shape)}")
    check_stateless(where, player, state)


def check_stateless(where: str, player: str, state: PyTree) -> None:
    """Raise `ValueError` about a network that sees several kinds of images in a step and has statistics of them."""
    if jax.tree.leaves(state):
        raise ValueError(
            f"{where}: the network of {player} has statistics of a batch ({', '.join(state)}), expected none; "
            "normalise by InstanceNorm"
        )


def with_onlooker(game: Game, player: str, module: nn.Module, stream: str) -> Game:
    """The game with one more who has parameters and no cost: a classifier that measures read.

    Args:
        game: whose batch is `{stream: Batch}`.
        player: the name of the new one, whose weights come from a run (`Setup.start`).
        module: its network, `x -> ...`.
        stream: whose x it takes.
    """

    def init(key: Key, batch: PyTree) -> tuple[dict, dict]:
        params, state = game.init(key, batch)
        own, own_state, _ = network(module).init(key, batch[stream].x)
        return {**params, player: own}, {**state, player: own_state}

    return game._replace(init=init)


def translated(net: Network, weights: Weights, player: str, x: Array) -> Array:
    """What a player's network makes of x, in evaluation."""
    return net.apply(*weights[player], x, train=False)[0]


def samplers(g: nn.Module, f: nn.Module | None = None) -> dict[str, Sampler]:
    """G(a) of held-out examples of A; with F also F(b), the cycle F(G(a)), and the `residue` of G(a).

    Args:
        g: module, `a -> b`.
        f: module, `b -> a`.
    """
    nets = {G: network(g)} | ({} if f is None else {F: network(f)})

    def a_to_b(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return translated(nets[G], weights, G, x)

    def b_to_a(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return translated(nets[F], weights, F, x)

    def cycle(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return b_to_a(weights, key, index, a_to_b(weights, key, index, x))

    def faint(weights: Weights, key: Key, index: Array, x: Array) -> Array:
        return residue(a_to_b(weights, key, index, x))

    one_way = {"a_to_b": Sampler((G,), B, a_to_b, given=(A, "x"))}
    if f is None:
        return one_way
    return {
        **one_way,
        "b_to_a": Sampler((F,), A, b_to_a, given=(B, "x")),
        "cycle": Sampler((G, F), A, cycle, given=(A, "x")),
        "residue": Sampler((G,), B, faint, given=(A, "x")),
    }


def residue(x: Array) -> Array:
    """`64 (x - blur x)`, the faint texture of images [B, H, W, C] in which a translation may hide what it was made of.

    The blur has the weights 1, 2, 1 along each side, edges repeated. What is beyond -1 and 1 is clipped as a picture,
    so that outlines saturate; a surface that looks even and holds nothing is grey.
    """
    edged = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return AMPLIFIED * (x - smoothed(edged, 0, 0, (0.25, 0.5, 0.25)))


def l1(x: Array, y: Array) -> Array:
    """`|x - y|`, the mean over all that an example has, [B]; a grey image stands for one of any channels."""
    return jnp.abs(x - y).reshape(x.shape[0], -1).mean(1)


def cycle_measures(g: nn.Module, f: nn.Module) -> dict[str, Measure]:
    """`|F(G(a)) - a|` of held-out examples, pixels from -1 to 1, and the same of B.

    Also after G(a) was rounded to 8 bits, and after Gaussian noise of three grey levels on it: an error that grows much
    by either was small because G hides in faint texture what F needs (Chu et al. 2017). The note of the latter is the
    curve of the error over the noise, `SIGMAS`, one draw of which is scaled for all.
    """
    nets = {G: network(g), F: network(f)}

    def rounded(x: Array) -> Array:
        return IMAGE.encode(IMAGE.decode(x))

    def error(there: str, back: str, spoil: Callable[[Array], Array]) -> Callable[[Weights, Batch, Key], Array]:
        def values(weights: Weights, batch: Batch, key: Key) -> Array:
            between = spoil(translated(nets[there], weights, there, batch.x))
            return l1(translated(nets[back], weights, back, between), batch.x)

        return values

    def noised(there: str, back: str) -> Callable[[Weights, Batch, Key], Array]:
        def values(weights: Weights, batch: Batch, key: Key) -> Array:
            made = translated(nets[there], weights, there, batch.x)
            away = noise(lambda k: jax.random.normal(k, made.shape[1:]), key, batch.position)

            def of(sigma: Array) -> Array:
                return l1(translated(nets[back], weights, back, made + sigma * away), batch.x)

            return jax.lax.map(of, jnp.array(SIGMAS)).T  # [B, sigmas]

        return values

    def three_levels(errors: np.ndarray) -> float:
        return float(errors[:, SIGMAS.index(NOISE)].mean())

    found = {}
    for stream, there, back in ((A, G, F), (B, F, G)):
        both = (there, back)
        found[f"cycle_{stream}"] = Measure(error(*both, lambda x: x), both, stream, "lower")
        found[f"cycle_{stream}_rounded"] = Measure(error(*both, rounded), both, stream, "lower")
        found[f"cycle_{stream}_noised"] = Measure(
            noised(*both), both, stream, "lower", summary=three_levels, note=noise_curve
        )
    return found


def noise_curve(errors: np.ndarray) -> str:
    """Errors [N, sigmas] as a line: the mean at each of `SIGMAS`."""
    means = ", ".join(f"{error:.4g} at {sigma:.2g}" for error, sigma in zip(errors.mean(0), SIGMAS, strict=True))
    return f"by the noise's sigma: {means}"


def truth_measures(
    module: nn.Module, player: str, stream: str, truth: str, known: np.ndarray, *, untranslated: bool
) -> dict[str, Measure]:
    """`|G(a) - b|` where the b of each held-out a is known, pixels from -1 to 1, beside what needs no translator.

    These are `|a - b|`, of doing nothing, and the error of the mean and of the median picture of B.

    Args:
        module: G, or F.
        player: whose it is.
        stream: of the examples that are translated.
        truth: their companion, which players never see.
        known: uint8 [N, H, W, C], the training images of B.
        untranslated: whether a is as b, or grey, so that doing nothing has an error.
    """
    net = network(module)

    def values(weights: Weights, batch: Batch, key: Key) -> Array:
        return l1(batch.y, translated(net, weights, player, batch.x))

    def nothing(weights: Weights, batch: Batch, key: Key) -> Array:
        return l1(batch.y, batch.x)

    def always(picture: Callable[..., np.ndarray]) -> Callable[[Weights, Batch, Key], Array]:
        def of(weights: Weights, batch: Batch, key: Key) -> Array:
            return l1(batch.y, jnp.broadcast_to(from_bytes(jnp.asarray(picture(known, axis=0)))[None], batch.y.shape))

        return of

    predictors = {"mean": always(np.mean), "median": always(np.median)}
    predictors |= {"untranslated": nothing} if untranslated else {}
    return {
        name: Measure(of, (player,), stream, "lower", y=truth)
        for name, of in {f"l1_{player}": values, **{f"l1_{player}_{k}": of for k, of in predictors.items()}}.items()
    }


def label_measures(g: nn.Module, classifier: nn.Module, *, untranslated: bool) -> dict[str, Measure]:
    """What a classifier of B, the onlooker "classifier", reads of held-out examples.

    - kept_label: the share of G(a) that it reads as the class of a;
    - permuted_label: the same under the best renaming of classes, whose exchanges its note names. If that is much more,
      G has swapped classes, which neither game nor cycle forbid;
    - own_label: the share of b that it reads right, a ceiling;
    - untranslated_label: the share of a itself that it reads right, a floor.

    Args:
        g: module, `a -> b`.
        classifier: module, `b -> logits [B, K]`.
        untranslated: whether it can read examples of A.
    """
    net, judge = network(g), network(classifier)

    def read(weights: Weights, x: Array, y: Array) -> PyTree:
        return {"class": y, "read": translated(judge, weights, CLASSIFIER, x).argmax(-1)}

    def of_translated(weights: Weights, batch: Batch, key: Key) -> PyTree:
        return read(weights, translated(net, weights, G, batch.x), batch.y)

    def of_itself(weights: Weights, batch: Batch, key: Key) -> PyTree:
        return read(weights, batch.x, batch.y)

    both, alone = (G, CLASSIFIER), (CLASSIFIER,)
    found = {
        "kept_label": Measure(of_translated, both, A, "higher", y="class", summary=agreement),
        "permuted_label": Measure(
            of_translated, both, A, "higher", y="class", summary=permuted_agreement, note=exchanged
        ),
        "own_label": Measure(of_itself, alone, B, "higher", y="class", summary=agreement),
    }
    if untranslated:
        found["untranslated_label"] = Measure(of_itself, alone, A, "higher", y="class", summary=agreement)
    return found


def agreement(said: PyTree) -> float:
    """The share of examples that are read as what they are; `said` has "class" and "read", [N] integers each."""
    return float(np.mean(said["class"] == said["read"]))


def permuted_agreement(said: PyTree) -> float:
    """The same under the renaming of what is read that makes it largest."""
    return float(np.mean(renaming(said)[said["class"]] == said["read"]))


def renaming(said: PyTree) -> np.ndarray:
    """Of each class, another of its own that it is read as, [K], such that most examples agree: the Hungarian method.

    Of renamings that are as good, the one that leaves most classes alone.
    """
    size = int(max(said["class"].max(), said["read"].max())) + 1
    confusion = np.zeros((size, size), np.int64)
    np.add.at(confusion, (said["class"], said["read"]), 1)
    return linear_sum_assignment((size + 1) * confusion + np.eye(size, dtype=np.int64), maximize=True)[1]


def exchanged(said: PyTree) -> str:
    """Which classes the best renaming renames, if only for an example more than no renaming.

    >>> exchanged({"class": np.array([0, 1, 2]), "read": np.array([1, 0, 2])})
    'the best renaming: 0 -> 1, 1 -> 0'
    """
    names = renaming(said)
    pairs = [f"{k} -> {names[k]}" for k in np.unique(said["class"]) if names[k] != k]
    return f"the best renaming: {', '.join(pairs)}" if pairs else "no renaming is better"
