"""The calls about workflows, and the names of upstreams."""

from django.http import Http404, HttpRequest
from ninja import Query, Router, Status

from api import schemas
from api.access import OPERATOR
from api.lookup import site, upstream_named
from api.paging import cursor, cut, place
from runs import actions
from runs.facts import Facts, moment
from runs.models import Upstream, Workflow

router = Router(tags=["workflows"])
upstreams = Router(tags=["upstreams"])


def find(workflow_id: int) -> Workflow:
    workflow = Workflow.objects.select_related("upstream").filter(pk=workflow_id).first()
    if workflow is None:
        raise Http404(f"There is no workflow {workflow_id}.")
    return workflow


def facts(request: HttpRequest, workflow: Workflow, *, listed: bool = False) -> Facts:
    return {
        "id": workflow.pk,
        "flow_name": workflow.flow_name,
        "upstream": workflow.upstream.name,
        "description": workflow.description,
        "definition": None if listed else workflow.definition,
        "tasks_total": workflow.tasks_total,
        "created_at": moment(workflow.created_at),
        "updated_at": moment(workflow.updated_at),
        "url": site(request) + workflow.get_absolute_url(),
    }


@router.get("", response=schemas.WorkflowsOut)
def list_workflows(request: HttpRequest, query: Query[schemas.Page]) -> Facts:
    """The workflows, oldest first. Their `definition` is null here: ask for the one workflow."""
    workflows = Workflow.objects.select_related("upstream").defer("definition", "sealed").order_by("pk")
    if after := place("workflows", query.cursor):
        workflows = workflows.filter(pk__gt=after[0])
    page, more = cut(list(workflows[: query.limit + 1]), query.limit)
    return {
        "items": [facts(request, workflow, listed=True) for workflow in page],
        "next_cursor": cursor("workflows", page[-1].pk) if more else None,
    }


@router.post("", response={201: schemas.WorkflowOut}, auth=OPERATOR)
def create_workflow(request: HttpRequest, body: schemas.WorkflowIn) -> Status[Facts]:
    """Store a definition. 409 when the upstream has a workflow of that name, 422 with each mistake's place."""
    workflow = actions.save_workflow(
        upstream=upstream_named(body.upstream) or actions.default_upstream(),
        definition=body.definition,
        description=body.description,
        flow_name=body.flow_name,
    )
    return Status(201, facts(request, workflow))


@router.get("/{int:workflow_id}", response=schemas.WorkflowOut)
def get_workflow(request: HttpRequest, workflow_id: int) -> Facts:
    return facts(request, find(workflow_id))


@router.put("/{int:workflow_id}", response=schemas.WorkflowOut, auth=OPERATOR)
def replace_workflow(request: HttpRequest, workflow_id: int, body: schemas.WorkflowIn) -> Facts:
    """Replace a workflow. Runs that were launched from it keep what they were launched with."""
    workflow = find(workflow_id)
    saved = actions.save_workflow(
        upstream=upstream_named(body.upstream) or workflow.upstream,
        definition=body.definition,
        description=body.description,
        flow_name=body.flow_name,
        workflow=workflow,
    )
    return facts(request, saved)


@router.delete("/{int:workflow_id}", response={204: None}, auth=OPERATOR)
def delete_workflow(request: HttpRequest, workflow_id: int) -> Status[None]:
    """Its runs stay."""
    actions.delete_workflow(find(workflow_id))
    return Status(204, None)


@upstreams.get("", response=schemas.UpstreamsOut)
def list_upstreams(request: HttpRequest) -> Facts:
    """The names that `upstream` can have in other calls."""
    return {"items": [{"name": name} for name in Upstream.objects.order_by("name").values_list("name", flat=True)]}
