"""What people fill in about themselves and about each other."""

from typing import Any

from django import forms
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm

from accounts.models import Deed, Role, User, allows

NEVER = ""
LIFETIMES = [("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "A year"), (NEVER, "No expiry")]
ROLE_WORDS = {
    Role.VIEWER.value: "Viewer: looks at runs",
    Role.OPERATOR.value: "Operator: also launches runs and edits workflows",
    Role.ADMIN.value: "Admin: also edits upstreams and users, and reads the audit log",
}


def roles_up_to(role: str) -> list[tuple[str, str]]:
    return [(one, words) for one, words in ROLE_WORDS.items() if allows(role, one)]


def password_form(user: User, data: Any = None) -> "SetPasswordForm[User]":
    """Who has a password proves it before it is changed."""
    form: SetPasswordForm[User] = (PasswordChangeForm if user.has_usable_password() else SetPasswordForm)(user, data)
    form.fields["new_password1"].label = "New password"
    form.fields["new_password1"].help_text = "At least 12 characters, and none of the passwords that everybody uses."
    form.fields["new_password2"].label = "The same again"
    form.fields["new_password2"].help_text = ""
    return form


class TokenForm(forms.Form):
    """A token's role may be lower than its owner's, never higher."""

    name = forms.CharField(
        label="What for", max_length=100, help_text="So that you know it again, like “nightly import on ci-3”."
    )
    role = forms.ChoiceField(label="What it may do")
    days = forms.ChoiceField(label="Good for", choices=LIFETIMES, required=False, initial="90")

    def __init__(self, role: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = roles_up_to(role)


class UserForm(forms.Form):
    """A new user."""

    name = forms.CharField(
        label="User name",
        max_length=150,
        help_text="Letters, digits and @ . + - _; it cannot be changed later.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}),
    )
    role = forms.ChoiceField(label="Role", choices=list(ROLE_WORDS.items()))


class RoleForm(forms.Form):
    role = forms.ChoiceField(label="What they may do", choices=list(ROLE_WORDS.items()))


class AuditFilter(forms.Form):
    """The filters of the audit log, as they stand in the address."""

    who = forms.CharField(required=False, max_length=150)
    deed = forms.ChoiceField(required=False, choices=[("", "Any action"), *Deed.choices])
    before = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
