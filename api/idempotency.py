"""`Idempotency-Key` on launches: the same request sent again, because nobody heard the answer, makes no second run."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import User
from api.access import caller
from api.models import LaunchKey
from api.problems import Problem, mistake
from runs.actions import Taken
from runs.models import Run

HEADER = "Idempotency-Key"
KEPT = timedelta(hours=24)
FORGET_AT_ONCE = 500  # old keys that one launch removes at most

Also = Callable[[Run], None]


class InUse(Exception):
    """Another request with this key has made its run meanwhile."""


def launched_once(request: HttpRequest, response: HttpResponse, key: str, launch: Callable[[Also | None], Run]) -> Run:
    """The run of `launch`, or the one that this request made before, with `Idempotent-Replayed: true` then.

    `launch` is given what has to be done with the new run in the transaction that makes it. Raises a Problem for a
    key that came with another request.
    """
    if not key:
        return launch(None)
    user = caller(request)
    digest = hashlib.sha256(request.path.encode() + b"\0" + request.body).hexdigest()
    _forget_old()
    made = _made_before(user, key, digest)
    if made is None:
        try:
            return launch(partial(_keep, user, key, digest))
        except (InUse, Taken):  # by the same request at the same time, perhaps, and then its run is the answer
            made = _made_before(user, key, digest)
            if made is None:
                raise
    response["Idempotent-Replayed"] = "true"
    return made


def _made_before(user: User, key: str, digest: str) -> Run | None:
    kept = LaunchKey.objects.filter(user=user, key=key, created_at__gt=timezone.now() - KEPT).first()
    if kept is None:
        return None
    if kept.digest != digest:
        words = f"This {HEADER} came with another request (run {kept.run_id}). Make a new key for a new launch."
        raise Problem(422, "key-reused", words, [mistake(HEADER, words)])
    return Run.objects.listed().get(pk=kept.run_id)


def _keep(user: User, key: str, digest: str, run: Run) -> None:
    try:
        with transaction.atomic():
            LaunchKey.objects.create(user=user, key=key, digest=digest, run=run)
    except IntegrityError:
        raise InUse from None


def _forget_old() -> None:
    old = LaunchKey.objects.filter(created_at__lte=timezone.now() - KEPT).order_by("created_at")
    if ids := list(old.values_list("pk", flat=True)[:FORGET_AT_ONCE]):
        LaunchKey.objects.filter(pk__in=ids).delete()
