"""Addresses of signing in and out, of one's own account, of users and of the audit log."""

from django.conf import settings
from django.urls import include, path

from accounts import admin_pages, own_pages, views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    # Before the links: no link is as short as the name of these.
    *([path("sign-in/provider/", include("accounts.oidc_urls"))] if settings.OIDC_ISSUER else []),
    path("sign-in/<str:token>/", views.sign_in_link, name="sign-in-link"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("account/password/", own_pages.password, name="password"),
    path("account/sessions/", own_pages.sessions, name="sessions"),
    path("account/sessions/end/", own_pages.sessions_end, name="sessions-end"),
    path("account/sessions/<int:sign_in_id>/end/", own_pages.session_end, name="session-end"),
    path("account/tokens/", own_pages.own_tokens, name="tokens"),
    path("account/tokens/<int:token_id>/revoke/", own_pages.token_revoke, name="token-revoke"),
    path("users/", admin_pages.users, name="users"),
    path("users/new/", admin_pages.user_new, name="user-new"),
    path("users/<int:user_id>/", admin_pages.user, name="user"),
    path("users/<int:user_id>/link/", admin_pages.user_link, name="user-link"),
    path("users/<int:user_id>/sign-out/", admin_pages.user_sign_out, name="user-sign-out"),
    path("users/<int:user_id>/active/", admin_pages.user_active, name="user-active"),
    path("audit/", admin_pages.audit_log, name="audit"),
]
