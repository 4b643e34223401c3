"""Addresses of signing in through a provider; there are none without one."""

from django.urls import path

from accounts import oidc

urlpatterns = [
    path("", oidc.login, name="oidc-login"),
    path("callback/", oidc.callback, name="oidc-callback"),
]
