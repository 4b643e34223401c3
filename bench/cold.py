"""`cold`: from the start of `serve` to the first page that it answers, and what it holds when nothing happens.

The floor is a Django project of one view behind daphne.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.row import Row, median
from bench.site import resident, served
from tests.servers import free_port

BARE = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="bare")
urlpatterns = [path("", lambda request: HttpResponse("here"))]
django.setup()
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""


def floor(folder: Path) -> tuple[float, float]:
    """Seconds and megabytes."""
    (folder / "bare.py").write_text(BARE)
    port = str(free_port())
    began = time.perf_counter()
    command = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", port, "bare:application"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    answer.read()
                break
            except urllib.error.URLError:
                time.sleep(0.01)
        took = time.perf_counter() - began
        time.sleep(2.0)
        held = resident(process.pid)
        process.terminate()
    return took, held


def product(folder: Path) -> tuple[float, float]:
    began = time.perf_counter()
    with served(folder) as site:
        assert site.client.get("/").status_code == 200
        took = time.perf_counter() - began
        time.sleep(5.0)
        return took, site.megabytes()


def measure(folder: Path, *, full: bool) -> list[Row]:
    rounds = 7 if full else 3
    product(folder)  # makes keys and defaults, once
    ours, bares = [], []
    for _ in range(rounds):
        ours.append(product(folder))
        bares.append(floor(folder))
    work = f"one process with worker, no run; {rounds} rounds"
    took, held = (tuple(median((one[part] for one in of), 2) for of in (ours, bares)) for part in (0, 1))
    return [
        Row("cold", "s to the first page, signing in before it", took[0], took[1], 1.5, work),
        Row("cold", "MB when idle", held[0], held[1], 110, work),
    ]
