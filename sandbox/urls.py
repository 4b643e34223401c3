"""The sandbox's addresses; mounted at /sandbox/."""

from django.urls import path

from sandbox import views

urlpatterns = [
    path("run-dag/", views.run_dag, name="sandbox-run-dag"),
    path("task-status/<str:task_id>", views.task_status, name="sandbox-task-status"),
    path("v3/workflows", views.workflows),
    path("v3/workflows/", views.workflows, name="sandbox-workflows"),
    path("v3/workflows/<str:flow_id>", views.workflow, name="sandbox-workflow"),
    path("recordings/", views.recordings, name="sandbox-recordings"),
]
