"""Bad input of every kind, as first, middle and last frame of a run: it gets what it is to get, and the next good event
lands.

Each case is a run of its own, followed by one worker through real sockets, many at a time. What is asserted of stored
text is asserted to the letter, so that it is the same on SQLite and PostgreSQL.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.exceptions import MultipleObjectsReturned, ObjectDoesNotExist
from django.test import Client
from django.urls import reverse
from websockets.asyncio.server import ServerConnection

from runs import actions, facts, store
from runs.core import cut
from runs.models import Event, Rejected, Run, Task, Upstream
from runs.upstream import stream
from runs.upstream.connection import MAX_FRAME
from runs.worker import supervisor
from runs.worker.db import on_thread
from runs.worker.follow import PREVIEW
from runs.worker.supervisor import Supervisor
from tests.factories import START, make_definition, make_user
from tests.faults.ledger import Ledger, size
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.test_actions import BAD_DEFINITIONS, BAD_NAMES, GOOD_NAMES
from tests.worker.conftest import attach, launch, soon, upstream, upstream_row, worker  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

FLOW = "Flow / of 100 % 🦉"
CANARY = "sk-" + "canary-4f9aC3kQ7zLm2Xw8"
SECRET = f'"api_key": "{CANARY}"'
HEAD = '{"event_type": "x", "timestamp": 1760000000.5, '
MIB = 1024 * 1024

type Check = Callable[[Event], None]


@dataclass(frozen=True)
class Bad:
    """One input. `reason`: it goes to quarantine for this; else it is kept, and `check` says how."""

    name: str
    frame: str | bytes
    reason: str = ""
    check: Check | None = None
    as_text: bool = False  # bytes that go out as a frame of text
    times: int = 1  # it is sent so often


def quarantined(reason: str, **frames: str | bytes) -> list[Bad]:
    return [Bad(name.replace("_", " "), frame, reason, times=2) for name, frame in frames.items()]


def kept(name: str, frame: str, check: Check) -> Bad:
    return Bad(name, frame, check=check)


def stored(text: str, *flags: str, **fields: Any) -> Check:
    """The payload is stored as this text."""

    def check(event: Event) -> None:
        assert event.payload == text
        flagged(*flags, **fields)(event)

    return check


def flagged(*flags: str, **fields: Any) -> Check:
    def check(event: Event) -> None:
        assert tuple(filter(None, event.flags.split(","))) == flags
        assert {name: getattr(event, name) for name in fields} == fields

    return check


def was_cut(*beginnings: str) -> Check:
    """It was cut to the size that is stored, and these texts are still there."""

    def check(event: Event) -> None:
        assert "cut" in event.flags.split(",")
        assert cut.MARK[:-1] in event.payload
        assert len(event.payload.encode()) <= cut.LIMIT
        assert [text for text in beginnings if text not in event.payload] == []

    return check


# --- what goes to quarantine --------------------------------------------------------------------------------------

QUARANTINED = [
    *quarantined(
        "invalid-json",
        cut_off='{"event_type": "x", ' + SECRET,
        words=f"Authorization: Bearer {CANARY}",
        other_quotes="{'event_type': 'x', 'api_key': '" + CANARY + "'}",
        comma_too_many='{"event_type": "x", ' + SECRET + ",}",
        trailing_text='{"event_type": "x", ' + SECRET + "} and more",
        two_objects='{"event_type": "x"}{"event_type": "x", ' + SECRET + "}",
        empty="",
        blank=" \n\t ",
        raw_nul_in_a_text='{"event_type": "x", "a": "\x00", ' + SECRET + "}",
        raw_nul_between='{"event_type": "x",\x00 ' + SECRET + "}",
        only_nul="\x00" * 100_000,  # whose escape is six times as long
        octal='{"event_type": "x", "n": 017, ' + SECRET + "}",
        hexadecimal='{"event_type": "x", "n": 0x17, ' + SECRET + "}",
    ),
    *quarantined(
        "not-a-number",
        nan='{"event_type": "x", "n": NaN, ' + SECRET + "}",
        infinity='{"event_type": "x", "n": Infinity, ' + SECRET + "}",
        minus_infinity='{"event_type": "x", "n": [{"m": -Infinity}], ' + SECRET + "}",
        nan_alone="NaN",
    ),
    *quarantined(
        "infinite-number",
        too_large_a_float='{"event_type": "x", "n": 1e400, ' + SECRET + "}",
        too_small_a_float='{"event_type": "x", "n": -1e400, ' + SECRET + "}",
    ),
    *quarantined(
        "huge-integer",
        digits_4301='{"event_type": "x", "n": ' + "9" * 4301 + ", " + SECRET + "}",
        minus_4301_digits='{"event_type": "x", "n": -' + "9" * 4301 + ", " + SECRET + "}",
        million_digits='{"event_type": "x", ' + SECRET + ', "n": ' + "9" * 1_000_000 + "}",
    ),
    *quarantined("bom", byte_order_mark="\ufeff" + '{"event_type": "x", ' + SECRET + "}"),
    *quarantined(
        "binary",
        binary=b'{"event_type": "x", ' + SECRET.encode() + b"}",
        binary_that_is_no_text=b"\xff\x00\xfe " + CANARY.encode(),
        empty_binary=b"",
    ),
    *quarantined(
        "not-an-object",
        array='[{"event_type": "x", ' + SECRET + "}]",
        string=json.dumps(CANARY),
        number="17",
        null="null",
        true="true",
    ),
    *quarantined(
        "too-deep",
        arrays_65_deep='{"event_type": "x", ' + SECRET + ', "a": ' + "[" * 64 + "]" * 64 + "}",
        objects_65_deep='{"event_type": "x", ' + SECRET + ', "a": ' + '{"a": ' * 64 + "1" + "}" * 65,
        nested_10_000_deep='{"event_type": "x", ' + SECRET + ', "a": ' + "[" * 10_000 + "]" * 10_000 + "}",
        nested_1_000_000_deep='{"event_type": "x", ' + SECRET + ', "a": ' + "[" * 1_000_000 + "]" * 1_000_000 + "}",
        never_closed="[" * 1_000_000,
    ),
    *quarantined(
        "other-run",
        event_of_another_flow='{"event_type": "x", "flow_name": "Other", ' + SECRET + "}",
        event_of_another_run='{"event_type": "x", "run_name": "other", ' + SECRET + "}",
        run_name_of_another_type='{"event_type": "x", "run_name": 7, ' + SECRET + "}",
        flow_name_null='{"event_type": "x", "flow_name": null, ' + SECRET + "}",
        surrogate_beside_a_secret='{"event_type": "x", "run_name": "other", "a": "é \\ud800", ' + SECRET + "}",
    ),
    *quarantined(
        "no-event-type",
        no_event_type='{"task_name": "a", ' + SECRET + "}",
        event_type_a_number='{"event_type": 7, ' + SECRET + "}",
        event_type_null='{"event_type": null, ' + SECRET + "}",
        event_type_a_list='{"event_type": ["x"], ' + SECRET + "}",
        event_type_an_object='{"event_type": {"x": 1}, ' + SECRET + "}",
        event_type_empty='{"event_type": "", ' + SECRET + "}",
        empty_object="{}",
    ),
    *quarantined(
        "no-task",
        task_event_without_a_task='{"event_type": "task_started", ' + SECRET + "}",
        task_names_that_are_none='{"event_type": "task_failed", "task_id": [], "task_name": null, ' + SECRET + "}",
    ),
    Bad("no UTF-8", b'{"event_type": "\xed\xa0\x80", ' + SECRET.encode() + b"}", "not-utf-8", as_text=True, times=2),
    Bad("no UTF-8 at its end", b'{"event_type": "x", ' + SECRET.encode() + b"}\xc3", "not-utf-8", as_text=True),
    Bad("just over 16 MiB", HEAD + SECRET + ', "a": "' + "x" * MAX_FRAME + '"}', "frame-too-large", times=2),
    Bad("20 MiB of anything", f"api_key={CANARY} " + "🦉" * (5 * MIB), "frame-too-large"),
    Bad("20 MiB of binary", CANARY.encode() + bytes(20 * MIB), "frame-too-large"),
]
LARGEST = [Bad("60 MiB", HEAD + SECRET + ', "a": "' + "x" * (60 * MIB) + '"}', "frame-too-large", times=2)]

# --- what is kept -------------------------------------------------------------------------------------------------

BIG = str(2**53 + 1)
HUGE = "9" * 4300


def duplicates_masked(event: Event) -> None:
    flagged("duplicate-keys")(event)
    payload = json.loads(event.payload)
    assert [name for name in payload if "api_key" in name] == [
        "api_key [duplicate 1]",
        "api_key [duplicate 2]",
        "api_key",
    ]
    assert all(value.startswith("[masked:") for name, value in payload.items() if "api_key" in name)


def exactly(*numbers: str) -> Check:
    """These digits stand in the stored text, in the API's answers and, as text, on the event's page."""

    def check(event: Event) -> None:
        flagged("big-integer")(event)
        client = Client()
        client.force_login(make_user())
        api, page = f"/api/v1/runs/{event.run_id}/events", reverse("run-event", args=[event.run_id, event.seq])
        texts = [event.payload, facts.event_json(event), client.get(api).text, client.get(page).text]
        assert [number for number in numbers for text in texts if number not in text] == []
        assert f'<span class="j-number" title="kept exactly">{numbers[0]}</span>' in texts[-1]

    return check


KEPT = [
    kept("an unknown type", HEAD + '"why": ["lunch", null, 1.5]}', stored(
        '{"event_type":"x","timestamp":1760000000.5,"why":["lunch",null,1.5]}', event_type="x")),
    kept("a type of HTML", '{"event_type": "<b>\\n& x"}', stored('{"event_type":"<b>\\n& x"}', event_type="<b>\n& x")),
    kept("a type that is ours", '{"event_type": "stepline.task_status", "status": "failed"}', flagged(source="stream")),
    kept("64 deep", HEAD + '"a": ' + "[" * 63 + "]" * 63 + "}", flagged()),
    kept("deep inside a text", HEAD + '"a": "' + "[{" * 5000 + '\\"[[["}', flagged()),
    kept("duplicate names", HEAD + '"a": 1, "b": {"c": 1, "c": 2}, "a": 2}', stored(
        '{"event_type":"x","timestamp":1760000000.5,"a [duplicate 1]":1,"b":{"c [duplicate 1]":1,"c":2},"a":2}',
        "duplicate-keys")),
    kept("secrets in all duplicates", HEAD + ", ".join([SECRET] * 3) + "}", duplicates_masked),
    kept("two types", '{"event_type": "y", "event_type": "x"}', flagged("duplicate-keys", event_type="x")),
    kept("NUL", HEAD + '"a\\u0000": "b\\u0000\\\\c"}', stored(
        '{"event_type":"x","timestamp":1760000000.5,"a\\\\u0000":"b\\\\u0000\\\\\\\\c"}', "escaped")),
    kept("half characters", HEAD + '"\\ud800": "\\udfff \\ud83d\\udea8"}', stored(
        '{"event_type":"x","timestamp":1760000000.5,"\\\\ud800":"\\\\udfff 🚨"}', "escaped")),
    kept("half characters and a secret in JSON in a text", HEAD + json.dumps("a") + ": " + json.dumps(
        '{"password": "' + CANARY + '", "b": "é \\ud800 \\u0000"}') + "}", flagged()),
    kept("NUL in names", json.dumps({"event_type": "task_started", "task_id": "1\x00", "task_name": "\ud800"}),
        flagged("escaped", task_id="1\\u0000", task_name="\\ud800")),
    kept("NUL in the type", '{"event_type": "x\\u0000"}', flagged("escaped", event_type="x\\u0000")),
    kept("2^53 and 1", HEAD + f'"n": {BIG}, "m": [-{BIG}]' + "}", exactly(BIG, f"-{BIG}")),
    kept("beyond 64 bits", HEAD + f'"n": {2**64}, "m": -{2**200}' + "}", exactly(str(2**64), f"-{2**200}")),
    kept("4300 digits", HEAD + f'"n": {HUGE}' + "}", exactly(HUGE)),
    kept("a small float", HEAD + '"n": 1e-400, "m": 0.1, "k": -0.0}', stored(
        '{"event_type":"x","timestamp":1760000000.5,"n":0,"m":0.1,"k":0}')),
    kept("300 KB in one text", HEAD + '"a": "' + "x" * 300_000 + '"}', was_cut('"x"', "1760000000.5", "xxx…")),
    kept("300 KB in many texts", HEAD + '"a": ' + json.dumps(["é" * 100] * 3000) + "}", was_cut("1760000000.5")),
    kept("16 MiB", HEAD + '"a": "' + "x" * (MAX_FRAME - len(HEAD) - 8) + '"}', was_cut("1760000000.5")),
    kept("100,000 keys", HEAD + json.dumps({f"key {n}": n for n in range(100_000)})[1:], was_cut("1760000000.5")),
    kept("a key of 300 KB", HEAD + '"' + "k" * 300_000 + '": 1}', was_cut("1760000000.5")),
    kept("very long names", json.dumps(
        {"event_type": "task_started", "task_id": "i" * 5000, "task_name": "ü" * 5000, "timestamp": 1760000000.5}),
        flagged(task_id="i" * 300, task_name="ü" * 300, task_key="i" * 300)),
    kept("a very long type", '{"event_type": "' + "t" * 5000 + '"}', flagged(event_type="t" * 100)),
    *(
        kept(f"timestamp {name}", '{"event_type": "x", "timestamp": ' + raw + "}", stored(
            '{"event_type":"x","timestamp":' + written + "}", *flags, timestamp=None))
        for name, raw, written, *flags in (
            ("a word", '"yesterday"', '"yesterday"'),
            ("an ISO text", '"2026-01-01T00:00:00Z"', '"2026-01-01T00:00:00Z"'),
            ("a number in a text", '"1760000000.5"', '"1760000000.5"'),
            ("negative", "-1760000000.5", "-1760000000.5"),
            ("zero", "0", "0"),
            ("in milliseconds", "1760000000500", "1760000000500"),
            ("huge", "1e300", "1e300"),
            ("a huge integer", "1" + "0" * 30, "1" + "0" * 30, "big-integer"),
            ("null", "null", "null"),
            ("true", "true", "true"),
            ("a list", "[1760000000.5]", "[1760000000.5]"),
            ("an object", "{}", "{}"),
        )
    ),
    kept("no timestamp", '{"event_type": "x"}', stored('{"event_type":"x"}', timestamp=None)),
]  # fmt: skip


# --- the runs -----------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One input at one place of a run of its own, among two good events."""

    bad: Bad
    position: str
    number: int
    run: Run = field(init=False)

    @property
    def name(self) -> str:
        return f"{self.bad.name}, {self.position}"

    @property
    def run_name(self) -> str:
        return f"{self.position} {self.number}"

    async def say(self, socket: ServerConnection) -> None:
        """All frames of the run; returns when they were read."""
        begins, ends = (
            json.dumps({"event_type": kind, "timestamp": at, "flow_name": FLOW, "run_name": self.run_name})
            for kind, at in (("flow_started", START), ("flow_completed", START + 1))
        )
        bad = [self.bad.frame] * self.bad.times
        order = {"first": [*bad, begins, ends], "middle": [begins, *bad, ends], "last": [begins, ends, *bad]}
        for frame in order[self.position]:
            if frame is self.bad.frame and self.bad.as_text:
                await socket.send(frame, text=True)
            else:
                await socket.send(frame)
        await (await socket.ping())

    def look(self) -> None:
        """What must hold when the run has ended."""
        run = Run.objects.get(pk=self.run.pk)
        good = Event.objects.filter(run=run, event_type__in=("flow_started", "flow_completed"))
        assert good.count() == 2
        assert run.status == "succeeded"
        assert store.rebuild(run.pk) == []
        if not self.bad.reason:
            event = Event.objects.get(run=run, seq={"first": 1, "middle": 2, "last": 3}[self.position])
            assert (run.last_seq, run.rejected_count) == (3, 0)
            assert self.bad.check
            self.bad.check(event)
            return
        assert run.last_seq == 2
        row = Rejected.objects.get(run=run)
        raw = self.bad.frame if isinstance(self.bad.frame, bytes) else self.bad.frame.encode()
        assert (row.reason, row.count, row.size) == (self.bad.reason, self.bad.times, len(raw))
        assert run.rejected_count == self.bad.times
        assert len(row.digest) == 32
        assert row.detail
        assert len(row.preview.encode()) <= PREVIEW
        assert "\x00" not in row.preview
        assert ("[masked:" in row.preview) == (CANARY.encode() in raw)
        assert row.preview or not raw
        assert row.first_at <= row.last_at


class Bench:
    """An upstream and a worker that play cases, each as a run of its own."""

    def __init__(self, scripted: ScriptedUpstream, row: Upstream) -> None:
        self._upstream, self._row = scripted, row
        self._cases: dict[str, Case] = {}
        self.connections: Counter[str] = Counter()
        self.heard = 0  # scripts that were read to their end
        scripted.visit = self._visit

    async def _visit(self, socket: ServerConnection, number: int) -> None:
        case = self._cases[self._upstream.paths[number].rpartition("/")[2]]
        self.connections[case.name] += 1
        await case.say(socket)
        self.heard += 1
        await hold(socket, number)

    async def play(self, cases: list[Case]) -> list[str]:
        """Play all at once; gives a sentence for each that did not come out right."""
        self._cases = {case.run_name: case for case in cases}
        for case in cases:
            case.run = await attach(self._row, FLOW, case.run_name)
        runs = [case.run.pk for case in cases]

        async def over() -> bool:
            return not await on_thread(Run.objects.filter(pk__in=runs, stream__active=True).exists)

        await eventually(over, 300)
        return [sentence for case in cases if (sentence := await on_thread(self._problem, case))]

    def _problem(self, case: Case) -> str:
        try:
            case.look()
        except (AssertionError, ValueError, ObjectDoesNotExist, MultipleObjectsReturned) as error:
            return f"{case.name}: {type(error).__name__}: {str(error)[:500]}"
        again = self.connections[case.name] - 1
        return f"{case.name}: connected again {again} times" if again else ""


@pytest.fixture(autouse=True)
def unhurried(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A machine that is busy with other things must not lose a lease or a connection for it."""
    monkeypatch.setattr(store, "LEASE_SECONDS", 300.0)
    monkeypatch.setattr(supervisor, "ACT_SECONDS", 290.0)
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 300.0)


@pytest.mark.parametrize("position", size(["middle"], ["first", "middle", "last"]))
async def test_each_bad_input_gets_what_it_is_to_get_and_the_next_good_event_lands(
    upstream: ScriptedUpstream,  # noqa: F811
    upstream_row: Upstream,  # noqa: F811
    worker: Supervisor,  # noqa: F811
    ledger: Ledger,
    settings: Any,
    position: str,
) -> None:
    settings.LINGER_SECONDS = size(0.15, 10.0)  # what comes after the end must have been read by then
    inputs = [*QUARANTINED, *KEPT, *size([], LARGEST)]
    cases = [Case(bad, position, number) for number, bad in enumerate(inputs)]
    bench = Bench(upstream, upstream_row)
    problems = await bench.play(cases)
    assert not problems, "\n".join(problems)
    assert await on_thread(_leaks) == []
    ledger.enter(f"bad input, {position} frame", times=len(inputs), injected=bench.heard)


def _leaks() -> list[str]:
    """Where the secret that stands in most of the frames can be read."""
    rows = [*Event.objects.values(), *Rejected.objects.values(), *Task.objects.values(), *Run.objects.values()]
    return [str(row)[:200] for row in rows if CANARY in str(row)]


def test_all_inputs_of_one_name_are_one_input() -> None:
    names = [bad.name for bad in (*QUARANTINED, *KEPT, *LARGEST)]
    assert [name for name, times in Counter(names).items() if times > 1] == []


async def test_a_run_of_any_name_is_followed_at_its_address(
    upstream: ScriptedUpstream,  # noqa: F811
    upstream_row: Upstream,  # noqa: F811
    worker: Supervisor,  # noqa: F811
) -> None:
    """Spaces, other scripts, `%`, `?`, `#`, `/`, `..` inside, 300 characters: as flow name and as run name."""
    upstream.visit = saying(json.dumps({"event_type": "flow_completed", "timestamp": START}), then=hold)
    runs = [(await attach(upstream_row, name, name)).pk for name in GOOD_NAMES]

    async def over() -> bool:
        return await on_thread(Run.objects.filter(pk__in=runs, status="succeeded").count) == len(runs)

    await eventually(over, 60)
    assert sorted(upstream.paths) == sorted(f"/ws/{name}/{name}" for name in GOOD_NAMES)


async def test_of_a_name_or_a_definition_that_is_refused_nothing_is_sent(
    upstream: ScriptedUpstream,  # noqa: F811
    upstream_row: Upstream,  # noqa: F811
    worker: Supervisor,  # noqa: F811
) -> None:
    for name in BAD_NAMES:
        with pytest.raises(actions.Refused):
            await attach(upstream_row, "F", name)
        with pytest.raises(actions.Refused):
            await launch(upstream_row, {**make_definition("a"), "flow_name": name}, "r")
    for definition, words in BAD_DEFINITIONS.values():
        with pytest.raises(actions.Refused, match=re.escape(words)):
            await launch(upstream_row, definition, "r")
    good = await launch(upstream_row, make_definition("a"), "r")
    await eventually(lambda: on_thread(Run.objects.filter(pk=good.pk, launch__task_id="t-1").exists))
    assert [sent["run_name"] for sent in upstream.launches] == ["r"]
    assert len(upstream.paths) == 1
