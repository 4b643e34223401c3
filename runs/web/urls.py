"""Addresses of the pages."""

from django.urls import path

from runs.web import configuration, pages, run_page

urlpatterns = [
    path("", pages.runs, name="runs"),
    path("runs/<int:run_id>/", run_page.run, name="run"),
    path("runs/<int:run_id>/task/", run_page.task, name="run-task"),
    path("runs/<int:run_id>/events/", run_page.events, name="run-events"),
    path("runs/<int:run_id>/events/<int:seq>/", run_page.event, name="run-event"),
    path("runs/<int:run_id>/rejected/", run_page.rejected, name="run-rejected"),
    path("runs/<int:run_id>/stop-watching/", run_page.stop_watching, name="run-stop"),
    path("runs/<int:run_id>/retry/", pages.retry, name="run-retry"),
    path("launch/", pages.launch, name="launch"),
    path("attach/", pages.attach, name="attach"),
    path("workflows/", configuration.workflows, name="workflows"),
    path("workflows/new/", configuration.workflow_new, name="workflow-new"),
    path("workflows/<int:workflow_id>/", configuration.workflow, name="workflow"),
    path("workflows/<int:workflow_id>/edit/", configuration.workflow_edit, name="workflow-edit"),
    path("workflows/<int:workflow_id>/delete/", configuration.workflow_delete, name="workflow-delete"),
    path("upstreams/", configuration.upstreams, name="upstreams"),
    path("upstreams/new/", configuration.upstream_new, name="upstream-new"),
    path("upstreams/<int:upstream_id>/", configuration.upstream, name="upstream"),
]
