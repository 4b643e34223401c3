"""What administrators manage: users, and the log of who did what."""

from django.contrib import messages
from django.db.models import Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import audit, people, signin
from accounts.access import role_required, signed_in
from accounts.forms import AuditFilter, RoleForm, UserForm
from accounts.models import LINK_LIFETIME, SignIn, User
from accounts.own_pages import form_methods, listed_tokens

MOST_LISTED = 200


@role_required("admin")
@require_safe
def users(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").replace("\0", "").strip()
    found = User.objects.annotate(used_at=Max("sign_ins__used_at")).order_by("-is_active", "username")
    if text:
        found = found.filter(Q(username__icontains=text) | Q(email__icontains=text))
    rows = list(found[: MOST_LISTED + 1])
    context = {"rows": rows[:MOST_LISTED], "more": len(rows) > MOST_LISTED, "q": text}
    return render(request, "accounts/users.html", context)


@role_required("admin")
@form_methods
def user_new(request: HttpRequest) -> HttpResponse:
    form = UserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = people.make(form.cleaned_data["name"], form.cleaned_data["role"], signed_in(request))
        except people.Refused as refused:
            form.add_error("name", str(refused))
        else:
            messages.success(request, f"Made the user {made.username}. A sign-in link lets them in.")
            return redirect("user", made.pk)
    return render(request, "accounts/user_new.html", {"form": form}, status=422 if form.is_bound else 200)


@never_cache
@role_required("admin")
@form_methods
def user(request: HttpRequest, user_id: int) -> HttpResponse:
    """One user; a POST gives them the role of the form."""
    found = get_object_or_404(User, pk=user_id)
    form = RoleForm(request.POST or None, initial={"role": found.role})
    if request.method == "POST" and form.is_valid():
        try:
            people.set_role(found, form.cleaned_data["role"], signed_in(request))
        except people.Refused as refused:
            form.add_error("role", str(refused))
        else:
            messages.success(request, f"{found.username} has the role {found.role}.")
            return redirect("user", found.pk)
    return _user_page(request, found, form)


@never_cache
@role_required("admin")
@require_POST
def user_link(request: HttpRequest, user_id: int) -> HttpResponse:
    """A new one-time link. It stands in this answer and nowhere else."""
    found = get_object_or_404(User, pk=user_id)
    if not found.is_active:
        messages.error(request, f"{found.username} is disabled; a link would not let them in.")
        return redirect("user", found.pk)
    link = request.build_absolute_uri(signin.link_path(found, signed_in(request)))
    return _user_page(request, found, RoleForm(initial={"role": found.role}), link)


@role_required("admin")
@require_POST
def user_sign_out(request: HttpRequest, user_id: int) -> HttpResponse:
    found = get_object_or_404(User, pk=user_id)
    ended = people.sign_out_everywhere(found, signed_in(request))
    messages.success(request, f"{found.username} is signed out everywhere ({ended} signed in until now).")
    return redirect("user", found.pk)


@role_required("admin")
@require_POST
def user_active(request: HttpRequest, user_id: int) -> HttpResponse:
    """`active=yes` enables, anything else disables."""
    found = get_object_or_404(User, pk=user_id)
    change = people.enable if request.POST.get("active") == "yes" else people.disable
    try:
        change(found, signed_in(request))
    except people.Refused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"{found.username} is {'enabled' if found.is_active else 'disabled'}.")
    return redirect("user", found.pk)


def _user_page(request: HttpRequest, found: User, form: RoleForm, link: str = "") -> HttpResponse:
    context = {
        "person": found,
        "form": form,
        "link": link,
        "minutes": int(LINK_LIFETIME.total_seconds() // 60),
        "managed": people.from_provider(found),
        "sign_ins": SignIn.objects.filter(user=found).going_on().order_by("-used_at"),
        "tokens": listed_tokens(found),
        "entries": audit.page(name=found.username)[0][:10],
    }
    return render(request, "accounts/user.html", context, status=422 if form.is_bound else 200)


@never_cache
@role_required("admin")
@require_safe
def audit_log(request: HttpRequest) -> HttpResponse:
    """Who did what, newest first, filtered and paged by the address. Never counts and never skips rows."""
    filters = AuditFilter(request.GET)
    filters.is_valid()  # what is wrong in the address is left out, and said
    chosen = filters.cleaned_data
    entries, older = audit.page(name=chosen.get("who", ""), deed=chosen.get("deed", ""), before=chosen.get("before"))
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "filters": filters,
        "filtered": bool(chosen.get("who") or chosen.get("deed")),
        "entries": entries,
        "older": older,
        "first_page": chosen.get("before") is None,
        "query": query.urlencode(),
        "names": User.objects.order_by("username").values_list("username", flat=True)[:MOST_LISTED],
    }
    return render(request, "accounts/audit.html", context)
