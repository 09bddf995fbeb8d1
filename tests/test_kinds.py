"""Kinds of examples: what each refuses, and what networks see and give back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganjax import kinds
from ganjax.data import text
from ganjax.kinds import CLASS, CLIP, IMAGE, KINDS, MAP, POINT, STORED, TOKENS, VECTOR, WAVEFORM, kind_of

SHAPES = {2: (5, 3), 3: (5, 4, 4), 4: (5, 4, 4, 3), 5: (5, 2, 4, 4, 3), 1: (5,)}
EXAMPLES = {name: np.ones(SHAPES[rank], dtype) for name, (dtype, rank) in STORED.items()}


def test_an_array_says_what_it_is():
    found = {name: kind_of(x).name for name, x in EXAMPLES.items()}
    assert found == {name: "point" if name == "vector" else name for name in KINDS}
    assert kind_of(np.zeros((2, 4, 4), np.uint8)) is kind_of(np.zeros(())) is None


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_takes_its_own_and_refuses_other_types(name):
    kind, x = KINDS[name], EXAMPLES[name]
    assert kind.name == name and kind.check(x) == ""
    wrong = kind.check(x.astype(np.float64))
    assert wrong.startswith("dtype float64, expected ") and STORED[name][0] in wrong and "\n" not in wrong


@pytest.mark.parametrize("kind", [IMAGE, CLIP, WAVEFORM], ids=lambda kind: kind.name)
def test_decoding_inverts_encoding_on_the_host_and_on_the_device(kind):
    info = np.iinfo(STORED[kind.name][0])
    stored = np.arange(info.min, info.max + 1).astype(info.dtype)
    seen = jax.jit(kind.encode)(stored)
    assert seen.dtype == jnp.float32 and seen.min() == -1 and 1 - 1 / 2**14 < seen.max() <= 1 + 1e-6
    for back in (kind.decode(seen), kind.decode(np.asarray(seen))):
        assert back.dtype == info.dtype
        np.testing.assert_array_equal(back, stored)
    assert isinstance(kind.decode(seen), jax.Array) and isinstance(kind.decode(np.asarray(seen)), np.ndarray)
    beyond = np.array([-3, 3, 0.5004 * 2 / (info.max - info.min)], np.float32)
    for back in (kind.decode(beyond), kind.decode(jnp.asarray(beyond))):
        assert back.tolist()[:2] == [info.min, info.max], "clipped, never wrapped"


def test_waveforms_keep_silence():
    assert WAVEFORM.encode(np.int16([0, 16384, -32768])).tolist() == [0, 0.5, -1]
    assert WAVEFORM.decode(np.float32([0.49 / 32768, 0.51 / 32768])).tolist() == [0, 1]


@pytest.mark.parametrize("kind", [POINT, TOKENS, VECTOR, CLASS, MAP], ids=lambda kind: kind.name)
def test_numbers_stay_as_they_are(kind):
    x = EXAMPLES[kind.name]
    assert kind.encode(x) is x is kind.decode(x)


@pytest.mark.parametrize(
    "shape, sentence",
    [
        ((2, 3, 8, 16, 16), "expected channels last [N, T, H, W, C]; move them with x.transpose(0, 2, 3, 4, 1)"),
        ((2, 8, 3, 16, 16), "expected channels last [N, T, H, W, C]; move them with x.transpose(0, 1, 3, 4, 2)"),
        ((2, 8, 16, 16, 5), "5 channels (shape (2, 8, 16, 16, 5)), expected at most 4, and last [N, T, H, W, C]"),
    ],
)
def test_channels_of_clips_come_last(shape, sentence):
    assert sentence in CLIP.check(np.zeros(shape, np.uint8))


def test_numbers_of_a_kind_have_ends():
    words = text.tokens(text.Vocabulary(("a", "b")))
    assert TOKENS.check(np.int32([[-1, 2]])) == "the number -1, expected 0 to 2,147,483,647 for tokens [N, L]"
    assert words.check(np.int32([[0, 3]])) == ""
    assert words.check(np.int32([[0, 4]])) == "the token 4, expected 0 to 3, the numbers of the vocabulary"
    assert "the number 65536, expected 0 to 65,535" in CLASS.check(np.int32([65536]))
    named = kinds.classes(["a", "b"])
    assert named.check(np.int32([0, 1])) == "" and "the number 2, expected 0 to 1" in named.check(np.int32([2]))


def test_words_of_the_command_line():
    named = kinds.classes(["cat", "1"])
    assert [CLASS.parse("3"), named.parse("cat"), named.parse("1"), named.parse("0")] == [3, 0, 1, 0]
    found = VECTOR.parse("0.1,-2")
    assert found.dtype == np.float32 and found.tolist() == np.float32([0.1, -2]).tolist()
    row = text.tokens(text.Vocabulary(("cat", "red")), 4).parse("A red CAT")
    assert row.dtype == np.int32 and row.tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize(
    "parse, word, sentence",
    [
        (CLASS.parse, "-1", "'-1' is no class, expected a number from 0 to 65535"),
        (CLASS.parse, "9" * 5000, "is no class"),
        (kinds.classes(["cat", "dog"]).parse, "dgo", "expected a number from 0 to 1 or a name: did you mean \"dog\"?"),
        (VECTOR.parse, "0.1;2", "'0.1;2' is no vector, expected numbers with commas between them, such as 0.1,0.2"),
        (VECTOR.parse, "nan", "expected finite numbers"),
        (text.tokens(text.Vocabulary(("cat",))).parse, "dog", "'dog' holds no word that the vocabulary of 1 has"),
    ],
)  # fmt: skip
def test_other_words_are_refused(parse, word, sentence):
    with pytest.raises(ValueError) as caught:
        parse(word)
    assert sentence in str(caught.value)


def test_rates():
    assert kinds.waveforms(16_000).facts["rate"] == 16_000
    for rate in (0, 1.5, 10**8, "a"):
        with pytest.raises(ValueError, match=r"rate is .*, expected a whole number of samples a second"):
            kinds.waveforms(rate)
