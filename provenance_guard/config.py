"""Policy and settings: what a studio demands, and what a user prefers.

A *policy* is the studio's: it lives in a TOML file outside the WebUI's data directory and can only be narrowed (made
stricter) by options and by a job. *Settings* are the user's own: where things are kept and how much is told.
Both are frozen dataclasses, validated here; an error names the file and the line.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Collection
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from provenance_guard import paths
from provenance_guard.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

POLICY_VERSION = 1

_Key = tuple[Union[str, int], ...]
"""Where a value stands in a TOML document: names of tables and keys, numbers in lists."""

Mode = Literal["off", "warn", "quarantine", "block"]
OnError = Literal["warn", "quarantine", "block"]
Previews = Literal["allow", "blur", "off"]
Strength = Literal["invisible", "balanced", "strong"]

WITHHOLDING: tuple[Mode, ...] = ("quarantine", "block")
"""The modes, and answers to an error, with which no pixel leaves. ``quarantine`` also keeps the picture for a reviewer."""


@dataclass(frozen=True)
class ScreenPolicy:
    """Where verdicts begin. Probabilities are calibrated (0..1), ``semantic_review`` is an embedding cosine."""

    references: tuple[Path, ...] = ()
    review: float = field(default=0.5, metadata={"minimum": 0.0, "maximum": 1.0})
    near_copy: float = field(default=0.85, metadata={"minimum": 0.0, "maximum": 1.0})
    semantic_review: float = field(default=0.85, metadata={"minimum": 0.0, "maximum": 1.0})


@dataclass(frozen=True)
class MarkPolicy:
    """Whether and how strongly the invisible mark is put in."""

    enabled: bool = True
    strength: Strength = "invisible"


@dataclass(frozen=True)
class LabelPolicy:
    """Whether saved files say in their metadata that they are AI generated."""

    enabled: bool = True


@dataclass(frozen=True)
class RetryPolicy:
    """How often a near-copy is generated again with a new seed, where the generator can do that, before ``mode`` applies."""

    attempts: int = field(default=0, metadata={"minimum": 0, "maximum": 20})


@dataclass(frozen=True)
class QuarantinePolicy:
    """Who may review kept pictures in the WebUI's tab, by the names they log in with. Elsewhere whoever holds the key may."""

    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What a picture must pass. ``source`` is the file it was read from, None for the built-in default.

    ``mode``: ``off`` screens nothing, ``warn`` delivers and says so, ``quarantine`` and ``block`` withhold near-copies, the
    first of them keeping the original encrypted for a reviewer.
    ``on_error``: what happens to a picture when a step failed.
    ``previews``: what a generator may show of a picture that is not screened yet.
    """

    version: int = field(default=POLICY_VERSION, metadata={"minimum": 1, "maximum": POLICY_VERSION})
    mode: Mode = "warn"
    on_error: OnError = "warn"
    previews: Previews = "allow"
    screen: ScreenPolicy = field(default_factory=ScreenPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    quarantine: QuarantinePolicy = field(default_factory=QuarantinePolicy)
    mark: MarkPolicy = field(default_factory=MarkPolicy)
    label: LabelPolicy = field(default_factory=LabelPolicy)
    source: Path | None = field(default=None, metadata={"internal": True})

    @property
    def withholds_copies(self) -> bool:
        """Whether a near-copy does not leave."""
        return self.mode in WITHHOLDING

    @property
    def withholds_on_error(self) -> bool:
        """Whether a picture does not leave when a step failed."""
        return self.on_error in WITHHOLDING

    def narrow(
        self,
        *,
        mode: Mode | None = None,
        on_error: OnError | None = None,
        previews: Previews | None = None,
        near_copy: float | None = None,
        review: float | None = None,
    ) -> Policy:
        """This policy made stricter by a job's wishes; a wish that would loosen it is ignored.

        Who wishes near-copies withheld gets that for failed steps too, and no previews. The two ways to withhold are equally
        strict: between them the policy's own stands, so that no wish destroys, or keeps, what the policy does not.
        """
        if mode in ("quarantine", "block"):
            on_error, previews = on_error or mode, "off"
        screen = dataclasses.replace(
            self.screen,
            near_copy=min(self.screen.near_copy, near_copy if near_copy is not None else 1.0),
            review=min(self.screen.review, review if review is not None else 1.0),
        )
        return dataclasses.replace(
            self,
            mode=mode if mode and _strictness(mode) > _strictness(self.mode) else self.mode,
            on_error=on_error if on_error and _strictness(on_error) > _strictness(self.on_error) else self.on_error,
            previews=max(self.previews, previews or self.previews, key=get_args(Previews).index),
            screen=screen,
        )


def follow_mode(policy: Policy, stated: Collection[str]) -> Policy:
    """``policy`` with what is not ``stated`` (field names) as its mode demands: one that withholds near-copies also withholds
    when a step fails, in the same way, and shows no previews."""
    if policy.mode not in ("quarantine", "block"):
        return policy
    return dataclasses.replace(
        policy,
        on_error=policy.on_error if "on_error" in stated else policy.mode,
        previews=policy.previews if "previews" in stated else "off",
    )


def _strictness(mode: Mode) -> int:
    return min(get_args(Mode).index(mode), get_args(Mode).index("quarantine"))


@dataclass(frozen=True)
class Authority:
    """A time-stamping authority (RFC 3161): its address, the file with the root certificates (PEM) that its tokens must lead to,
    and the policy (dotted OID) that they must be given under, any when empty."""

    url: str
    roots: Path
    policy: str = ""


@dataclass(frozen=True)
class TimeStamping:
    """Who is asked to date checkpoints; nobody by default, so that nothing goes out to a network.

    ``calendars`` are addresses of OpenTimestamps calendars. ``minutes``: how long to wait at least before asking one again.
    """

    authorities: tuple[Authority, ...] = ()
    calendars: tuple[str, ...] = ()
    minutes: float = field(default=10.0, metadata={"minimum": 0.0, "maximum": 10_080.0})


@dataclass(frozen=True)
class Settings:
    """The user's preferences. Nothing in here can weaken a policy.

    ``user`` is written into the private record where the caller knows no user;
    ``device`` is ``auto`` (the one that generated), ``cpu`` or a torch device; ``embedding_model`` and
    ``embedding_checkpoint`` name an open_clip architecture and a local weight file, or the file is a copy detector in
    TorchScript; ``witnesses`` are verifier keys of those whose cosignatures count (``name+id+key``).
    """

    sidecar: bool = True
    user: str = ""
    device: str = "auto"
    embedding_model: str = "ViT-B-32"
    embedding_checkpoint: Path | None = None
    timestamping: TimeStamping = field(default_factory=TimeStamping)
    witnesses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """Everything ``Guard`` needs to know before it starts."""

    data_directory: Path = field(default_factory=paths.data_directory)
    key_directory: Path = field(default_factory=paths.key_directory)
    policy: Policy = field(default_factory=Policy)
    settings: Settings = field(default_factory=Settings)

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.data_directory / "ledger.sqlite3"

    @property
    def quarantine_path(self) -> Path:
        """The folder of encrypted originals."""
        return self.data_directory / "quarantine"

    @property
    def library_path(self) -> Path:
        """The folder of the reference library's own data."""
        return self.data_directory / "library"


def load_policy(path: Path) -> Policy:
    """Read a policy file. What it leaves open follows from its mode (see ``follow_mode``).

    Relative reference folders are taken from the policy's own folder. Raises ConfigError with the line.
    """
    document = _Document(path)
    policy: Policy = follow_mode(document.build(Policy), document.values)
    limits = policy.screen
    if limits.review > limits.near_copy:
        culprit = "review" if "review" in document.values["screen"] else "near_copy"
        problem = f"screen.review ({limits.review}) is above screen.near_copy ({limits.near_copy})"
        raise ConfigError(path, problem, line=document.line_of(("screen", culprit)))
    folders = tuple((path.parent / folder).absolute() for folder in limits.references)
    return dataclasses.replace(policy, screen=dataclasses.replace(limits, references=folders), source=path)


def load_settings(path: Path) -> Settings:
    """Read a settings file; the defaults when it does not exist. Relative files are taken from its own folder.

    Raises ConfigError with the line.
    """
    if not path.exists():
        return Settings()
    document = _Document(path)
    settings: Settings = document.build(Settings)
    asked = settings.timestamping
    places: list[tuple[str, _Key]] = [
        *(
            (authority.url, ("timestamping", "authorities", at, "url"))
            for at, authority in enumerate(asked.authorities)
        ),
        *((calendar, ("timestamping", "calendars")) for calendar in asked.calendars),
    ]
    for url, key in places:
        if not _is_address(url):
            problem = f"{url!r} is no web address without name and password"
            raise ConfigError(path, problem, line=document.line_of(key))
        if [place for place, _ in places].count(url) > 1:
            raise ConfigError(path, f"{url!r} is named twice", line=document.line_of(key))
    authorities = tuple(
        dataclasses.replace(authority, roots=(path.parent / authority.roots).absolute())
        for authority in asked.authorities
    )
    return dataclasses.replace(settings, timestamping=dataclasses.replace(asked, authorities=authorities))


class _Document:
    """A TOML file that remembers where its keys stand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text("utf-8-sig")
        except OSError as error:
            raise ConfigError(
                path, f"cannot be read ({error.strerror})", next_step="Check the path and the permissions."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(path, "is not UTF-8 text", next_step="Save it as UTF-8.") from error
        try:
            # The parser has no line for the very end: a last line break gives it one.
            self.values: dict[str, Any] = tomllib.loads(self.text + "\n")
        except (ValueError, RecursionError) as error:  # ValueError also for a number of thousands of digits
            line = re.search(r"line (\d+)", str(error))
            raise ConfigError(path, f"not valid TOML: {error}", line=int(line.group(1)) if line else None) from error

    def build(self, kind: type) -> Any:
        return self._table(kind, self.values, ())

    def line_of(self, key: _Key) -> int | None:
        """The 1-based line where the statement begins that brings a key, or a table around it, into the document."""
        while key:
            line = self._first_line_with(key)
            if line is not None:
                return line
            key = key[:-1]
        return None

    def _first_line_with(self, key: _Key) -> int | None:
        # Parsing ever more lines finds it in every notation: dotted keys, inline tables, values over several lines.
        lines, complete = self.text.split("\n"), 0
        for count in range(1, len(lines) + 1):
            try:
                values = tomllib.loads("\n".join(lines[:count]))
            except ValueError:
                continue  # in the middle of a statement
            if _holds(values, key):
                return complete + 1
            complete = count
        return None

    def _table(self, kind: type, values: dict[str, Any], prefix: _Key) -> Any:
        hints = get_type_hints(kind)
        known = {item.name: item for item in dataclasses.fields(kind) if not item.metadata.get("internal")}
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
                raise self._error((*prefix, name), f"unknown key {name!r}{hint}")
        for name, item in known.items():
            if name not in values and item.default is MISSING and item.default_factory is MISSING:
                raise self._error(prefix, f"{name!r} is missing")
        chosen = {name: self._value(hints[name], known[name], value, (*prefix, name)) for name, value in values.items()}
        return kind(**chosen)

    def _value(self, hint: Any, item: dataclasses.Field[Any], value: Any, key: _Key) -> Any:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise self._error(key, f"{item.name!r} must be a table")
            return self._table(hint, value, key)
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise self._error(
                    key, f"{item.name} is {value!r}, must be one of {', '.join(map(repr, get_args(hint)))}"
                )
            return value
        if get_origin(hint) is tuple and dataclasses.is_dataclass(get_args(hint)[0]):
            if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
                raise self._error(key, f"{item.name} must be a list of tables")
            return tuple(self._table(get_args(hint)[0], entry, (*key, at)) for at, entry in enumerate(value))
        if get_origin(hint) is tuple:
            folders = get_args(hint)[0] is Path
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise self._error(key, f"{item.name} must be a list of {'folders' if folders else 'names'} in quotes")
            return tuple(self._path(entry, key) for entry in value) if folders else tuple(value)
        if hint is float or hint is int:
            if isinstance(value, bool) or not isinstance(value, (int, float) if hint is float else int):
                raise self._error(key, f"{item.name} is {value!r}, must be a {'whole ' if hint is int else ''}number")
            low, high = item.metadata["minimum"], item.metadata["maximum"]
            if not low <= value <= high:
                raise self._error(key, f"{item.name} is {value!r}, must be between {low} and {high}")
            return hint(value)
        if hint is bool:
            if not isinstance(value, bool):
                raise self._error(key, f"{item.name} is {value!r}, must be true or false")
            return value
        if not isinstance(value, str):
            raise self._error(key, f"{item.name} is {value!r}, must be text in quotes")
        return value if hint is str else self._path(value, key)

    def _path(self, text: str, key: _Key) -> Path:
        if not text.strip() or "\0" in text:
            raise self._error(key, f"{key[-1]} holds {text!r}, which is no path")
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise self._error(key, f"{key[-1]} holds {text!r}, and there is no such user") from None

    def _error(self, key: _Key, problem: str) -> ConfigError:
        return ConfigError(self.path, problem, line=self.line_of(key))


def _holds(values: Any, key: _Key) -> bool:
    for part in key:
        present = (
            part in range(len(values)) if isinstance(values, list) else isinstance(values, dict) and part in values
        )
        if not present:
            return False
        values = values[part]
    return True


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and url.isascii()
    except ValueError:
        return False
