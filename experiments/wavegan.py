"""WaveGAN: waveforms drawn sample by sample, without a spectrogram.

Claim: DCGAN in one dimension, with long kernels and strides of 4 under WGAN-GP, draws sounds of one global structure; a
discriminator whose maps are shifted at random cannot go by the phase of the generator's artefacts.
Paper: Donahue, McAuley and Puckette, Adversarial Audio Synthesis, 2019 (section 3.3, phase shuffle; appendix D,
architectures and settings).
Command: python experiments/wavegan.py train --workdir runs/wavegan          (chirps on eight notes, a CPU's size)
         python experiments/wavegan.py train --workdir runs/asked --conditional          (the note that is asked for)
         python experiments/wavegan.py train --workdir runs/sc09 --data sc09/ --width 64 --batch-size 64 \\
           --learning-rate 1e-4 --decay-steps 0 --discriminator-turns 5 --steps 200000
                                                        (the authors' preset, 16,384 samples at 16 kHz)
         python experiments/wavegan.py train --workdir runs/digits --data fsdd8k.npz --normalise --conditional
         python experiments/wavegan.py sample --workdir runs/wavegan --out heard.png   (and heard/000.wav, ...)
Data are waveforms of one length, a multiple of 4^n with 16 to 63 steps left: 1,024 or 4,096, 8,192 or 16,384 samples,
as an .npz file or a folder of WAV files of 16 bits and one channel. Recordings of unlike loudness need --normalise.
Settings: width 64, z ~ U(-1, 1)^100, batch 64, lambda 10, 5 critic steps, Adam 1e-4 (.5, .9), phase shuffle by up to 2
steps, no norm in either network. Here each example is shifted by its own number of steps; the authors' code draws one
for a batch.
Measures: `pitch_cents`, how far the pitch of samples is from the nearest note of the data, or with --conditional from
the note that was asked for, in the median; `real_pitch_cents`, the same of held-out examples; `tonal`, the share of
samples that have a pitch, half of whose power lies about one frequency: others miss by an octave. Samples of any pitch
miss the nearest of notes that are 400 cents apart by 100, and a generator that knows one note alone misses it by none:
look at `modes` too, or ask for notes. `evaluate` scores samples in the features of a classifier of log-mel spectrograms
that is trained on the data.
Published: inception scores of spoken digits (SC09), 4.12 +- .03, with phase shuffle 4.67 +- .01, of training data 9.18;
the checkpoint was chosen by the same score.
What we measured, seed 0, the last step: with notes that are asked for (the second command; 764 s of processor time on
2 CPU cores that others used too), every one of 1,000 samples has a pitch, 1.2 cents from its note in the median, and
all eight notes are drawn as often. They are not the data for all that: faint noise lies under the tone, which a
logarithm does not forgive, so that the Frechet distance in the features of log-mel spectrograms is 7,800 (floor 4) and
precision 0. Chirps of 256 samples, likewise: 6 cents after 900 steps, a minute and a half. That was at a constant step
size, at which averaged weights come and go, 5 to 14 cents; hence the falling one below. With step size 2e-4, batches of
64 and 5 turns samples of 1,024 were still noise of the data's spectrum after 475 steps. Without classes, and on
recordings, nothing has been trained in full.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganjax import launch
from ganjax.config import require
from ganjax.options import Adam, GanConfig, Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganjax.core import Array, Batch, Key, Measure, Sampler, Weights
    from ganjax.data import Dataset
    from ganjax.training import Setup


@dataclass(frozen=True, kw_only=True)
class Config(Precision, Adam, GanConfig):
    """The networks, the game and how it is played; z is uniform, U(-1, 1) in each entry."""

    width: int = 64
    """Channels next to the waveform in both networks, doubled with each quartering."""
    shuffle: int = 2
    """Steps by which phase shuffle shifts the discriminator's maps at most; 0 shifts none."""
    normalise: bool = False
    """Scale each waveform of the data to its largest sample, as the authors' --data_normalize."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "width", self.width >= 1, "at least 1")
        require(self, "shuffle", 0 <= self.shuffle < 16, "0 to 15, less than the shortest map has steps")
        require(self, "packing", self.packing == 1, "1: waveforms have no channels to be joined along")
        require(self, "remat", not self.remat, "left out: these networks have no blocks to compute again")


CONFIG = Config(
    steps=6000,  # 200,000 in the paper
    data="chirps",
    batch_size=32,  # 64 in the paper
    width=16,  # 64 in the paper, for waveforms that are sixteen times as long
    loss="wasserstein",
    penalty="gradient_penalty",  # lambda is 10
    discriminator_turns=3,  # 5 in the paper
    learning_rate=5e-4,  # 1e-4 in the paper
    beta2=0.9,
    decay_steps=6000,  # all of them; none in the paper
)


def build(config: Config, load: "Callable[[str], Dataset]", axis_name: str | None) -> "Setup":
    """Two networks of one dimension under WGAN-GP."""
    from ganjax import recipe
    from ganjax.data.level import levelled
    from ganjax.dynamics import alternating, ema
    from ganjax.games import gan, sampler, uniform_prior
    from ganjax.losses import named
    from ganjax.models import wavegan
    from ganjax.training import Averaged, Setup, Stream

    dataset = load(config.data)
    wavegan.check_waveforms(dataset.kind.name, dataset.shape)
    if config.normalise:
        dataset = levelled(dataset)
    classes = (dataset.classes or 0) if config.conditional else 0
    shared: dict[str, Any] = {"width": config.width, "num_classes": classes, "dtype": recipe.dtype_of(config)}
    generator = wavegan.Generator(dataset.shape, **shared)
    discriminator = wavegan.Discriminator(shuffle=config.shuffle, axis_name=axis_name, **shared)
    prior = uniform_prior(config.latent)
    draws = sampler(generator, prior, given=("data", "class") if config.conditional else None)
    return Setup(
        game=gan(
            generator,
            discriminator,
            named(config.loss, axis_name),
            prior=prior,
            axis_name=axis_name,
            **recipe.options(config),
        ),
        dynamics=alternating(
            recipe.adam_in_turns(config, config.discriminator_turns),
            turns={"discriminator": config.discriminator_turns},
            axis_name=axis_name,
        ),
        streams={"data": Stream(dataset, config.batch_size, y="class" if config.conditional else None)},
        averages={"ema": Averaged("generator", ema(config.ema_decay, warmup=True))},
        samplers={"prior": draws},
        measures=measures(draws, dataset) if "pitch" in dataset.companions else {},
    )


def measures(draws: "Sampler", dataset: "Dataset") -> "dict[str, Measure]":
    """How well samples and held-out examples are in tune, the median over them in cents, and how many have a pitch.

    Args:
        draws: the generator's sampler, which is asked for classes or nothing.
        dataset: with a companion `pitch`, float32 [N, 1] in Hz: the notes, and which one an example is on.
    """
    import jax.numpy as jnp
    import numpy as np

    from ganjax.core import Measure
    from ganjax.sounds import cents, out_of_tune, pitch

    rate = dataset.kind.facts["rate"]
    notes = jnp.asarray(np.unique(dataset.companions["pitch"].train))
    asked = draws.given is not None

    def heard(weights: "Weights", batch: "Batch", key: "Key") -> "Array":
        return pitch(draws(weights, key, batch.position, batch.y["class"] if asked else None), rate)

    def of_samples(weights: "Weights", batch: "Batch", key: "Key") -> "Array":
        f = heard(weights, batch, key)
        return cents(f, batch.y["pitch"][:, 0]) if asked else out_of_tune(f, notes)

    def tonal(weights: "Weights", batch: "Batch", key: "Key") -> "Array":
        return heard(weights, batch, key) > 0

    def of_data(weights: "Weights", batch: "Batch", key: "Key") -> "Array":
        del weights, key
        return cents(pitch(batch.x, rate), batch.y["pitch"][:, 0])

    def median(values: "Array") -> float:
        return float(np.median(values))

    y = ("class", "pitch") if asked else ("pitch",)
    return {
        "pitch_cents": Measure(of_samples, draws.players, draws.stream, "lower", y=y, summary=median),
        "tonal": Measure(tonal, draws.players, draws.stream, "higher", y=y),
        "real_pitch_cents": Measure(of_data, draws.players, draws.stream, "lower", y=("pitch",), summary=median),
    }


SMOKE = {
    "steps": 4,
    "width": 4,
    "discriminator_turns": 2,
    "batch_size": 16,
    "sample_every": 2,
    "checkpoint_every": 2,
    "chunk": 2,
}
EXPERIMENT = launch.Experiment("wavegan", __doc__, CONFIG, SMOKE, build=build)

if __name__ == "__main__":
    launch.main(EXPERIMENT)
