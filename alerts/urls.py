"""Addresses of rules, channels and deliveries."""

from django.urls import path

from alerts import views

urlpatterns = [
    path("", views.rules, name="alert-rules"),
    path("rules/new/", views.rule_new, name="alert-rule-new"),
    path("rules/<int:rule_id>/", views.rule, name="alert-rule"),
    path("channels/", views.channels, name="alert-channels"),
    path("channels/new/<str:means>/", views.channel_new, name="alert-channel-new"),
    path("channels/<int:channel_id>/", views.channel, name="alert-channel"),
    path("channels/<int:channel_id>/secret/", views.channel_secret, name="alert-channel-secret"),
    path("channels/<int:channel_id>/test/", views.channel_test, name="alert-channel-test"),
    path("log/", views.log, name="alert-log"),
    path("log/<int:delivery_id>/retry/", views.log_retry, name="alert-log-retry"),
]
