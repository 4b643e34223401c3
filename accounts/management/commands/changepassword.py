"""`changepassword USER`: Django's own, and an entry in the log of who did what."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from accounts import audit
from accounts.models import Deed


class Command(changepassword.Command):
    help = "Set a user's password, asked for twice. Their browsers are signed out."

    def handle(self, *args: Any, **options: Any) -> str | None:
        said = super().handle(*args, **options)  # raises when nothing was changed
        audit.record(Deed.PASSWORD_CHANGED, None, options["username"] or getpass.getuser())
        return said
