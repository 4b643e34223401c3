"""The calls about workflows, and the names of upstreams."""

from django.http import Http404, HttpRequest
from ninja import Query, Router, Status

from api import schemas
from api.access import OPERATOR, caller
from api.lookup import site, upstream_named
from api.paging import cursor, cut, place
from runs import actions
from runs.core import schema
from runs.facts import Facts, workflow_facts
from runs.models import Upstream, Workflow

router = Router(tags=["workflows"])
upstreams = Router(tags=["upstreams"])


def find(workflow_id: int) -> Workflow:
    workflow = Workflow.objects.select_related("upstream").filter(pk=workflow_id).first()
    if workflow is None:
        raise Http404(f"There is no workflow {workflow_id}.")
    return workflow


def facts(request: HttpRequest, workflow: Workflow, *, listed: bool = False) -> Facts:
    return workflow_facts(workflow, base_url=site(request), listed=listed)


def watching(body: schemas.WorkflowIn) -> Facts:
    """Of how the runs are watched what the call says."""
    return body.model_dump(include=set(schemas.Watching.model_fields), exclude_unset=True)


def defined(body: schemas.WorkflowIn) -> Facts:
    """The definition, with the schema that the call gives beside it."""
    return body.definition | ({} if body.input_schema is None else {schema.NAME: body.input_schema})


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
        definition=defined(body),
        description=body.description,
        flow_name=body.flow_name,
        user=caller(request),
        **watching(body),
    )
    return Status(201, facts(request, workflow))


@router.get("/{int:workflow_id}", response=schemas.WorkflowOut)
def get_workflow(request: HttpRequest, workflow_id: int) -> Facts:
    return facts(request, find(workflow_id))


@router.put("/{int:workflow_id}", response=schemas.WorkflowOut, auth=OPERATOR)
def replace_workflow(request: HttpRequest, workflow_id: int, body: schemas.WorkflowIn) -> Facts:
    """Replace a workflow; its former definition stays as a version. Runs keep what they were launched with."""
    workflow = find(workflow_id)
    saved = actions.save_workflow(
        upstream=upstream_named(body.upstream) or workflow.upstream,
        definition=defined(body),
        description=body.description,
        flow_name=body.flow_name,
        workflow=workflow,
        user=caller(request),
        **watching(body),
    )
    return facts(request, saved)


@router.delete("/{int:workflow_id}", response={204: None}, auth=OPERATOR)
def delete_workflow(request: HttpRequest, workflow_id: int) -> Status[None]:
    """Its runs stay."""
    actions.delete_workflow(find(workflow_id), user=caller(request))
    return Status(204, None)


@upstreams.get("", response=schemas.UpstreamsOut)
def list_upstreams(request: HttpRequest) -> Facts:
    """The names that `upstream` can have in other calls."""
    return {"items": [{"name": name} for name in Upstream.objects.order_by("name").values_list("name", flat=True)]}
