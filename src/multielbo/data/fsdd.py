"""The Free Spoken Digit Dataset: ten digits, six speakers, fifty recordings of each by each."""

from __future__ import annotations

__all__ = ["COUNTS", "SPEAKERS", "Recordings", "read_recordings"]

import io
import re
import wave
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multielbo.data.spectrogram import RATE

# The last two in alphabetical order are the test speakers: nobody is heard in both splits.
SPEAKERS = {"train": ("george", "jackson", "lucas", "nicolas"), "test": ("theo", "yweweler")}
COUNTS = {"train": 2000, "test": 1000}
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


@dataclass(frozen=True)
class Recordings:
    """What some speakers say, ordered by digit, speaker and index.

    Attributes:
        signals: Samples in [-1, 1] at 8 kHz, one array of its own length each.
        labels: The digits, (N,).
        speakers: Their names, (N,).
    """

    signals: tuple[NDArray[np.float64], ...]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]


def read_recordings(path: Path) -> dict[str, Recordings]:
    """Read the recordings of both splits from the archive, without unpacking it.

    Args:
        path: A zip file with the recordings in a folder `recordings`, at whatever depth.

    Raises:
        ValueError: The archive or a recording is damaged, a name is not of the form
            `{digit}_{speaker}_{index}.wav`, a format or a speaker is another one, or there are
            not as many recordings as the data set has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if re.search(r"(^|/)recordings/[^/]+$", m)]
            found = sorted((*_parse(path, member), archive.read(member)) for member in members)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is not a complete zip file ({error}): fetch it again") from error
    return {split: _of_speakers(path, split, found) for split in SPEAKERS}


def _parse(path: Path, member: str) -> tuple[int, str, int]:
    """Digit, speaker and index of a recording."""
    name = member.rpartition("/")[2]
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{path}: {name!r} is not named DIGIT_SPEAKER_INDEX.wav: remove it, or fetch the "
            "archive again"
        )
    digit, speaker, index = match.groups()
    known = sum(SPEAKERS.values(), ())
    if speaker not in known:
        raise ValueError(
            f"{path}: {name!r} is of a speaker beside {', '.join(known)}: use release 1.0.10"
        )
    return int(digit), speaker, int(index)


def _of_speakers(path: Path, split: str, found: list[tuple[int, str, int, bytes]]) -> Recordings:
    """The recordings of one split, if there are as many as there should be."""
    mine = [recording for recording in found if recording[1] in SPEAKERS[split]]
    if len(mine) != COUNTS[split]:
        raise ValueError(
            f"{path} holds {len(mine):,} recordings of {', '.join(SPEAKERS[split])}, expected "
            f"{COUNTS[split]:,}: use release 1.0.10"
        )
    return Recordings(
        signals=tuple(
            _samples(f"{path}: {digit}_{speaker}_{index}.wav", content)
            for digit, speaker, index, content in mine
        ),
        labels=np.array([recording[0] for recording in mine], np.int64),
        speakers=tuple(recording[1] for recording in mine),
    )


def _samples(where: str, content: bytes) -> NDArray[np.float64]:
    """The samples of a wav file of 8 kHz, mono, 16 bit."""
    try:
        with wave.open(io.BytesIO(content)) as stream:
            form = stream.getframerate(), stream.getnchannels(), 8 * stream.getsampwidth()
            announced, data = stream.getnframes(), stream.readframes(stream.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{where} is no complete wav file ({error}): fetch it again") from error
    if form != (RATE, 1, 16):
        raise ValueError(
            f"{where} has {form[0]} Hz, {form[1]} channel(s) and {form[2]} bit, expected {RATE} "
            "Hz, 1 and 16: fetch it again"
        )
    if not 0 < 2 * announced == len(data):
        raise ValueError(
            f"{where} holds {len(data) // 2} samples, but announces {announced}: fetch it again"
        )
    return np.frombuffer(data, "<i2") / 32768.0
