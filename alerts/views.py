"""The administrators' pages of rules, channels and deliveries."""

from django.contrib import messages
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import role_required, signed_in
from alerts import actions
from alerts.actions import Refused
from alerts.forms import ChannelForm, LogFilter, RuleForm
from alerts.messages import headline
from alerts.models import Channel, Delivery, Kind, Rule
from alerts.sending import Answer
from runs import vault

PAGE_SIZE = 50

form_methods = require_http_methods(["GET", "HEAD", "POST"])


# --- rules --------------------------------------------------------------------------------------------------------


@role_required("admin")
@require_safe
def rules(request: HttpRequest) -> HttpResponse:
    rows = [
        (rule, [Kind(kind).label for kind in rule.kinds if kind in Kind.values], list(rule.channels.all()))
        for rule in Rule.objects.order_by("name").prefetch_related("channels")
    ]
    return render(request, "alerts/rules.html", {"rows": rows, "has_channels": Channel.objects.exists()})


@role_required("admin")
@form_methods
def rule_new(request: HttpRequest) -> HttpResponse:
    return _edit_rule(request, None)


@role_required("admin")
@form_methods
def rule(request: HttpRequest, rule_id: int) -> HttpResponse:
    stored = get_object_or_404(Rule, pk=rule_id)
    if request.method == "POST" and "delete" in request.POST:
        dropped = actions.delete_rule(stored, signed_in(request))
        messages.success(request, f"Deleted the rule {stored.name}.{_dropped(dropped)}")
        return redirect("alert-rules")
    return _edit_rule(request, stored)


def _dropped(count: int) -> str:
    if not count:
        return ""
    return f" {count} waiting message{'s were' if count > 1 else ' was'} dropped."


def _edit_rule(request: HttpRequest, stored: Rule | None) -> HttpResponse:
    initial = {"kinds": [Kind.RUN_FAILED.value]} if stored is None else RuleForm.values(stored)
    form = RuleForm(request.POST or None, initial=initial)
    if form.is_valid():
        try:
            saved = actions.save_rule(stored, signed_in(request), **form.cleaned_data)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            messages.success(request, f"Saved the rule {saved.name}.")
            return redirect("alert-rules")
    context = {"form": form, "rule": stored, "has_channels": Channel.objects.exists()}
    return render(request, "alerts/rule.html", context, status=422 if form.is_bound else 200)


# --- channels -----------------------------------------------------------------------------------------------------


@role_required("admin")
@require_safe
def channels(request: HttpRequest) -> HttpResponse:
    rows = Channel.objects.order_by("name").annotate(used=Count("rules"))
    return render(request, "alerts/channels.html", {"rows": rows})


@never_cache
@sensitive_post_parameters("url")
@role_required("admin")
@form_methods
def channel_new(request: HttpRequest, means: str) -> HttpResponse:
    """A new webhook's secret stands in the answer to its form and nowhere else."""
    if means not in Channel.Means.values:
        raise Http404
    form = ChannelForm(means, request.POST or None)
    if form.is_valid():
        try:
            saved, secret = actions.save_channel(None, signed_in(request), means=means, **form.cleaned_data)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            if secret:
                return _channel_page(request, saved, secret=secret)
            messages.success(request, f"Saved the channel {saved.name}. Test it to be sure.")
            return redirect("alert-channel", saved.pk)
    context = {"form": form, "means": means, "label": Channel.Means(means).label}
    return render(request, "alerts/channel_new.html", context, status=422 if form.is_bound else 200)


@never_cache
@sensitive_post_parameters("url")
@role_required("admin")
@form_methods
def channel(request: HttpRequest, channel_id: int) -> HttpResponse:
    stored = get_object_or_404(Channel, pk=channel_id)
    if request.method != "POST":
        return _channel_page(request, stored)
    if "delete" in request.POST:
        dropped = actions.delete_channel(stored, signed_in(request))
        messages.success(request, f"Deleted the channel {stored.name}.{_dropped(dropped)}")
        return redirect("alert-channels")
    form = ChannelForm(stored.means, request.POST, channel=stored)
    if form.is_valid():
        try:
            saved, _ = actions.save_channel(stored, signed_in(request), means=stored.means, **form.cleaned_data)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        except vault.Unreadable as error:
            form.add_error(None, f"{error} A new channel can be made in its place.")
        else:
            messages.success(request, f"Saved the channel {saved.name}.")
            return redirect("alert-channel", saved.pk)
    return _channel_page(request, stored, form=form)


@never_cache
@role_required("admin")
@require_POST
def channel_secret(request: HttpRequest, channel_id: int) -> HttpResponse:
    """A new secret, shown in this answer and nowhere else."""
    stored = get_object_or_404(Channel, pk=channel_id, means=Channel.Means.WEBHOOK)
    try:
        secret = actions.renew_secret(stored, signed_in(request))
    except vault.Unreadable as error:
        messages.error(request, str(error))
        return redirect("alert-channel", stored.pk)
    return _channel_page(request, stored, secret=secret)


@never_cache
@role_required("admin")
@require_POST
def channel_test(request: HttpRequest, channel_id: int) -> HttpResponse:
    """Send a test message, wait for what comes back, and show it."""
    stored = get_object_or_404(Channel, pk=channel_id)
    return _channel_page(request, stored, answer=actions.test_channel(stored, signed_in(request)))


def _channel_page(
    request: HttpRequest,
    stored: Channel,
    *,
    form: ChannelForm | None = None,
    secret: str = "",
    answer: Answer | None = None,
) -> HttpResponse:
    shown = form or ChannelForm(stored.means, initial={"name": stored.name}, channel=stored)
    context = {
        "channel": stored,
        "form": shown,
        "secret": secret,
        "answer": answer,
        "rules": stored.rules.order_by("name"),
        "webhook": stored.means == Channel.Means.WEBHOOK,
    }
    return render(request, "alerts/channel.html", context, status=422 if shown.is_bound else 200)


# --- deliveries ---------------------------------------------------------------------------------------------------


@role_required("admin")
@require_safe
def log(request: HttpRequest) -> HttpResponse:
    """Deliveries, newest first, by state. Never skips rows; only what is not delivered is counted."""
    filters = LogFilter(request.GET)
    filters.is_valid()  # what is wrong in the address is left out
    state, before = (filters.cleaned_data.get(name) for name in ("state", "before"))
    found = Delivery.objects.select_related("alert__run", "channel").order_by("-id")
    if state:
        found = found.filter(state=state)
    if before is not None:
        found = found.filter(id__lt=before)
    rows = list(found[: PAGE_SIZE + 1])
    open_states = (Delivery.State.WAITING, Delivery.State.FAILED)
    counts = dict(
        Delivery.objects.filter(state__in=open_states).values_list("state").annotate(count=Count("pk")).order_by()
    )
    context = {
        "rows": [(row, headline(row.alert.body, row.alert.kind)) for row in rows[:PAGE_SIZE]],
        "older": rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None,
        "first_page": before is None,
        "state": state,
        "states": [(value, label, counts.get(value)) for value, label in Delivery.State.choices],
        "has_rules": Rule.objects.exists(),
    }
    return render(request, "alerts/log.html", context)


@role_required("admin")
@require_POST
def log_retry(request: HttpRequest, delivery_id: int) -> HttpResponse:
    delivery = get_object_or_404(Delivery, pk=delivery_id)
    try:
        actions.send_again(delivery, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"The message to {delivery.channel_name} is sent again within seconds.")
    return redirect("alert-log")
