"""`create_token USER --role ROLE [--days N]`: an API token, printed once, alone on its line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import people, tokens
from accounts.models import Role, User, allows

LONGEST_DAYS = 36_500


class Command(BaseCommand):
    help = "Make an API token. The token is printed once, alone on a line of standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="Owner of the token; made when there is none")
        parser.add_argument("--role", required=True, choices=Role.values, help="What the token may do")
        parser.add_argument("--days", type=int, metavar="N", help="Days until it expires; without it, never")

    def handle(self, *args: Any, **options: Any) -> None:
        role, days = options["role"], options["days"]
        if days is not None and not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"--days {days}: expected a number from 1 to {LONGEST_DAYS}.")
        try:
            user, made = people.find_or_make(options["user"], role)
        except people.Refused as refused:
            raise CommandError(str(refused)) from None
        if not user.is_active:
            raise CommandError(f"The user {user.username} is disabled; a token of theirs would open nothing.")
        text = tokens.make(user, role, days, None)
        self.stderr.write(self.hint(user, made, role, days))
        self.stdout.write(text)

    @staticmethod
    def hint(user: User, made: bool, role: str, days: int | None) -> str:
        lines = [f"Made the user {user.username} with the role {user.role} and no password."] if made else []
        if not allows(user.role, role):
            lines.append(f"{user.username} has the role {user.role}, so this token may do no more than that.")
        until = f"for {days} days" if days else "until it is revoked"
        lines.append(f"A token with the role {role}, good {until}. It is shown only now; send it as")
        lines.append("  Authorization: Bearer TOKEN")
        return "\n".join(lines)
