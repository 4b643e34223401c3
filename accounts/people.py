"""Users made from the command line: a name, a role, no password."""

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.models import User


def find_or_make(name: str, role: str) -> tuple[User, bool]:
    """The user of this name as they are, or a new one with this role; and whether they are new.

    Raises CommandError, naming the name, when it cannot be a user's.
    """
    user = User.objects.filter(username=name).first()
    if user is not None:
        return user, False
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError as error:
        raise CommandError(f"{name!r} cannot be the name of a user: {' '.join(error.messages)}") from None
    return User.objects.create_user(name, role=role), True
