"""The stand-alone page answers this computer's own browser only, and serves nothing but itself, uploads and results."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard
from provenance_guard.ui import launch
from provenance_guard.ui.server import LocalOnly, build_app

HERE = "http://127.0.0.1:7870"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where uploads and results lie."""
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


@pytest.fixture
def client(new_guard: Guard, folder: Path) -> TestClient:
    return TestClient(LocalOnly(build_app(new_guard), folder), base_url=HERE)


def test_the_page_names_no_other_host(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    head = answer.text.split("<body", 1)[0]
    assert "Provenance Guard" in head
    assert not any(f'{name}="http' in head.replace("'", '"') for name in ("src", "href", "content"))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7870", "127.0.0.1.evil.example", "192.168.0.7:7870", "[::1", ""]
)
def test_another_name_for_this_address_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/config", headers={"host": host}).status_code == 403


def test_both_names_of_this_computer_are_served(client: TestClient) -> None:
    for host in ("127.0.0.1:7870", "localhost:7870"):
        assert client.get("/config", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:9999", "null"])
def test_a_page_of_another_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/config", headers={"origin": origin}).status_code == 403
    assert client.get("/config", headers={"origin": HERE}).status_code == 200


def test_a_socket_of_another_origin_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(Exception) as caught,
        client.websocket_connect("/queue/join", headers={"origin": "http://evil.example"}),
    ):
        pass
    assert getattr(caught.value, "code", None) == 1008


@pytest.mark.parametrize("route", ["/file={}", "/file/{}", "/file%3D{}", "/proxy=http://127.0.0.1/{}"])
def test_files_of_this_computer_are_not_served(client: TestClient, tmp_path: Path, folder: Path, route: str) -> None:
    secret = tmp_path / "watermark.key"
    secret.write_text("secret")
    for path in (secret, folder / ".." / secret.name, Path("pyproject.toml"), "nothing%00here"):
        answer = client.get(route.format(path))
        assert answer.status_code in (403, 404)
        assert "secret" not in answer.text


def test_a_taken_port_gives_a_sentence(new_guard: Guard) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="--port"):
            launch(new_guard, port=other.getsockname()[1], open_browser=False)


def test_a_port_that_does_not_exist_gives_a_sentence(new_guard: Guard) -> None:
    with pytest.raises(UsageError, match="70000"):
        launch(new_guard, port=70000, open_browser=False)
