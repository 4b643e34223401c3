"""Addresses of the upstream's calls. Like the upstream's own, run-dag ends with a slash and task-status does not."""

from django.urls import path

from dropin import views

urlpatterns = [
    path("run-dag/", views.run_dag, name="run-dag"),
    path("task-status/<str:task_id>", views.task_status, name="task-status"),
]
