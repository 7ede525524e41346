"""Log-mel spectrograms: sound as a picture of a fixed size.

The power of short windows is summed in triangular bands that are equally wide on the mel scale, and
shown in decibels between two fixed levels. Everything is computed in float64; only the last step
rounds to bytes. Emphasis, trimming and levels are those from which a classifier read the digits of
training speakers that it had not heard best, of the few that were tried.
"""

from __future__ import annotations

__all__ = [
    "BANDS",
    "EMPHASIS",
    "FRAMES",
    "LEVELS",
    "RATE",
    "TRIM",
    "WINDOW",
    "frame_starts",
    "hertz",
    "log_mel",
    "mel",
    "mel_filters",
    "picture",
    "power_spectra",
    "spoken_part",
    "whitened",
]

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATE = 8000  # samples per second
WINDOW = 256  # samples, 32 ms: long enough to part the harmonics of a voice
BANDS = 32
FRAMES = 32
EMPHASIS = 0.97  # of high pitches, which a voice has little of
TRIM = -40.0  # decibels: mean power of the quietest piece that a word begins or ends with
PIECE = 80  # samples, 10 ms
LEVELS = (-65.0, -30.0)  # decibels of black and of white


def picture(signal: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The log-mel spectrogram of a recording as a picture, high pitches at the top.

    The frames lie evenly between beginning and end of the spoken part, so that a word fills the
    picture however fast it is said. Nothing is scaled by file: a quiet recording stays darker.

    Args:
        signal: Samples in [-1, 1] at `RATE`, (T,).

    Returns:
        (1, BANDS, FRAMES).

    Raises:
        ValueError: There is no sample.
    """
    word = spoken_part(signal)
    power = power_spectra(whitened(word), frame_starts(len(word)))
    decibels = log_mel(power, mel_filters())
    low, high = LEVELS
    share = np.clip((decibels - low) / (high - low), 0, 1)
    return np.rint(255 * share).astype(np.uint8).T[None, ::-1]


def spoken_part(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The signal from its first to its last piece above `TRIM`; all of it where none is.

    Args:
        signal: (T,).
    """
    pieces = len(signal) // PIECE
    power = (signal[: pieces * PIECE].reshape(pieces, PIECE) ** 2).mean(1)
    loud = np.flatnonzero(power > 10 ** (TRIM / 10))
    return signal[loud[0] * PIECE : (loud[-1] + 1) * PIECE] if len(loud) else signal


def whitened(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """x_t - EMPHASIS x_{t-1}, with nothing before the first sample."""
    before = np.concatenate([np.zeros(1), signal[:-1]])
    return signal - EMPHASIS * before


def frame_starts(samples: int, frames: int = FRAMES, window: int = WINDOW) -> NDArray[np.int64]:
    """First samples of windows whose middles lie evenly over a recording, the ends included.

    Args:
        samples: Length of the recording.
        frames: Number of windows.
        window: Their length; the first one starts half of it before the recording.

    Raises:
        ValueError: There is no sample.
    """
    if samples < 1:
        raise ValueError("spectrogram: the recording has no sample; leave it out")
    return np.arange(frames) * samples // (frames - 1) - window // 2


def power_spectra(
    signal: NDArray[np.float64], starts: NDArray[np.int64], window: int = WINDOW
) -> NDArray[np.float64]:
    """Power of windowed pieces of a signal, by frequency; the signal is zero outside itself.

    Args:
        signal: (T,).
        starts: First sample of each piece, (F,).
        window: Its length n; the window is a periodic Hann window w.

    Returns:
        |sum_t w_t x_t exp(-2 pi i k t / n)|^2 / (sum_t w_t)^2 for k = 0 ... n / 2, (F, n / 2 + 1).
    """
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    places = starts[:, None] + np.arange(window)
    inside = (places >= 0) & (places < len(signal))
    pieces = np.where(inside, signal[np.clip(places, 0, len(signal) - 1)], 0.0)
    return np.abs(np.fft.rfft(taper * pieces)) ** 2 / taper.sum() ** 2


def log_mel(power: NDArray[np.float64], filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power in each band, in decibels.

    Args:
        power: By frame and frequency, (F, K).
        filters: Share of each frequency in each band, (BANDS, K).

    Returns:
        (F, BANDS).
    """
    tiny = 1e-12  # far below the lowest level, so that silence has a logarithm
    return 10 * np.log10(power @ filters.T + tiny)


def mel_filters(bands: int = BANDS, window: int = WINDOW, rate: int = RATE) -> NDArray[np.float64]:
    """Triangles over frequency, with corners equally spaced in mel from 0 to half the rate.

    Returns:
        (bands, window / 2 + 1): each band rises from the middle of the band below to one in its
        own, and falls to the middle of the band above.
    """
    corners = hertz(np.linspace(0.0, mel(rate / 2), bands + 2))
    frequencies = np.arange(window // 2 + 1) * rate / window
    low, middle, high = (corners[k : k + bands, None] for k in range(3))
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return np.clip(np.minimum(rising, falling), 0, None)


def mel(frequency: ArrayLike) -> NDArray[np.float64]:
    """Pitch in mel of a frequency in hertz: 2595 log10(1 + f / 700).

    Source:
        O'Shaughnessy (1987), Speech Communication: Human and Machine.
    """
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)


def hertz(pitch: ArrayLike) -> NDArray[np.float64]:
    """Frequency in hertz of a pitch in mel."""
    return 700 * (10 ** (np.asarray(pitch) / 2595) - 1)
