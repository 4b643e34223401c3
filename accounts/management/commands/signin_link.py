"""`signin_link USER [--role ROLE]`: an address that signs a user in once, printed alone on its line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import people
from accounts.models import LINK_LIFETIME, Role, User
from accounts.signin import link_path, site_address


class Command(BaseCommand):
    help = "Print a one-time sign-in link for a user."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--role", choices=Role.values, help="Makes the user, or gives an existing one this role")

    def handle(self, *args: Any, **options: Any) -> None:
        name, role = options["user"], options["role"]
        if role is None:
            user = User.objects.filter(username=name).first()
            if user is None:
                known = ", ".join(User.objects.order_by("username").values_list("username", flat=True)[:10])
                raise CommandError(
                    f"There is no user {name!r}. "
                    + (f"Users are: {known}. " if known else "There are no users yet. ")
                    + f"To make one: signin_link {name} --role viewer (or operator, or admin)."
                )
        else:
            try:
                user, made = people.find_or_make(name, role)
            except people.Refused as refused:
                raise CommandError(str(refused)) from None
            if made:
                self.stderr.write(f"Made the user {name} with the role {role} and no password.")
            elif user.role != role:
                self.stderr.write(f"{name} had the role {user.role} and has the role {role} now.")
                people.set_role(user, role, None)
        if not user.is_active:
            raise CommandError(f"The user {name} is disabled; a link would not let them in.")
        minutes = int(LINK_LIFETIME.total_seconds() // 60)
        self.stderr.write(f"Signs {name} in once, within {minutes} minutes:")
        self.stdout.write(site_address() + link_path(user))
