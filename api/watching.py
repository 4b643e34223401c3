"""The calls about all runs at once: what is in quarantine, and who follows what."""

from django.http import HttpRequest
from ninja import Query, Router

from api import schemas
from api.access import ADMIN
from api.paging import cursor, cut, place
from runs.facts import Facts, address_facts, rejected_facts, stream_facts, worker_facts
from runs.models import Rejected, Stream, Worker

rejected = Router(tags=["quarantine"])
streams = Router(tags=["streams"])


@rejected.get("", response=schemas.RejectedPageOut)
def list_all_rejected(request: HttpRequest, query: Query[schemas.RejectedFilter]) -> Facts:
    """The frames in quarantine of all runs, the newest content first. One that came again keeps its place."""
    # The preview belongs to the answer here, so it is read at once.
    frames = Rejected.objects.listed().defer(None).matching(reason=query.reason, flow_name=query.flow_name)
    if before := place("rejected", query.cursor):
        frames = frames.filter(pk__lt=before[0])
    page, more = cut(list(frames[: query.limit + 1]), query.limit)
    return {
        "items": [{**rejected_facts(frame), **address_facts(frame.run)} for frame in page],
        "next_cursor": cursor("rejected", page[-1].pk) if more else None,
    }


@streams.get("", response=schemas.StreamsOut, auth=ADMIN)
def list_streams(request: HttpRequest, query: Query[schemas.StreamPage]) -> Facts:
    """Who follows what now: each run that wants a follower, newest first, and the workers. Needs the role admin."""
    found = Stream.objects.listed()
    if before := place("streams", query.cursor):
        found = found.filter(run_id__lt=before[0])
    page, more = cut(list(found[: query.limit + 1]), query.limit)
    return {
        "items": [stream_facts(stream) for stream in page],
        "next_cursor": cursor("streams", page[-1].run_id) if more else None,
        "workers": [worker_facts(worker) for worker in Worker.objects.listed()],
    }
