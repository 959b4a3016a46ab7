"""A real time-stamping authority on this computer: ``openssl ts`` behind a small HTTP server, honest or not."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPENSSL = shutil.which("openssl")
POLICY = "1.2.3.4.1"

_TOKEN_CONTENT = "1.2.840.113549.1.9.16.1.4"

_CONFIG = """
[tsa]
default_tsa = honest
[honest]
serial = serial
signer_cert = tsa.pem
certs = root.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
tsa_name = yes
ess_cert_id_alg = sha256
"""


class TimeAuthority:
    """An authority with a root of its own in ``folder``. ``answer`` (request bytes to reply bytes) may be replaced."""

    def __init__(
        self, folder: Path, name: str, *, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING
    ) -> None:
        self.folder = folder
        self.honest: TimeAuthority | None = None  # where openssl refuses to serve with this certificate
        self.name = name
        self.url = ""
        self.asked = 0
        folder.mkdir(parents=True)
        (folder / "tsa.cnf").write_text(_CONFIG, encoding="utf-8")
        (folder / "serial").write_text("01", encoding="utf-8")
        self._make_certificates(purpose)
        self.answer: Callable[[bytes], bytes] = self.reply

    def _make_certificates(self, purpose: x509.ObjectIdentifier) -> None:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name = _name(f"{self.name} root")
        constraints = (x509.BasicConstraints(ca=True, path_length=None), True)
        root = _certificate(root_name, root_name, root_key, root_key, constraints)
        use = (x509.ExtendedKeyUsage([purpose]), True)
        leaf = _certificate(_name(self.name), root_name, key, root_key, use)
        for file, certificate in (("root.pem", root), ("tsa.pem", leaf)):
            (self.folder / file).write_bytes(certificate.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "tsa.key").write_bytes(private)

    @property
    def roots(self) -> Path:
        return self.folder / "root.pem"

    def reply(self, request: bytes) -> bytes:
        """The honest answer."""
        (self.folder / "request.tsq").write_bytes(request)
        self.run("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "request.tsq", "-out", "reply.tsr")
        return (self.folder / "reply.tsr").read_bytes()

    def reply_at(self, request: bytes, moment: datetime) -> bytes:
        """An answer with another time in it, signed by whatever certificate this authority has."""
        helper = self.honest or self
        helper.reply(request)
        helper.run("ts", "-reply", "-in", "reply.tsr", "-token_out", "-out", "token.der")
        helper.run("cms", "-verify", "-noverify", "-inform", "DER", "-in", "token.der", "-out", "info.der")
        info = (helper.folder / "info.der").read_bytes()
        told = re.search(rb"\x18\x0f(\d{14}Z)", info)
        assert told
        (self.folder / "info.der").write_bytes(info.replace(told[1], moment.strftime("%Y%m%d%H%M%SZ").encode("ascii")))
        self.run("cms", "-sign", "-binary", "-nodetach", "-cades", "-md", "sha256", "-outform", "DER", "-in", "info.der",
                 "-econtent_type", _TOKEN_CONTENT, "-signer", "tsa.pem", "-inkey", "tsa.key", "-certfile", "root.pem",
                 "-out", "signed.der")  # fmt: skip
        body = b"\x30\x03\x02\x01\x00" + (self.folder / "signed.der").read_bytes()  # status: granted
        return b"\x30\x82" + len(body).to_bytes(2, "big") + body

    def request(self, content: bytes, *options: str) -> bytes:
        """A request about other content, as openssl writes it."""
        (self.folder / "content").write_bytes(content)
        self.run("ts", "-query", "-data", "content", "-sha256", "-cert", "-out", "other.tsq", *options)
        return (self.folder / "other.tsq").read_bytes()

    def accepts(self, reply: bytes, content: bytes) -> bool:
        """Whether ``openssl ts -verify`` agrees that this answer is about this content."""
        (self.folder / "kept.tsr").write_bytes(reply)
        (self.folder / "content").write_bytes(content)
        command = ("ts", "-verify", "-data", "content", "-in", "kept.tsr", "-CAfile", "root.pem")
        result = subprocess.run([str(OPENSSL), *command], cwd=self.folder, capture_output=True, check=False)
        return result.returncode == 0

    def run(self, *arguments: str) -> None:
        subprocess.run([str(OPENSSL), *arguments], cwd=self.folder, capture_output=True, check=True)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing_key: ec.EllipticCurvePrivateKey,
    extension: tuple[x509.ExtensionType, bool],
) -> x509.Certificate:
    """Valid for so long that a test may set any clock."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(extension[0], critical=extension[1])
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2040, 1, 1))
    return builder.sign(signing_key, hashes.SHA256())


@contextmanager
def serving(answer: Callable[[str, bytes], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server on a free port of this computer; ``answer`` maps path and body to status and answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._respond(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_GET(self) -> None:
            self._respond(b"")

        def _respond(self, body: bytes) -> None:
            status, content = answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def online(authority: TimeAuthority) -> Iterator[TimeAuthority]:
    """The authority, reachable at ``authority.url``; the address stays known when it is offline again."""

    def answer(_: str, body: bytes) -> tuple[int, bytes]:
        authority.asked += 1
        return 200, authority.answer(body)

    with serving(answer) as url:
        authority.url = url + "/tsr"
        yield authority
