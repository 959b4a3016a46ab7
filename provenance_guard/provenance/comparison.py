"""Compare two sets of generation parameters field by field: was this made with those settings?"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from provenance_guard.json_types import Json

_TOLERANCE = 1e-6  # Programs print 0.7 and compute with 0.699999988.
_SCHEDULES = ("karras", "exponential", "polyexponential", "sgm uniform", "uniform", "simple", "normal", "beta")
_AUTOMATIC = frozenset({"", "automatic"})
_SAMPLER, _SCHEDULE = "sampler", "schedule_type"


@dataclass(frozen=True)
class Difference:
    """A field whose values differ; a side that lacks the field has None."""

    name: str
    left: Json
    right: Json


def compare(left: Mapping[str, Json], right: Mapping[str, Json]) -> tuple[Difference, ...]:
    """The fields in which two ``parameters`` mappings differ, in the order of ``left``, then of ``right``.

    Numbers are compared by value (``7``, ``7.0`` and ``"7"`` are one, within 1 part in a million), texts without regard to
    line ends and outer blanks, sampler names without regard to case, blanks and where the schedule is written
    (``DPM++ 2M Karras`` is sampler ``DPM++ 2M`` with schedule ``Karras``).
    """
    one, other = _split_schedule(left), _split_schedule(right)
    names = list(dict.fromkeys([*left, *right, *(name for name in (_SCHEDULE,) if one.get(name) or other.get(name))]))
    return tuple(
        Difference(name, left.get(name), right.get(name))
        for name in names
        if not _equal(name, one.get(name), other.get(name))
    )


def _split_schedule(parameters: Mapping[str, Json]) -> dict[str, Json]:
    values = dict(parameters)
    sampler, schedule = values.get(_SAMPLER), values.get(_SCHEDULE)
    if not isinstance(sampler, str):
        return values
    plain = _plain_name(sampler)
    written = next((name for name in _SCHEDULES if plain.endswith(f" {name}")), None)
    if written is not None and _plain_name(schedule if isinstance(schedule, str) else "") in (*_AUTOMATIC, written):
        values[_SAMPLER], values[_SCHEDULE] = plain.removesuffix(f" {written}"), written
    return values


def _equal(name: str, left: Json, right: Json) -> bool:
    if name == _SCHEDULE:  # Left out by the programs when it is the default.
        left, right = (None if _plain_name(value) in _AUTOMATIC else value for value in (left or "", right or ""))
    if left is None or right is None:
        return left is right
    if name in (_SAMPLER, _SCHEDULE):
        return _plain_name(left) == _plain_name(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return str(left) == str(right)  # Infotext has the words.
    one, other = _number(left), _number(right)
    if one is not None and other is not None:
        if isinstance(one, int) and isinstance(other, int):
            return one == other  # A seed is exact, however large.
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if isinstance(left, str) and isinstance(right, str):
        return _plain_text(left) == _plain_text(right)
    return left == right


def _number(value: Json) -> int | float | None:
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,20}", value.strip()):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{0,20}\.\d{1,20}", value.strip()):
        return float(value)
    return None


def _plain_name(value: Json) -> str:
    return re.sub(r"[\s_]+", " ", str(value)).strip().lower()


def _plain_text(text: str) -> str:
    return text.replace("\r\n", "\n").strip()
