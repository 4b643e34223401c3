"""Secrets that are known by their looks, wherever they stand.

Each repeat is possessive and takes its whole run whether or not it turns out to be a secret, so that a failed try is
never started again inside the same run: linear time on any text.
"""

import base64
import binascii
import re
from typing import Final

from runs.core.redact.markers import Marks

_VALUES: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?P<jwt>eyJ[\w-]*+(?:\.[\w-]{4,}+(?:\.[\w-]*+)?)?)"
    r"|(?P<key>sk-[\w-]*+)"
    r"|(?P<stripe>(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]*+)"
    r"|(?P<aws>(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))"
    r"|(?P<github>gh[pousr]_[A-Za-z0-9]*+|github_pat_\w*+)"
    r"|(?P<slack>(?:xox[a-z]|xapp)-[\w-]*+|hooks\.slack\.com/[\w/%-]*+)"
    r"|(?P<google>AIza[\w-]*+)"
    r"|(?P<bearer>(?:Bearer|bearer|BEARER)(?:[ \t]{1,4}+|%20|\+)[\w\-.~+/]*+={0,2}+)"
    r"|(?P<basic>(?:Basic|basic|BASIC)(?:[ \t]{1,4}+|%20|\+)[A-Za-z0-9+/]*+={0,2}+)"
    r")"
)
# What each of them needs: cheap to look for, since every branch begins with a letter that is rare in prose.
may_hold = re.compile(
    r"k[-_]|k(?<=slack)\.com|whsec_|AKIA|ASIA|gh[pousr]_|github_pat|xox|xapp-|AIza|J(?<=eyJ)|-----B"
    r"|bearer|Bearer|BEARER|basic|Basic|BASIC"
).search
_LEAST: Final = {"jwt": 20, "key": 19, "stripe": 16, "aws": 20, "github": 24, "slack": 15, "google": 30}
_NO_BEARER: Final = frozenset(
    "authentication authorization tokens credentials scheme header headers instead method".split()
)
_USERINFO: Final = re.compile(r"://([^\s/?#\"'<>]{1,1024})@")
_SIGNED_QUERY: Final = re.compile(
    r"[?&;]((?:sig|signature|x-(?:amz|goog)-(?:signature|credential)|key|code)=)([^&\s#\"'<>\[]{16,}+)", re.I
)
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40}+)-----")
EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,5}+")
OPAQUE: Final = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w+/=.%-]{40,}")


def mask_values(text: str, marks: Marks) -> str:
    """Keys of well-known services, tokens, credentials in addresses."""
    text = marks.every(_VALUES, lambda match: _found(match, marks), text)
    if "://" in text:
        text = marks.every(_USERINFO, lambda match: _userinfo(match, marks), text)
        text = marks.every(_SIGNED_QUERY, lambda m: m[0][: -len(m[2])] + marks.mark("url", m[2]), text)
    return text


def mask_pem(text: str, marks: Marks) -> str:
    """Private keys, to their end or to that of the text; certificates and public keys stay."""
    out, done = [], 0
    while begin := _PEM.search(text, done):
        end = text.find("-----END", begin.end())
        close = text.find("-----", end + 8) if end >= 0 else -1
        stop = close + 5 if close >= 0 else len(text)
        open_to_all = "CERTIFICATE" in begin[1] or "PUBLIC" in begin[1]
        out += [text[done : begin.start()]]
        out += [text[begin.start() : stop] if open_to_all else marks.mark("pem", text[begin.start() : stop])]
        done = stop
    return "".join([*out, text[done:]])


def _found(match: re.Match[str], marks: Marks) -> str:
    kind, found = str(match.lastgroup), match[0]
    if kind in _LEAST:
        if len(found) < _LEAST[kind] or (kind == "jwt" and "." not in found):
            return found
        return marks.mark(kind, found)
    split = re.match(r"\w{5,6}?(?:[ \t]+|%20|\+)", found)
    head = found[: split.end()] if split else ""
    secret = found[len(head) :].rstrip(".")
    looks = _is_bearer(found, secret) if kind == "bearer" else _is_basic(secret)
    return head + marks.mark(kind, secret) + found[len(head) + len(secret) :] if looks else found


def _is_bearer(found: str, word: str) -> bool:
    if len(word) < 6 or word.lower() in _NO_BEARER:
        return False
    return found[0] == "B" or len(word) >= 20 or any(letter.isdigit() or letter in "_." for letter in word)


def _is_basic(secret: str) -> bool:
    if len(secret) < 6:
        return False
    core = secret.rstrip("=")
    try:
        return b":" in base64.b64decode(core + "=" * (-len(core) % 4))
    except (binascii.Error, ValueError):
        return False


def _userinfo(match: re.Match[str], marks: Marks) -> str:
    user, colon, password = match[1].partition(":")
    if colon and password and "[masked:" not in password:
        return f"://{user}:{marks.mark('url', password)}@"
    if not colon and len(user) >= 16 and "[masked:" not in user:
        return f"://{marks.mark('url', user)}@"
    return match[0]
