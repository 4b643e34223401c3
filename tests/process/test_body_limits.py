"""Bodies that are too large: said in words where somebody may have meant them, and cut off where nobody can have."""

import asyncio
import contextlib

import httpx

from tests.process.fixtures import MakeHome

MIB = 1024**2
HEAD = "POST /sign-in/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def send(port: int, head: str, body: bytes = b"", times: int = 0) -> bytes:
    """What the site answers to this, until it closes or has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(head.encode() + b"\r\n")
        for _ in range(times):
            writer.write(body)
            await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            answer = await reader.read(4096)
    writer.close()
    return answer


async def test_a_body_that_is_too_large_is_refused_in_words(home: MakeHome) -> None:
    here = home()
    _, api = await here.serve()
    big = "x" * (18 * MIB)
    base = f"http://127.0.0.1:{api.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        await client.get("/sign-in/")
        token = client.cookies["csrftoken"]
        page = await client.post("/sign-in/", data={"csrfmiddlewaretoken": token, "username": big})
        assert page.status_code == 413
        assert "more than the 17 MiB that are accepted" in page.text
        problem = await client.post(
            "/api/v1/workflows", content=f'{{"a": "{big}"}}', headers={"Authorization": f"Bearer {api.token}"}
        )
        assert problem.status_code == 413
        assert problem.json()["type"] == "urn:stepline:problem:too-large"
        played = await client.post("/sandbox/run-dag/", content=big)
        assert played.status_code == 413


async def test_a_body_without_end_is_cut_off_before_it_fills_the_disk(home: MakeHome) -> None:
    here = home()
    _, api = await here.serve()
    announced = await send(api.port, HEAD + f"Content-Length: {10**12}\r\n")
    assert announced.startswith(b"HTTP/1.1 413 ")
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
    streamed = await send(api.port, HEAD + "Transfer-Encoding: chunked\r\n", chunk, 40)
    assert streamed == b"" or streamed.startswith(b"HTTP/1.1 413 ")
    assert (await api.call("GET", "/runs"))["items"] == [], "the site is well"
    assert "Traceback" not in (here.folder / "serve.log").read_text()
