"""A resolver that tests fill, and two loopback addresses of which one passes for the internet."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outgoing import addresses
from tests.servers import free_port

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"


@pytest.fixture(autouse=True)
def private_refused(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False


class Resolver:
    """Answers look-ups from `answers`: each look-up of a name takes the next of its lists, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *args: Any, **more: Any) -> list[Any]:
        host = host.decode() if isinstance(host, bytes) else host
        self.asked.append(host)
        if host in self.answers:
            lists = self.answers[host]
            found = lists.pop(0) if len(lists) > 1 else lists[0]
        else:
            try:
                found = [str(ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host))))]
            except OSError:
                try:
                    found = [str(ipaddress.ip_address(host))]
                except ValueError:
                    raise socket.gaierror(socket.EAI_NONAME, "no such name here") from None
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (families[ipaddress.ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, port or 0)) for one in found
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@pytest.fixture
def one_loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 passes for a public address; every other is judged as ever."""
    really = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == PUBLIC or really(address))


class Heard:
    """What servers at the two addresses were sent: the heads of requests."""

    def __init__(self) -> None:
        self.public: list[str] = []
        self.private: list[str] = []
        self.names: list[str | None] = []  # of TLS
        self.port = 0
        self.location = ""


@asynccontextmanager
async def servers(context: ssl.SSLContext | None = None) -> AsyncIterator[Heard]:
    """One server on each address, on the same port, that answers 200, or a redirect where `location` says so."""
    heard = Heard()
    if context:
        context.sni_callback = lambda _socket, name, _context: heard.names.append(name)

    def answering(kept: list[str]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            kept.append((await reader.readuntil(b"\r\n\r\n")).decode())
            status = f"302 Found\r\nlocation: {heard.location}" if heard.location else "200 OK"
            body = b'{"status": "completed", "task_id": "t", "results": {}}'
            head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()

        return answer

    heard.port = free_port()
    both = [
        await asyncio.start_server(answering(heard.public), PUBLIC, heard.port, ssl=context),
        await asyncio.start_server(answering(heard.private), PRIVATE, heard.port, ssl=context),
    ]
    try:
        yield heard
    finally:
        for server in both:
            server.close()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that is orchestrator.example, and of a client that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orchestrator.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("orchestrator.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())
