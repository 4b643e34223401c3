"""A small OpenID Connect provider on loopback, for tests: discovery, authorize, token, userinfo and keys.

It signs in whoever `person` says, at once and without asking. It is strict about what it gets (client, redirect
address, PKCE), and gives what `sign` and `spoil` make of it, so that a test can have it lie.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "stepline", "a-secret-of-the-site"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)

type Json = dict[str, Any]


def signed(claims: Json, key: Any = KEY, algorithm: str = "RS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k1"})


class Provider:
    """`with Provider() as provider:`; what it was asked for stands in `asked`."""

    def __init__(self) -> None:
        self.person: Json = {"sub": "1"}
        self.cancel = False
        self.sign: Callable[[Json], str | None] = signed  # claims -> id_token; None: there is none
        self.spoil: Callable[[str, Json], Json] = lambda _, answer: answer  # (path, answer) -> answer
        self.asked: list[str] = []
        self.codes: dict[str, Json] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Provider":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def honest(self) -> None:
        """Forget what a test made of it."""
        self.person, self.cancel, self.sign = {"sub": "1"}, False, signed
        self.spoil = lambda _, answer: answer

    # --- answers: path -> (status, JSON or the address to go to) ---------------------------------------------------

    def configuration(self) -> Json:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def keys(self) -> Json:
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return {"keys": [{**jwk, "kid": "k1", "alg": "RS256", "use": "sig"}]}

    def authorize(self, query: dict[str, str]) -> str:
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        if self.cancel:
            return query["redirect_uri"] + "?" + urlencode({"error": "access_denied", "state": query["state"]})
        code = secrets.token_urlsafe(16)
        self.codes[code] = {"query": query, "person": self.person}
        return query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"]})

    def token(self, form: dict[str, str]) -> tuple[int, Json]:
        found = self.codes.pop(form.get("code", ""), None)
        if found is None or (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return 400, {"error": "invalid_grant"}
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if (form["redirect_uri"], proof) != (found["query"]["redirect_uri"], found["query"]["code_challenge"]):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 60, **found["person"]}
        answer = {"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "expires_in": 60}
        id_token = self.sign(claims)
        return 200, answer | ({"id_token": id_token} if id_token else {})

    def _answer(self, path: str, fields: dict[str, str]) -> tuple[int, Json | str]:
        match path:
            case "/.well-known/openid-configuration":
                return 200, self.spoil(path, self.configuration())
            case "/keys":
                return 200, self.keys()
            case "/authorize":
                return 302, self.authorize(fields)
            case "/token":
                return self.token(fields)
            case "/userinfo":
                return 200, self.spoil(path, dict(self.person))
        return 404, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(urlsplit(self.path).query)

            def do_POST(self) -> None:
                self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def answer(self, text: str) -> None:
                path = urlsplit(self.path).path
                provider.asked.append(path)
                status, answer = provider._answer(path, {name: value[0] for name, value in parse_qs(text).items()})
                self.send_response(status)
                if isinstance(answer, str):
                    self.send_header("Location", answer)
                body = b"" if isinstance(answer, str) else json.dumps(answer).encode()
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
