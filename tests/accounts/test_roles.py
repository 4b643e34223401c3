"""A higher role may do what a lower one may; nobody else may."""

import pytest

from accounts.models import allows
from tests.factories import make_user

ROLES = ("viewer", "operator", "admin")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("needed", ROLES)
def test_a_role_covers_itself_and_the_lower_ones(role: str, needed: str) -> None:
    assert allows(role, needed) == (ROLES.index(role) >= ROLES.index(needed))


@pytest.mark.django_db
def test_a_disabled_admin_may_nothing() -> None:
    assert not make_user("admin", is_active=False).may("viewer")
