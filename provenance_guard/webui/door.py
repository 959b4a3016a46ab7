"""A picture of the host through the door, whatever happens: no exception leaves this file.

The host prints and swallows what a hook raises, and delivers the picture. So every failure, of a broken installation as
well, is turned here into what the policy's ``on_error`` says: a placeholder, or the picture with a warning.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from provenance_guard.webui import compat, options

if TYPE_CHECKING:
    from provenance_guard.config import Mode
    from provenance_guard.guard import Attempt, Guard, Release
    from provenance_guard.provenance.record import Context

logger = logging.getLogger(__name__)

_PLAIN = (64, 64, 64)
NO_PICTURE = Image.new("RGB", (1, 1))
"""Stands in a ``Release`` that is only remembered."""


@dataclass(frozen=True)
class Wish:
    """What one job asks for: off (only the owner of a WebUI without a policy file may), or a stricter mode."""

    enabled: bool = True
    mode: Mode | None = None


@dataclass(frozen=True)
class Passage:
    """How a picture came out. ``messages`` are whole sentences for the user.

    ``release`` is None when the guard could not be asked at all. It holds no picture, so that remembering a passage keeps
    no pixels alive.
    """

    withheld: bool
    messages: tuple[str, ...]
    release: Release | None = None

    @property
    def record_id(self) -> str | None:
        """The id of the picture's record, if there is one."""
        return self.release.record.id if self.release else None

    @property
    def recorded(self) -> bool:
        """Whether the ledger holds the picture."""
        return self.release is not None and self.release.event is not None

    @property
    def action(self) -> str:
        """What was decided: ``allow``, ``warn``, or how the picture was withheld."""
        decided = self.release.decision if self.release else None
        if self.withheld:
            return decided.action if decided and decided.withholds else "block"
        return decided.action if decided else "warn"

    @property
    def mark(self) -> Literal["none", "weak", "sound"]:
        """How well the picture carries our invisible mark; a weak one may not be found again."""
        mark = self.release.record.mark if self.release and not self.withheld else None
        if not mark or not mark.get("present"):
            return "none"
        return "weak" if mark.get("weak") else "sound"


def may_be_skipped(wish: Wish) -> bool:
    """Whether this job's pictures go past the door: switched off by the job, and no policy file forbids that."""
    return not wish.enabled and options.policy_file() is None


def admit(capture: Callable[[Guard], Context]) -> tuple[str, ...]:
    """Log a run before it starts. Returns sentences about what failed."""
    try:
        guard = _guard()
        return guard.admit(capture(guard)).failures
    except Exception as error:
        return (explain("The run could not be logged", error),)


def release(
    image: Image.Image,
    capture: Callable[[Guard], Context],
    wish: Wish,
    *,
    stamp: bool = True,
    attempt: Callable[[], Attempt] | None = None,
) -> tuple[Image.Image, Passage]:
    """Screen, mark and record a finished picture; ``capture`` tells what is known about it.

    ``stamp`` False leaves the picture and its file without mark and label; ``attempt`` is for a caller that can make it again.
    Returns all that may leave, and how it came out.
    """
    try:
        guard = _guard()
        policy = guard.config.policy.narrow(mode=wish.mode)
        if not stamp:
            mark, label = (
                dataclasses.replace(policy.mark, enabled=False),
                dataclasses.replace(policy.label, enabled=False),
            )
            policy = dataclasses.replace(policy, mark=mark, label=label)
        passed = guard.release(image, capture(guard), policy=policy, attempt=attempt() if attempt else None)
    except Exception as error:
        return refuse(image, error, wish)
    slim = dataclasses.replace(passed, image=NO_PICTURE)
    return passed.image, Passage(passed.decision.withholds, tuple(passed.decision.reasons), slim)


def refuse(image: Image.Image, error: Exception, wish: Wish) -> tuple[Image.Image, Passage]:
    """What ``on_error`` says about a picture when the guard itself could not be asked."""
    message = explain("The picture could not be guarded", error)
    if wish.mode in ("quarantine", "block") or blocks_on_error():
        return replace(image.size, message)
    return image, Passage(False, (message,))


def replace(size: tuple[int, int], message: str) -> tuple[Image.Image, Passage]:
    """A notice in the place of a picture that must not leave, whatever the policy says."""
    return _notice(size, message), Passage(True, (message,))


def seal(image: Image.Image | None, passage: Passage, requested: str) -> Passage:
    """Finish the file that the host wrote for ``image`` (None: it is gone already) when ``requested`` was asked for. Returns how that came out.

    When the policy withholds a picture whose file could not be sealed, the pixels in memory are covered too: the host
    still has them for gallery and API.
    """
    if passage.release is None:
        return passage
    path = Path(requested)
    try:
        path = compat.written_file(requested)
        sealed = _guard().seal(passage.release, path, image=image)
        troubles, withheld = sealed.failures, sealed.withheld
    except Exception as error:
        troubles = (explain(f"{path.name} could not be labelled and logged", error),)
        withheld = passage.release.policy.withholds_on_error
        if withheld:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    for trouble in troubles:
        logger.warning("%s: %s", path.name, trouble)
    if withheld and image is not None:
        image.paste(_notice(image.size, " ".join(troubles)).convert(image.mode))
    return dataclasses.replace(passage, withheld=passage.withheld or withheld, messages=(*passage.messages, *troubles))


def _guard() -> Guard:
    from provenance_guard.webui import runtime

    return runtime.guard()


def blocks_on_error() -> bool:
    """Whether a failure withholds the picture. A policy file that cannot be read counts as one that says so."""
    try:
        from provenance_guard.webui import configuration

        return configuration.read_config().policy.withholds_on_error
    except Exception:
        return options.policy_file() is not None or options.value("mode") in ("quarantine", "block")


def _notice(size: tuple[int, int], message: str) -> Image.Image:
    try:
        from provenance_guard.gate import Decision, placeholder

        return placeholder(size, Decision("block", (message,), "block"))
    except Exception:
        logger.exception("the placeholder could not be drawn")
        return Image.new("RGB", size, _PLAIN)


def explain(what: str, error: Exception) -> str:
    """One sentence or two for the user: what could not be done, why, and what to do when that is known. Never raises."""
    logger.error("%s: %s", what, error, exc_info=None if hasattr(error, "next_step") else error)
    if hasattr(error, "next_step"):  # a GuardError, whose module may be what is missing
        return f"{what}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return f"{what}: the package {error.name!r} is missing. Restart the WebUI and look at what install.py says."
    return f"{what}: {type(error).__name__}: {error}"
