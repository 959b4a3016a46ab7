"""Reads the mark of one key out of a picture's evidence, and says where in the picture it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from provenance_guard.watermark import coding
from provenance_guard.watermark.alignment import Aligned, likeness, signed_permutations
from provenance_guard.watermark.evidence import MOST_GROUPS, MOST_TILES, MOST_WINDOWS, Evidence
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.pattern import EMPHASES, pattern_of
from provenance_guard.watermark.payload import PROFILES, PayloadCipher, Profile, from_bits, profile_for, to_bits
from provenance_guard.watermark.presence import CELL, presence_of

SMALLEST_SIDE = 64
"""Pixels: a smaller picture cannot carry the mark."""

_DECODES = 3  # Of each group so many tiles are decoded.
MOST_CHECKS = MOST_GROUPS * _DECODES * max(profile.list_size for profile in PROFILES)
"""Messages that may be put to the check of a long profile per picture and key. Times 2**-40 it bounds below 1e-9 that a mark
which is there is read wrongly."""

MOST_READINGS = MOST_TILES * len(EMPHASES)
"""Readings of votes per picture, key and profile."""

_CHANCE = 1e-10
"""How probably a picture without a mark of any known key may be taken for one with a mark, in each profile."""

_LEAST_AGREEMENT = 3.0  # Standard deviations of the votes' agreement; what can be decoded has more than 4.
_SAME_SCALE, _SAME_ANGLE = 0.02, 1.0  # A scale and degrees: what differs by less is one picture, or its twin.
_PRESENT = 3.0  # Standard deviations in a cell of the map.


@dataclass(frozen=True)
class Geometry:
    """What happened to the picture since it was marked.

    ``scale_x``, ``scale_y`` are sizes relative to the marked picture, ``angle`` degrees counter-clockwise, ``mirrored``
    left-right before turning, ``offset`` where in the repeating tile the picture's centre lies (x, y), ``inverted`` a negative.
    """

    scale_x: float
    scale_y: float
    angle: float
    mirrored: bool
    inverted: bool
    offset: tuple[float, float]

    @property
    def scale(self) -> float:
        """The mean of both scales."""
        return math.sqrt(self.scale_x * self.scale_y)


@dataclass(frozen=True)
class Detection:
    """A mark that was found. ``payload`` is what was embedded, ``confidence`` the share of code bits that arrived right
    (0.5 is chance, about 0.65 the least that can be decoded), ``key_id`` and ``profile`` tell how it was read.

    ``presence`` (rows, columns) maps where the mark lies: for each cell of 64 x 64 pixels, from the upper left, how clearly the
    mark speaks from it and the cells around it, in standard deviations. Where nothing was looked at it is 0.
    """

    payload: bytes
    confidence: float
    geometry: Geometry
    key_id: str
    profile: str
    presence: npt.NDArray[np.float32] = field(compare=False, repr=False)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether the mark is in a cell of the map; chance makes one cell in a thousand true."""
        return self.presence > _PRESENT

    @property
    def coverage(self) -> float:
        """Share of the picture's cells that carry the mark."""
        return float(self.present.mean())


def find(evidence: Evidence, key: Key, tries: int = 1) -> Detection | None:
    """The first mark of this key that passes its checks, or None. ``tries`` is how often the picture is searched in all: once for
    every known key."""
    for window, tiles in evidence.groups(key):
        reading = read(tiles, key, tries)
        if reading is not None:
            return _detection(reading, evidence, window, key)
    return None


def find_all(evidence: Evidence, key: Key, known_keys: int, most: int) -> list[Detection]:
    """Up to ``most`` marks of this key, one after the other: what carries one mark is ignored when the next is looked for."""
    tries = known_keys * math.ceil(len(evidence.boxes) / MOST_WINDOWS) * most
    found: list[Detection] = []
    for _ in range(most):
        detection = find(evidence, key, tries)
        if detection is None or not detection.present.any():
            break
        places = torch.from_numpy(detection.present).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
        evidence.ignore(places[: evidence.shape[0], : evidence.shape[1]])
        twin = next((number for number, known in enumerate(found) if _alike(known, detection)), None)
        if twin is None:
            found.append(detection)
        else:
            found[twin] = replace(found[twin], presence=np.maximum(found[twin].presence, detection.presence))
    return found


def _alike(one: Detection, other: Detection) -> bool:
    first, second = one.geometry, other.geometry
    return (
        one.payload == other.payload
        and first.mirrored == second.mirrored
        and abs(first.scale / second.scale - 1) < _SAME_SCALE
        and abs((first.angle - second.angle + 180) % 360 - 180) < _SAME_ANGLE
    )


@dataclass(frozen=True)
class Reading:
    """A message that passed its checks, and the tile that it was read from."""

    payload: bytes
    code: coding.Soft
    confidence: float
    aligned: Aligned
    profile: Profile


def read(tiles: list[Aligned], key: Key, tries: int = 1) -> Reading | None:
    """Decode the most promising of some tiles, under the profiles whose votes agree."""
    if not tiles:
        return None
    pattern, cipher = pattern_of(key), _cipher_of(key)
    coefficients = pattern.coefficients(torch.stack([tile.tile for tile in tiles]))
    readings = [
        (votes, tile, profile)
        for profile in PROFILES
        for tile, of_tile in zip(tiles, pattern.readings(coefficients, profile), strict=True)
        for votes in of_tile
    ]
    readings.sort(key=lambda reading: -reading[0].agreement)
    for votes, aligned, profile in readings[:_DECODES]:
        if votes.agreement < _LEAST_AGREEMENT:
            break
        for bits in coding.decode(votes.soft, profile.list_size):
            code = coding.encode(bits)
            payload = profile.unseal(from_bits(bits), cipher)
            if payload is not None and votes.score(code) >= least_score(profile, tries):
                return Reading(payload, code, float(np.mean(np.sign(votes.soft) == code)), aligned, profile)
    return None


def _detection(reading: Reading, evidence: Evidence, window: int, key: Key) -> Detection:
    template = pattern_of(key).data_tile(reading.code, reading.profile)
    presence = presence_of(evidence.residual(window), evidence.boxes[window], evidence.shape, reading.aligned, template)
    return Detection(
        reading.payload, reading.confidence, _geometry(reading.aligned), key.id, reading.profile.name, presence
    )


@lru_cache(maxsize=64)
def least_score(profile: Profile, tries: int) -> float:
    """The correlation with a codeword, in standard deviations, that a picture without a mark does not reach.

    The signs of the coefficients are keyed, so a given codeword reaches z with a probability of at most exp(-z**2 / 2)
    (Hoeffding, J. Am. Stat. Assoc. 58, 1963), whatever the picture. Times all codewords that pass the check, all readings and all
    tries that leaves ``_CHANCE``.
    """
    return math.sqrt(2 * (profile.free_bits * math.log(2) + math.log(MOST_READINGS * tries / _CHANCE)))


def claimed_score(evidence: Evidence, key: Key, payload: bytes) -> float:
    """How strongly a picture speaks for a claimed payload: knowing the whole tile, its place is found where the pilots are lost."""
    profile = profile_for(payload)
    code = coding.encode(message_of(payload, key))
    templates = torch.stack([pattern_of(key).data_tile(code, profile, emphasis) for emphasis in EMPHASES])
    turns = signed_permutations()
    # Every shift is tried, so of the places in one folded tile the first is enough.
    folded = (aligned.tile for _, tiles in evidence.groups(key) for aligned in tiles if aligned.rank == 0)
    return max(likeness(tile, templates, turns) for tile in folded)


def correlation(aligned: Aligned, key: Key, payload: bytes) -> tuple[float, Profile]:
    """How strongly a tile speaks for a claimed payload, in standard deviations, and the payload's profile."""
    profile = profile_for(payload)
    code = coding.encode(message_of(payload, key))
    soft = pattern_of(key).votes(aligned.tile, profile).soft
    return float(soft @ code) / (math.sqrt(float(soft @ soft)) + 1e-9), profile


def message_of(payload: bytes, key: Key) -> coding.Bits:
    """The message bits that carry a payload. Raises MarkError when it is not 16 bytes."""
    return to_bits(profile_for(payload).seal(payload, _cipher_of(key)))


@lru_cache(maxsize=32)
def _cipher_of(key: Key) -> PayloadCipher:
    return PayloadCipher(key)


def _geometry(aligned: Aligned) -> Geometry:
    (a, b), (c, d) = aligned.to_tile.tolist()
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # Undo the mirror on the tile's side.
    scale_x, scale_y = 1 / math.hypot(a, c), 1 / math.hypot(b, d)
    angle = math.degrees(math.atan2(c, a))
    return Geometry(scale_x, scale_y, angle, mirrored, aligned.inverted, aligned.shift)
