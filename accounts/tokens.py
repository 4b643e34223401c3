"""Who a program is: the text of its token to a user and what that token may do."""

from accounts.models import Token, User

LONGEST = 200  # characters; ours have 47, and nothing longer is worth hashing


def authenticate(text: str) -> tuple[User, str] | None:
    """Its user and effective role; None when it is unknown, expired, revoked or of a disabled user."""
    if not text or len(text) > LONGEST:
        return None
    token = Token.find(text)
    return (token.user, token.effective_role) if token else None
