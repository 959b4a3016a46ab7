"""What holds for every test: no network, a data and key folder of its own, the same hypothesis settings everywhere.

No name of the WebUI is imported here: the fake host and the real one have their own set-up.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

from provenance_guard import paths

IN_CI = bool(os.environ.get("CI"))

# Time limits per example would fail on a busy machine. In CI the same examples run each time.
hypothesis.settings.register_profile("project", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("project")

# Libraries that would otherwise look for news or weights.
os.environ.update(HF_HUB_OFFLINE="1", GRADIO_ANALYTICS_ENABLED="False", DO_NOT_TRACK="1")


class NetworkUsedError(OSError):
    """A test reached for the network. Code under test may swallow it; the test fails all the same."""


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    """Fail a test that connects to, or asks for the address of, anything but this computer."""
    attempts: list[str] = []

    def refuse(host: object) -> None:
        attempts.append(str(host))
        raise NetworkUsedError(f"Tests have no network, and this one asked for {host}.")

    def connect(self: socket.socket, address: object) -> None:
        check_address(self, address)
        real_connect(self, address)

    def connect_ex(self: socket.socket, address: object) -> int:
        check_address(self, address)
        return real_connect_ex(self, address)

    def check_address(connection: socket.socket, address: object) -> None:
        if connection.family in (socket.AF_INET, socket.AF_INET6) and not is_this_computer(address[0]):
            refuse(address[0])

    def getaddrinfo(host: object, *arguments: object, **options: object) -> list[tuple]:
        if not is_this_computer(host):
            refuse(host)
        return real_getaddrinfo(host, *arguments, **options)

    real_connect, real_connect_ex = socket.socket.connect, socket.socket.connect_ex
    real_getaddrinfo = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
    if attempts:
        pytest.fail(f"This test reached for the network: {', '.join(attempts)}")


def is_this_computer(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "testserver", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(name).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(autouse=True, scope="session")
def nobodys_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Between tests ledger and keys have no home: what a test leaves running must not write into the developer's own."""
    home = tmp_path_factory.mktemp("between-tests")
    with homes_in(home):
        yield
    left = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert not left, f"Something outlived its test, and wrote {', '.join(left)}"


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ledger, library and keys of each test live in a folder of its own; no policy comes from outside."""
    with homes_in(tmp_path_factory.mktemp("installation")):
        yield


@contextmanager
def homes_in(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.DATA_VARIABLE, str(home / "data"))
        patch.setenv(paths.KEYS_VARIABLE, str(home / "keys"))
        patch.delenv(paths.POLICY_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser for tests of the page. It may be missing on a developer's computer, never in CI."""
    found = next(
        (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), ""
    )
    if not found and IN_CI:
        pytest.fail("Chromium is not installed; .ci/run installs it.")
    if not found:
        pytest.skip("Chromium is not installed, so the page is not tested in a browser.")
    return Path(found)
