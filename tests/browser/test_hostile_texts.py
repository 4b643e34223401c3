"""Forty texts that want to be markup or script, in every field of every kind of event and on every page.

None opens a dialog, none is stopped by the policy only (that would be told, and fail the test), and each is shown as
it is.
"""

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import MakeSite, Tabs
from tests.browser.looking import ends, like_a_fresh_page, live
from tests.browser.sites import Site
from tests.browser.stories import Story
from tests.factories import make_definition
from tests.scripted import ScriptedUpstream, scripted_upstream

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

HOSTILE = r"""
<script>alert(1)</script>
<img src=x onerror=alert(2)>
"><img src=x onerror=alert(3)>
' onmouseover=alert(4) autofocus onfocus=alert(4) x='
" onmouseover=alert(5) autofocus onfocus=alert(5) x="
<svg onload=alert(6)>
<svg><animate onbegin=alert(7) attributeName=x dur=1s>
<body onload=alert(8)>
<iframe src="javascript:alert(9)"></iframe>
<iframe srcdoc="<script>parent.alert(10)</script>"></iframe>
<a href="javascript:alert(11)">click</a>
javascript:alert(12)
<details open ontoggle=alert(13)><summary>x</summary></details>
<input autofocus onfocus=alert(14)>
<video><source onerror=alert(15)></video>
<object data="data:text/html,<script>alert(16)</script>"></object>
<embed src="data:text/html,<script>alert(17)</script>">
<meta http-equiv="refresh" content="0;url=javascript:alert(18)">
<base href="https://evil.example/">
<link rel="stylesheet" href="https://evil.example/a.css">
<style>@import url(https://evil.example/b.css);body{display:none}</style>
<form action="https://evil.example/"><button>go</button></form>
<button formaction="javascript:alert(23)">x</button>
</title><script>alert(24)</script>
</textarea><script>alert(25)</script>
</script><script>alert(26)</script>
--><script>alert(27)</script><!--
]]><script>alert(28)</script>
<scr<script>ipt>alert(29)</scr</script>ipt>
<math><mtext><table><mglyph><style><img src=x onerror=alert(30)>
<noscript><p title="</noscript><img src=x onerror=alert(31)>">
<template><img src=x onerror=alert(32)></template>
&lt;script&gt;alert(33)&lt;/script&gt;
&#x3C;img src=x onerror=alert(34)&#x3E;
\u003cscript\u003ealert(35)\u003c/script\u003e
%3Cscript%3Ealert(36)%3C/script%3E
{{7*7}}{% debug %}${alert(37)}
<div hx-get="/launch/" hx-trigger="load" hx-target="body">x</div>
<hx-partial hx-target="#run" hx-swap="innerHTML">gone</hx-partial>
<div hx-ws:connect="/live/runs/1/" hx-on:click="alert(40)">x</div>
""".strip().splitlines()


async def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = await page.eval_on_selector_all(selector, "all => all.map((one) => one.textContent)")
    return found


async def api(site: Site, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A change through the API, as the signed-in administrator."""

    def send() -> dict[str, Any]:
        site.client.get("/launch/")
        headers = {"X-CSRFToken": site.client.cookies["csrftoken"], "Origin": site.url}
        answer = site.client.post(f"/api/v1{path}", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return await asyncio.to_thread(send)


def tell(story: Story) -> None:
    """Every hostile text in every field of every kind of event."""
    story.tell("flow_started", message=HOSTILE[0], input={text: text for text in HOSTILE})
    for number, text in enumerate(HOSTILE):
        common = {"task_id": text + "-id", "message": text, text: text}
        story.tell("task_started", text, **common, input={text: [text, {text: text}], "long": text * 30})
        if number % 2:
            story.tell("task_completed", text, **common, execution_time=1.0, output={text: text, "rows": [text]})
        else:
            error = {"type": text, "message": text, "code": text, "details": {text: [text]}}
            story.tell("task_failed", text, **common, error=error, partial_results={text: text})
        story.tell(text, message=text, **{text: text})
        story.say(text)
        story.say(json.dumps({"event_type": text, "flow_name": text, "run_name": text}))
    error = {"type": HOSTILE[1], "message": HOSTILE[2], "code": HOSTILE[5], "details": dict.fromkeys(HOSTILE, 1)}
    story.tell("flow_error", error=error, partial_results={text: text for text in HOSTILE})


async def test_a_dialog_and_a_script_that_was_stopped_are_noticed(site: Site, tabs: Tabs) -> None:
    page = await tabs.open(site, "/")
    await page.evaluate("alert(1)")
    await page.evaluate("document.querySelector('main').innerHTML = '<img src=x onerror=alert(2)>'")
    await page.wait_for_timeout(500)
    found = " ".join(tabs.unexpected())
    tabs.expected += ["dialog: 1", "script-src", "404", "inline event handler"]
    assert "dialog: 1" in found
    assert "CSP: script-src" in found
    assert "dialog: 2" not in found, "the policy stops it"


async def test_no_text_of_an_upstream_becomes_markup_on_the_page_of_a_run(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        flow, name = HOSTILE[0], HOSTILE[1]
        story = Story(upstream, name, flow)
        definition = make_definition(*HOSTILE, flow_name=flow)
        definition["tasks"][0]["function"] = "call_lyzr_agent"
        run = await api(site, "/runs", {"flow_name": flow, "run_name": name, "definition": definition})
        path = f"/runs/{run['id']}/"
        page = await tabs.open(site, path)
        await live(page)
        tell(story)
        await ends(page, "failed", 90)
        await live(page)

        assert await page.title() == f"Failed · {flow} / {name} · Stepline"
        await expect(page.locator("#run-head h1")).to_have_text(f"{flow}/{name}")
        assert await texts(page, "#rows .t-word") == HOSTILE
        states = await page.eval_on_selector_all("#rows > li", "all => all.map((one) => one.dataset.state)")
        assert states == ["succeeded" if number % 2 else "failed" for number in range(len(HOSTILE))]
        kinds = await texts(page, "#log .e-type")
        assert [kind for kind in kinds if kind in HOSTILE] == HOSTILE
        assert HOSTILE[0] in (await texts(page, "#failure"))[0]
        for number, text in enumerate(HOSTILE):
            await page.locator("#rows .t-name").nth(number).click()
            await expect(page.locator("#drawer h2")).to_have_text(text)
            shown = await texts(page, "#drawer .j-text")
            assert text in shown or text[:40] in " ".join(shown)
            assert text in await texts(page, "#drawer .j-key")
            event = page.locator("#drawer .event").last
            await event.locator("summary").first.click()
            await expect(event.locator(".e-about")).to_be_visible()
            assert text in await texts(page, "#drawer .e-body .j-key")
        await page.keyboard.press("Escape")
        await page.locator("#find-task").fill("<svg")
        await expect(page.locator("#rows > li:visible")).to_have_count(sum("<svg" in text for text in HOSTILE))
        await page.locator("#find-task").fill("")
        await like_a_fresh_page(tabs, site, page)
        assert page.url.startswith(site.url + path)

        page = await tabs.open(site, f"{path}rejected/")
        previews = await texts(page, ".preview")
        assert [text for text in HOSTILE if text not in previews] == []
        assert len(previews) == 2 * len(HOSTILE)


async def test_no_name_becomes_markup_in_the_list_of_runs(site: Site, tabs: Tabs) -> None:
    for text in HOSTILE:
        await api(site, "/runs/attach", {"upstream": "sandbox", "flow_name": text, "run_name": text})
    page = await tabs.open(site, "/")
    shown = " ".join(await texts(page, "#runs-rows > tr"))
    assert [text for text in HOSTILE if shown.count(text) < 2] == []
    paths = await page.eval_on_selector_all(
        "#runs-rows a[href^='/runs/']", "all => all.map((one) => one.getAttribute('href'))"
    )
    for path in list(dict.fromkeys(paths))[:: len(HOSTILE) // 8][:8]:
        await page.goto(path)
        await live(page)
        assert (await page.locator("#run-head h1").text_content() or "").split("/", 1)[0] in "".join(HOSTILE)
    for text in HOSTILE[::8]:
        await page.goto("/")
        await page.locator("input[name=q]").fill(text)
        await page.locator("input[name=q]").press("Enter")
        await expect(page.locator("#runs-rows > tr")).to_have_count(1)
        await expect(page.locator("#runs-rows > tr")).to_contain_text(text)


async def test_no_definition_becomes_markup_on_the_pages_of_workflows(site: Site, tabs: Tabs) -> None:
    saved = []
    for text in HOSTILE:
        definition = make_definition(text, f"{text} again", flow_name=text)
        definition |= {"default_inputs": {text: text}, "edges": []}
        body = {"upstream": "sandbox", "flow_name": text, "description": text, "definition": definition}
        saved.append((await api(site, "/workflows", body))["id"])
    page = await tabs.open(site, "/workflows/")
    shown = " ".join(await texts(page, "main"))
    assert [text for text in HOSTILE if shown.count(text) < 2] == []
    for text, number in zip(HOSTILE, saved, strict=True):
        await page.goto(f"/workflows/{number}/")
        assert (await page.locator("main").text_content() or "").count(text) >= 4
        assert text in await page.title()
    for text, number in list(zip(HOSTILE, saved, strict=True))[::5]:
        await page.goto(f"/workflows/{number}/edit/")
        kept = json.loads(await page.locator("textarea[name=definition]").input_value())
        assert kept["tasks"][0]["name"] == text
        await page.goto(f"/launch/?workflow={number}")
        assert text in (await page.locator("main").text_content() or "")
        await page.goto(f"/workflows/{number}/delete/")
        assert text in (await page.locator("main").text_content() or "")


async def refusals(upstream: ScriptedUpstream, site: Site) -> dict[int, str]:
    """Runs that the upstream refused, each in other hostile words."""
    made = {}
    for number in range(0, len(HOSTILE), 4):
        words = " | ".join(HOSTILE[number : number + 4])
        upstream.launch_answer = (400, {"message": words})
        definition = make_definition(flow_name="Refused")
        run = await api(site, "/runs", {"flow_name": "Refused", "run_name": f"r-{number}", "definition": definition})
        made[run["id"]] = words
        for _ in range(200):
            if (await asyncio.to_thread(site.run, f"/runs/{run['id']}/"))["status"] == "rejected":
                break
            await asyncio.sleep(0.2)
    return made


async def test_no_word_of_an_upstream_becomes_markup_in_a_notice(make_site: MakeSite, tabs: Tabs) -> None:
    async with scripted_upstream() as upstream:
        site = make_site(UPSTREAM_API_URL=upstream.api_url, UPSTREAM_SOCKET_URL=upstream.socket_url)
        made = await refusals(upstream, site)
        page = await tabs.open(site, "/")
        for run_id, words in made.items():
            await page.goto(f"/runs/{run_id}/")
            await live(page)
            assert words in (await page.locator("#banners").text_content() or "")
