"""A real SMTP server on loopback: takes mail from whoever has the password, or refuses it as a test tells it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "stepline", "mail-password-4711"


class Mailbox:
    """`refuse`: the answer to each recipient, as in "550 no such mailbox"; empty: welcome."""

    def __init__(self) -> None:
        self.port = 0
        self.refuse = ""
        self.mails: list[tuple[Envelope, EmailMessage]] = []
        self.logins: list[tuple[bool, bytes, bytes]] = []  # encrypted, user, password

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope, mail))
        return "250 OK"

    def authenticate(self, _server: Any, session: Session, _envelope: Any, _how: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append((session.ssl is not None, given.login, given.password))
        right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False)


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """With `tls` it offers STARTTLS and takes no password before it."""
    made = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            made,
            hostname="mail.example.com",
            tls_context=tls,
            authenticator=made.authenticate,
            auth_require_tls=tls is not None,
            auth_required=True,
        ),
        "127.0.0.1",
        0,
    )
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
