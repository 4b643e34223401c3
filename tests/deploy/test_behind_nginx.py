"""The deployment of docs/deploy.md in small: nginx with the shipped configuration, two sites, two workers, PostgreSQL
and Redis. Only ports and paths are other ones.
"""

import asyncio
import datetime
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from runs.web.limits import MOST
from tests import seed
from tests.deploy.test_files import DEPLOY
from tests.process.fixtures import MakeHome
from tests.process.programs import Home, Program, start
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.servers import end_with_parent, free_port, query, wait_until

pytestmark = [pytest.mark.process, pytest.mark.postgres]

FLOW, NAME = "Customer_Support_Pipeline", "ticket_78453"
ROUND = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    types {{ text/css css; application/javascript js; image/svg+xml svg; }}
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    access_log {folder}/access.log;
    include {folder}/site.conf;
}}
"""


class Front(NamedTuple):
    """nginx: `site` is where people reach it, `plain` the same without TLS."""

    site: str
    plain: str
    context: ssl.SSLContext
    folder: Path

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.site, verify=self.context, trust_env=False, timeout=30, **options)

    def socket(self, path: str, **options: Any) -> connect:
        address = self.site.replace("https://", "wss://") + path
        return connect(address, ssl=self.context, proxy=None, **{"origin": self.site, **options})


def certificate(folder: Path) -> None:
    """A certificate of 127.0.0.1 that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stepline")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).add_extension(addresses, critical=False)
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.sign(key, hashes.SHA256())
    (folder / "stepline.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "stepline.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Each of them stands there."""
    for old, new in pairs:
        assert old in text, f"{old!r} is not in the shipped file"
        text = text.replace(old, new)
    return text


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    """Started once the ports of the sites are known; ends with the test."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, sites: list[int], static: Path) -> Front:
        tls, plain = free_port(), free_port()
        certificate(self.folder)
        upstreams = replaced(
            (DEPLOY / "nginx-upstreams.conf").read_text(),
            *((f"127.0.0.1:{old}", f"127.0.0.1:{new}") for old, new in zip((8001, 8002), sites, strict=True)),
        )
        (self.folder / "upstreams.conf").write_text(upstreams)
        site = replaced(
            (DEPLOY / "nginx.conf").read_text(),
            ("    listen [::]:443 ssl;\n", ""),
            ("    listen [::]:80;\n", ""),
            ("listen 443 ssl", f"listen 127.0.0.1:{tls} ssl"),
            ("listen 80", f"listen 127.0.0.1:{plain}"),
            ("/etc/nginx/stepline-upstreams.conf", str(self.folder / "upstreams.conf")),
            ("/etc/nginx/tls", str(self.folder)),
            ("/var/lib/stepline/static", str(static)),
        )
        (self.folder / "site.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(ROUND.format(folder=self.folder, user=user))
        words = [self.program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        checked = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "warn" not in checked.stderr
        self.process = subprocess.Popen(words, preexec_fn=end_with_parent)  # noqa: PLW1509
        wait_until(lambda: listens(tls) and listens(plain), "nginx listens")
        context = ssl.create_default_context(cafile=str(self.folder / "stepline.crt"))
        return Front(f"https://127.0.0.1:{tls}", f"http://127.0.0.1:{plain}", context, self.folder)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not on this machine (Debian: nginx-light)")
    (tmp_path / "nginx").mkdir()
    made = Nginx(program, tmp_path / "nginx")
    yield made
    made.stop()


async def deployed(deploy: MakeHome, nginx: Nginx) -> tuple[Home, Front, list[Program]]:
    home = deploy(HTTPS=1, TRUSTED_PROXIES=1, ALLOWED_HOSTS="127.0.0.1", SANDBOX=0)
    sites, _ = await start(home, webs=2, workers=2)
    front = nginx.start([api.port for _, api in sites], home.folder / "static")
    return home, front, [program for program, _ in sites]


async def signed_in(home: Home, front: Front) -> httpx.AsyncClient:
    """A browser at the front that has used a one-time link; it lies about where it comes from."""
    made = await asyncio.to_thread(home.manage, "signin_link", "operator", SITE_URL=front.site)
    link = re.search(r"https?://[^/]+(/sign-in/\S+)", made.stdout)
    assert link, made.stderr
    browser = front.client(headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"})
    answer = await browser.get(link[1])
    assert answer.status_code == 302, answer.text
    assert "Secure" in answer.headers["set-cookie"]
    return browser


def cookie(browser: httpx.AsyncClient) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}


async def pushed(page: ClientConnection) -> str:
    """What the page of a run gets that has just come and has nothing yet."""
    await page.send(json.dumps({"since": "0", "rev": "0"}))
    return str(await asyncio.wait_for(page.recv(), 30))


@pytest.mark.timeout(240)
async def test_two_sites_and_two_workers_behind_nginx(
    deploy: MakeHome, nginx: Nginx, upstream: ScriptedUpstream
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    home, front, sites = await deployed(deploy, nginx)
    api = front.client(headers={"Authorization": f"Bearer {home.token}"})
    browser = await signed_in(home, front)
    async with aclosing(api), aclosing(browser):
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)

        # A run, launched and followed to its end: its page, its page's socket, and the upstream's protocol.
        definition = {
            "flow_name": FLOW,
            "tasks": [{"name": "sentiment_analyzer", "function": "api_call", "params": {}}],
        }
        launched = await api.post("/api/v1/runs", json={"flow_name": FLOW, "run_name": NAME, "definition": definition})
        assert launched.status_code == 201, launched.text
        run = launched.json()

        async def over() -> bool:
            return bool((await api.get(f"/api/v1/runs/{run['id']}")).json()["status"] == "succeeded")

        await eventually(over, 40)
        page = await browser.get(f"/runs/{run['id']}/")
        assert page.status_code == 200
        assert "strict-transport-security" in page.headers
        async with front.socket(f"/live/runs/{run['id']}/", additional_headers=cookie(browser)) as socket:
            assert "sentiment_analyzer" in await pushed(socket)
        with pytest.raises(InvalidStatus) as refused:
            await front.socket("/live/runs/", origin="https://elsewhere.example", additional_headers=cookie(browser))
        assert refused.value.response.status_code == 403
        heard = []
        async with front.socket(f"/ws/{FLOW}/{NAME}", additional_headers=dict(api.headers)) as socket:
            async for frame in socket:
                heard.append(json.loads(frame)["event_type"])
        assert heard == [json.loads(frame)["event_type"] for frame in seed.frames("customer_support")]
        addresses = await asyncio.to_thread(query, home.database, "SELECT DISTINCT host(address) FROM accounts_signin")
        assert addresses == [("127.0.0.1",)], "the client's own word on its address was believed"

        # Static files come from nginx, packed, and for good.
        static = sorted(set(re.findall(r"/static/[\w./-]+", page.text)))
        assert any(path.endswith(".css") for path in static)
        assert any(path.endswith(".js") for path in static)
        for path in static:
            file = await browser.get(path, headers={"Accept-Encoding": "gzip"})
            assert file.status_code == 200, path
            assert file.headers["cache-control"] == "public, max-age=315360000, immutable", path
            assert file.headers["x-content-type-options"] == "nosniff"
            if (home.folder / f"{path.removeprefix('/')}.gz").exists():
                assert file.headers["content-encoding"] == "gzip"
        for outside in ("/static/../secret_key", "/static/%2e%2e/secret_key", "/static../secret_key"):
            assert (await api.get(front.site + outside)).status_code in (400, 404)

        # Without TLS there is nothing but the way to it.
        async with httpx.AsyncClient(trust_env=False) as plain:
            moved = await plain.get(f"{front.plain}/runs/?q=a%2Fb")
        assert (moved.status_code, moved.headers["location"]) == (301, "https://127.0.0.1/runs/?q=a%2Fb")

        # Bodies: the site says in words what is too large, nginx cuts what is beyond all measure.
        headers = {"Content-Type": "application/json"}
        large = await api.post("/api/v1/runs", content=b" " * (18 * 1024**2), headers=headers)
        assert (large.status_code, large.json()["status"]) == (413, 413)
        beyond = await api.post("/api/v1/runs", content=b" " * (MOST + 1), headers=headers)
        assert beyond.status_code == 413
        assert "nginx" in beyond.text

        # One site dies: pages go on, sockets come back at the other one.
        headers = cookie(browser)
        sockets = [await front.socket("/live/runs/", additional_headers=headers) for _ in range(4)]
        sites[0].kill()

        async def half_are_lost() -> bool:
            return [one.close_code is None for one in sockets].count(False) == 2

        await eventually(half_are_lost, 30)
        for one in sockets:
            await one.close()
        answers = [await browser.get(f"/runs/{run['id']}/") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        async with front.socket(f"/live/runs/{run['id']}/", additional_headers=cookie(browser)) as socket:
            assert "sentiment_analyzer" in await pushed(socket)
        again = await api.post("/api/v1/runs", json={"flow_name": FLOW, "run_name": "2", "definition": definition})
        assert again.status_code == 201
    log = (front.folder / "error.log").read_text()
    assert "[emerg]" not in log
    assert "[crit]" not in log
