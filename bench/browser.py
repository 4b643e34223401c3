"""Chromium, signed in to a site."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from playwright.sync_api import BrowserContext, sync_playwright

from bench.site import ROOT


@contextmanager
def chromium(client: httpx.Client) -> Iterator[BrowserContext | None]:
    """A browser with this client's cookies; None, and a word on stderr, where there is none."""
    found = subprocess.run([ROOT / "bin/find-browser"], capture_output=True, text=True, timeout=60, check=False)
    if found.returncode:
        print("no Chromium was found: what it would show is left out", file=sys.stderr)
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=["--no-sandbox"])
        context = browser.new_context(base_url=str(client.base_url), viewport={"width": 1440, "height": 900})
        site = str(client.base_url)
        context.add_cookies([{"name": c.name, "value": c.value or "", "url": site} for c in client.cookies.jar])
        yield context
        browser.close()
