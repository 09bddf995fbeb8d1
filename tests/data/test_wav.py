"""WAV files: exact both ways, and what is refused in one sentence."""

import wave

import numpy as np
import pytest
from scipy.io import wavfile

from ganjax.data import Dataset, load
from ganjax.data.level import levelled
from ganjax.data.wav import read_wav, save_recordings, wav
from ganjax.errors import DataError


def samples(seed=0, shape=(64,)):
    return np.random.default_rng(seed).integers(-(2**15), 2**15, shape).astype(np.int16)


def written(path, x=None, rate=8000, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((samples() if x is None else x).tobytes())


def test_what_is_written_is_read_back_by_us_and_by_scipy(tmp_path):
    x = samples(shape=(3, 50))
    paths = save_recordings(tmp_path / "out", x, 11_025)
    assert [path.name for path in paths] == ["000.wav", "001.wav", "002.wav"]
    for path, one in zip(paths, x, strict=True):
        rate, found = wavfile.read(path)
        assert rate == 11_025 and found.dtype == np.int16
        np.testing.assert_array_equal(found, one)
        np.testing.assert_array_equal(read_wav(path)[0], one)


def test_a_folder_of_recordings_with_splits_and_classes(tmp_path):
    for split, count in (("train", 2), ("test", 1)):
        for name in ("one", "two"):
            for i in range(count):
                written(tmp_path / split / name / f"{i}.WAV", samples(i))
    (tmp_path / ".hidden").write_text("no recording")
    data = load(str(tmp_path))
    assert data.kind.facts == {"rate": 8000} and data.x_train.shape == (4, 64) and data.class_names == ("one", "two")
    np.testing.assert_array_equal(data.x_train, np.stack([samples(i) for i in (0, 1, 0, 1)]))
    assert data.x_test.shape == (2, 64)
    assert data.y_train.tolist() == [0, 0, 1, 1] and data.y_test.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: written(p, width=3, x=np.zeros(192, np.uint8)), "b.wav: 24 bits a sample, expected 16; convert"),
        (lambda p: written(p, width=1, x=np.zeros(64, np.uint8)), "b.wav: 8 bits a sample"),
        (
            lambda p: written(p, rate=16_000),
            "16,000 samples a second, but a.wav has 8,000; .* one rate: resample",
        ),
        (lambda p: written(p, channels=2), "b.wav: 2 channels, expected one; convert it"),
        (lambda p: p.write_bytes(b""), "b.wav: an empty file, expected a WAV file"),
        (lambda p: written(p, x=samples()[:0]), "b.wav: holds no samples"),
        (lambda p: written(p, x=samples(shape=(63,))), "b.wav: 63 samples, but a.wav has 64; .* one length"),
        (lambda p: p.write_bytes(b"RIFFnothing of the kind"), "b.wav: not a readable WAV file of 16-bit PCM"),
        (lambda p: wavfile.write(p, 8000, np.zeros(64, np.float32)), "b.wav: not a readable WAV file .*format: 3"),
        (lambda p: p.write_bytes(wav(samples(), 8000)[:-9]), "b.wav: cut short, 59 of 64 samples"),
        (lambda p: p.with_suffix(".png").write_bytes(b""), "b.png: not a WAV recording; convert it or remove it"),
    ],
)
def test_what_is_refused_is_named_in_one_sentence(make, sentence, tmp_path):
    written(tmp_path / "a.wav")
    make(tmp_path / "b.wav")
    with pytest.raises(DataError, match=sentence) as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_than_the_file_holds_allocates_nothing(tmp_path):
    content = bytearray(wav(samples(), 8000))
    content[40:44] = (2**31 - 2).to_bytes(4, "little")  # the size of the chunk of samples
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"a.wav: says that it holds 1,073,741,823 samples in 172 bytes"):
        load(str(tmp_path))


def test_damage_anywhere_is_a_sentence_or_samples(tmp_path):
    content, path = wav(samples(), 8000), tmp_path / "a.wav"
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(content[: rng.integers(1, len(content) + 1)])
        broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(broken)
        try:
            x, rate = read_wav(path)
            assert x.dtype == np.int16 and x.ndim == 1 and len(x) and rate > 0
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_only_int16_becomes_a_recording():
    with pytest.raises(TypeError, match="wav: x is float64"):
        wav(np.zeros(4), 8000)
    with pytest.raises(ValueError, match=r"wav: x has shape \(0,\)"):
        wav(np.zeros(0, np.int16), 8000)


def test_levelled_waveforms_reach_the_largest_sample_and_keep_their_form(tmp_path):
    written(tmp_path / "a.wav", samples() // 8)
    written(tmp_path / "b.wav", np.zeros(64, np.int16))
    written(tmp_path / "c.wav", np.full(64, -(2**15), np.int16))
    data = levelled(load(str(tmp_path)))
    assert np.abs(data.x_train.astype(int)).max(1).tolist() == [32767, 0, 32767]
    was = samples() // 8
    np.testing.assert_allclose(data.x_train[0], was * (32767 / np.abs(was.astype(int)).max()), atol=0.5)
    with pytest.raises(DataError, match=r"has images .*, expected waveforms"):
        levelled(Dataset(np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)))
