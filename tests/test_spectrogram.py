"""Log-mel spectrograms against SciPy and against signals whose spectrum is known."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.signal import get_window, lfilter, stft

from multielbo.data import spectrogram
from multielbo.data.recipe import bit_generator
from multielbo.data.spectrogram import (
    BANDS,
    FRAMES,
    LEVELS,
    RATE,
    TRIM,
    WINDOW,
    frame_starts,
    hertz,
    log_mel,
    mel,
    mel_filters,
    picture,
    power_spectra,
    spoken_part,
    whitened,
)

CORNERS = hertz(np.linspace(0, mel(RATE / 2), BANDS + 2))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Samples in [-1, 1), all different."""
    return bit_generator(seed).random_raw(samples) / 2.0**63 - 1


def tone(frequency: float, samples: int = RATE // 2, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)


# Spectra


def test_power_spectra_are_those_of_scipy():
    signal, hop = noise(2000), 64
    _, _, expected = stft(signal, RATE, "hann", WINDOW, WINDOW - hop, boundary=None, padded=False)
    found = power_spectra(signal, np.arange(expected.shape[1]) * hop)
    np.testing.assert_allclose(found, np.abs(expected.T) ** 2, rtol=1e-10, atol=1e-18)


def test_a_symmetric_window_would_be_seen():
    """The twin whose window has its last sample at zero, as filters are designed."""
    signal = noise(WINDOW)
    taper = get_window("hann", WINDOW, fftbins=False)
    wrong = np.abs(np.fft.rfft(taper * signal)) ** 2 / taper.sum() ** 2
    found = power_spectra(signal, np.zeros(1, int))[0]
    assert np.abs(wrong / found - 1).max() > 0.01


def test_parseval_the_power_of_all_frequencies_is_that_of_the_windowed_samples():
    signal, taper = noise(WINDOW), get_window("hann", WINDOW)
    power = power_spectra(signal, np.zeros(1, int))[0] * taper.sum() ** 2
    both_sides = power[0] + 2 * power[1:-1].sum() + power[-1]
    assert both_sides == pytest.approx(WINDOW * ((taper * signal) ** 2).sum(), rel=1e-12)
    assert power.sum() != pytest.approx(both_sides, rel=0.1), "one side is not the whole"


def test_a_tone_on_a_frequency_of_the_transform_has_a_quarter_of_its_squared_amplitude():
    power = power_spectra(tone(40 * RATE / WINDOW), np.array([100]))[0]
    assert power.argmax() == 40
    assert power[40] == pytest.approx(0.5**2 / 4, rel=1e-12)
    assert power[[39, 41]] == pytest.approx(0.5**2 / 16, rel=1e-12)  # a Hann window's neighbours
    assert power[[20, 60, 100]].max() < 1e-25


def test_a_signal_is_silent_outside_itself():
    signal = noise(300)
    padded = np.concatenate([np.zeros(WINDOW), signal, np.zeros(WINDOW)])
    starts = np.array([-WINDOW, -100, 0, 200, 300])
    np.testing.assert_array_equal(
        power_spectra(signal, starts), power_spectra(padded, starts + WINDOW)
    )
    assert not power_spectra(signal, np.array([-WINDOW, 300])).any()


# Mel bands


def test_a_thousand_hertz_are_a_thousand_mel():
    assert mel(1000.0) == pytest.approx(1000, abs=0.02)
    np.testing.assert_allclose(hertz(mel(CORNERS)), CORNERS, rtol=1e-12)


def test_mel_filters_are_linear_splines_between_neighbouring_middles():
    frequencies = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    found = mel_filters()
    for band in range(BANDS):
        hat = BSpline.basis_element(CORNERS[band : band + 3], extrapolate=False)
        expected = np.nan_to_num(hat(frequencies))
        np.testing.assert_allclose(found[band], expected, atol=1e-12)


def test_every_frequency_between_the_outer_middles_counts_once():
    frequencies = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    between = (frequencies >= CORNERS[1]) & (frequencies <= CORNERS[-2])
    np.testing.assert_allclose(mel_filters().sum(0)[between], 1, rtol=1e-12)
    assert (mel_filters().max(1) > 0).all(), "a band without any frequency is always black"


@pytest.mark.parametrize("band", [3, 10, 20, 30])
def test_a_pure_tone_peaks_in_its_own_band(band):
    found = log_mel(power_spectra(tone(CORNERS[band + 1]), np.array([500])), mel_filters())[0]
    assert found.argmax() == band
    middle, linear = CORNERS[band + 1], np.linspace(0, RATE / 2, BANDS + 2)
    wrong = np.abs(linear[1:-1] - middle).argmin()
    assert wrong != band, "bands equally wide in hertz would peak elsewhere"


def test_ten_times_the_amplitude_are_twenty_decibels():
    quiet, loud = (
        log_mel(power_spectra(tone(700, amplitude=a), np.array([500])), mel_filters())[0].max()
        for a in (0.05, 0.5)
    )
    assert loud - quiet == pytest.approx(20, abs=1e-4)


# What is shown of a recording


def test_emphasis_is_scipys_filter():
    signal = noise(500)
    expected = lfilter([1, -spectrogram.EMPHASIS], [1], signal)
    np.testing.assert_allclose(whitened(signal), expected, rtol=1e-12)


def test_silence_before_and_after_a_word_changes_nothing():
    word, silence = tone(700, RATE // 2), np.zeros(RATE // 4)
    framed = np.concatenate([silence, word, silence])
    assert np.array_equal(spoken_part(framed), word)
    pause = np.concatenate([word, silence, word])
    assert np.array_equal(spoken_part(pause), pause), "a pause inside a word stays"
    assert np.array_equal(picture(framed), picture(word))


def test_a_recording_without_any_loud_piece_is_shown_whole():
    quiet = noise(900) * 10 ** (TRIM / 20) / 10
    assert np.array_equal(spoken_part(quiet), quiet)


@pytest.mark.parametrize("samples", [1, 33, 1147, 18262])
def test_frames_lie_evenly_from_the_beginning_to_the_end(samples):
    middles = frame_starts(samples) + WINDOW // 2
    assert (len(middles), middles[0], middles[-1]) == (FRAMES, 0, samples)
    assert np.ptp(np.diff(middles)) <= 1


def test_a_recording_without_samples_is_refused():
    with pytest.raises(ValueError, match="has no sample"):
        picture(np.zeros(0))


def test_a_word_spoken_half_as_fast_gives_the_same_picture():
    slow, fast = (np.concatenate([tone(500, n), tone(2000, n)]) for n in (4000, 2000))
    steady = np.r_[2:14, 18:30]  # away from the ends and from the jump, which windows smear
    reference = picture(slow)[0, :, steady].astype(int)
    assert np.abs(reference - picture(fast)[0, :, steady]).max() <= 2
    assert np.abs(reference - picture(fast[::-1])[0, :, steady]).max() > 200


def test_high_pitches_are_at_the_top_and_time_runs_to_the_right():
    rising = np.concatenate([tone(300, 3000), tone(3000, 3000)])
    found = picture(rising)[0]
    assert found.shape == (BANDS, FRAMES)
    assert found[:, 6].argmax() > 20
    assert found[:, 25].argmax() < 6


def test_levels_are_those_of_black_and_white_whatever_the_file():
    assert not picture(np.zeros(1000)).any()
    assert picture(32768 * noise(2000)).min() == 255
    amplitude = 0.05
    band = 15
    frequency = CORNERS[band + 1]
    gain = np.abs(1 - spectrogram.EMPHASIS * np.exp(-2j * np.pi * frequency / RATE))
    filters = mel_filters()[band]
    one = power_spectra(tone(frequency, amplitude=1.0), np.array([1000]))[0]
    decibels = 10 * np.log10((one * filters).sum() * (amplitude * gain) ** 2)
    expected = 255 * (decibels - LEVELS[0]) / (LEVELS[1] - LEVELS[0])
    found = picture(tone(frequency, amplitude=amplitude))[0, BANDS - 1 - band, 8:24]
    assert np.abs(found - expected).max() < 2


def test_pictures_are_the_same_on_every_machine():
    found = picture(0.1 * noise(3000) * np.hanning(3000))
    assert found.dtype == np.uint8
    assert hashlib.sha256(found.tobytes()).hexdigest() == (
        "ccb8a2c71c520e32fc704233d5d0bf0e4cb610e762b4b68db92621f7fe2feddc"
    )
