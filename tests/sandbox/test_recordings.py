"""Recorded streams: read, paced, and played byte for byte."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.test import AsyncClient

from sandbox import recording
from sandbox.engine import orchestrator
from tests.sandbox.playing import until

pytestmark = pytest.mark.urls("tests.sandbox.site")


def ndjson(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def test_frames_are_paced_by_their_timestamps() -> None:
    tape = recording.read(ndjson('{"timestamp": 100.5}', '{"timestamp": 102}', '{"timestamp": 101}', "{}"))
    assert tape.frames == [
        (0.0, '{"timestamp": 100.5}'),
        (1.5, '{"timestamp": 102}'),
        (1.5, '{"timestamp": 101}'),
        (1.5, "{}"),
    ]


def test_a_line_may_give_its_moment_and_any_text() -> None:
    lines = [json.dumps({"at": at, "frame": frame}) for at, frame in [(0.5, "a\nb"), (2, "{broken")]]
    assert recording.read(ndjson(*lines)).frames == [(0.5, "a\nb"), (2.0, "{broken")]


def test_text_is_kept_to_the_byte() -> None:
    lines = ['  {"b" :1,"a":\t2}\r', "not json", '{"k": "\\u00e9 é"}', "[" * 100_000]
    tape = recording.read(ndjson(*lines, "", "  ", ""))
    assert [text for _, text in tape.frames] == lines


def test_a_stray_timestamp_does_not_stop_the_tape() -> None:
    stray = [
        '{"timestamp": 1}',
        '{"timestamp": 1e300}',
        '{"timestamp": NaN}',
        '{"timestamp": "x"}',
        '{"timestamp": -4}',
    ]
    assert recording.read(ndjson(*stray)).seconds == recording.LONGEST_SILENCE_SECONDS
    assert recording.read(ndjson('{"timestamp": %s}' % ("9" * 4000))).seconds == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no frame"),
        (b"\n \n", "no frame"),
        (b"{}\n\xff\n", "Line 2"),
        (b'{"at": "x", "frame": "y"}', "Line 1"),
        (b'{"at": 1, "frame": {}}', "Line 1"),
    ],
)
def test_what_cannot_be_played_names_its_line(content: bytes, said: str) -> None:
    with pytest.raises(recording.BadRecording, match=said):
        recording.read(content)


async def listening(address: tuple[str, str]) -> list[str]:
    heard: list[str] = []

    async def hear(frame: str) -> None:
        heard.append(frame)

    await orchestrator().rooms.join(address, hear, replay=False)
    return heard


async def post(content: bytes, query: str = "") -> Any:
    url = f"/sandbox/recordings/?{query}"
    return await AsyncClient().post(url, content, content_type="application/x-ndjson")


async def test_a_posted_recording_is_played_to_who_listens_under_its_own_names() -> None:
    heard = await listening(("F", "r"))
    lines = ['{"flow_name":"F", "run_name": "r", "timestamp": 5.0}', "garbage", '{"timestamp": 8.0}']
    answer = await post(ndjson(*lines), "speed=2")
    assert answer.status_code == 202
    assert answer.json() == {
        "status": "playing",
        "flow_name": "F",
        "run_name": "r",
        "frames": 3,
        "seconds": 1.5,
        "listeners": 1,
    }
    await until(lambda: len(heard) == 3)
    assert heard == lines


async def test_a_recording_can_be_played_under_other_names() -> None:
    heard = await listening(("Other", "a/b"))
    assert (await post(b'{"flow_name":"F","run_name":"r"}', "flow_name=Other&run_name=a%2Fb")).status_code == 202
    await until(lambda: heard)


@pytest.mark.parametrize(
    ("content", "query", "status"),
    [
        (b"{}", "", 422),
        (b"{}", "flow_name=F&run_name=r&speed=0", 422),
        (b"{}", "flow_name=F&run_name=r&speed=fast", 422),
        (b"{}", "flow_name=F&run_name=r&speed=nan", 422),
        (b"{}", "flow_name=F&run_name=r&sped=2", 422),
        (b"\xff", "flow_name=F&run_name=r", 422),
        (b" " * (recording.MAX_BYTES + 1), "flow_name=F&run_name=r", 413),
    ],
)
async def test_a_recording_that_cannot_be_played_is_refused(content: bytes, query: str, status: int) -> None:
    answer = await post(content, query)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_the_command_sends_the_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.ndjson"
    file.write_bytes(b'{"a":  1}\r\n\xc3\xa9\n')
    sent: dict[str, Any] = {}

    def receive(url: str, **request: Any) -> httpx.Response:
        sent.update(request, url=url)
        answer = {"frames": 2, "seconds": 0.5, "flow_name": "F", "run_name": "r", "listeners": 0}
        return httpx.Response(202, json=answer)

    monkeypatch.setattr(httpx, "post", receive)
    out = io.StringIO()
    call_command("play_recording", str(file), "--speed", "4", "--flow", "F", "--url", "http://h/sandbox/", stdout=out)
    assert sent["url"] == "http://h/sandbox/recordings/"
    assert sent["content"] == file.read_bytes()
    assert sent["params"] == {"speed": "4.0", "flow_name": "F"}
    assert sent["trust_env"] is False
    assert "2 frames" in out.getvalue()


def test_the_command_says_what_the_sandbox_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.ndjson"
    file.write_bytes(b"{}")
    monkeypatch.setattr(httpx, "post", lambda *_, **__: httpx.Response(422, json={"message": "No frame says"}))
    with pytest.raises(CommandError, match="No frame says"):
        call_command("play_recording", str(file))


def test_the_command_says_when_there_is_no_file_or_no_sandbox(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Cannot read"):
        call_command("play_recording", str(tmp_path / "none"))
    file = tmp_path / "run.ndjson"
    file.write_bytes(b"{}")
    with pytest.raises(CommandError, match="No sandbox answers"):
        call_command("play_recording", str(file), "--url", "http://127.0.0.1:1/sandbox")
