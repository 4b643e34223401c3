"""Which names carry secrets. Compared in lower case without `_ - . : space`, a duplicate mark and trailing digits."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

PLAIN, ID, SECRET_UNLESS_NUMBER, SECRET = 0, 1, 2, 3  # the stricter the higher
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.%"  # of a name in a text

_MAX_KEPT: Final = 8192  # names whose rule is remembered
_LONGEST_KEPT: Final = 128
_DROPPED: Final = str.maketrans("", "", "_-. :")
_DUPLICATE: Final = re.compile(r" \[duplicate \d{1,9}\]\Z")
_CARRIES: Final = re.compile(
    r"pass(?:word|wort|wd|phrase|code)|^pass$|pwd$|(?:db|user|smtp|imap|mail|ftp|ssh|mysql|pg|redis|root|admin|proxy)pass$"
    r"|secret(?!ar[yi]|ly|ion)|tokens?$|token(?:value|string|key|header)"
    r"|(?:api|private|access|service)key"
    r"|(?:signing|encryption|master|subscription|shared|account|storage|integration|routing|licen[sc]e|ssh|hmac|auth"
    r"|session|client|server|app|application|consumer|deploy|function|webhook|bearer|openai|anthropic|lyzr|azure"
    r"|google|gemini|stripe|slack|sendgrid|twilio|pagerduty|datadog)keys?$"
    r"|credential|authorization|^authentication$|auth$|auth(?:header|data|code|info|string)$"
    r"|connectionstring|connstr|webhookurl|(?:slack|teams|discord|incoming)webhook|bearer$|dsn$"
    r"|cookies?$|cookie(?:jar|header)$|^session$|session(?:data|cookie)$|sessid$|jsessionid$|connectsid$"
    r"|csrf|xsrf|^otp$|otpcode$|^jwt$"
)
# Names that speak about a secret and do not hold it.
_SPEAKS_ABOUT: Final = re.compile(
    r"(?:count|counts|limit|limits|length|type|kind|policy|expiry|expires|expiresin|expiration|ttl|usage|name|names"
    r"|field|required|enabled|valid|status|scheme|method|mode|provider|scopes?|strength|age|version|format|path|less"
    r"|(?:expire|expires|expired|changed|updated|created|rotated|issued|used)at|tokensused)$"
    r"|(?:auth|authorization|token)(?:url|uri|endpoint)$|secret(?:ref|arn)$"
    r"|^(?:max|min|total|prompt|completion|input|output|cached|reasoning|num|used|remaining|stop)tokens$"
    r"|^(?:eos|bos|pad|unk|sep|cls|mask|stop|special|max|min|num|startof|endof)token$"
)
_NUMBER_IS_FINE: Final = re.compile(r"tokens$|^pass$")  # 512 tokens, 14 tests pass

# What one of these names holds at least: what to look for in a text before looking closer.
STEMS: Final = "pass pwd secret token key auth cred sess cookie dsn conn webhook bearer csrf xsrf otp jwt".split()


def normal(name: str) -> str:
    """The form in which names are compared."""
    if not name.isascii():
        name = "".join(one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
    return _DUPLICATE.sub("", name).lower().translate(_DROPPED).rstrip("0123456789")


def speaks_about(name: str) -> bool:
    return _SPEAKS_ABOUT.search(normal(name)) is not None


class Names:
    """The rule of each name; `extra` are names of one's own, compared whole."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self.extra = frozenset(map(normal, extra)) - {""}
        self._rules: dict[str, int] = {}

    def rule_of(self, name: str) -> int:
        rule = self._rules.get(name)
        if rule is None:
            rule = self._rule(name)
            if len(name) <= _LONGEST_KEPT:
                if len(self._rules) >= _MAX_KEPT:
                    self._rules.clear()
                self._rules[name] = rule
        return rule

    def _rule(self, name: str) -> int:
        compared = normal(name)
        if compared in self.extra:
            return SECRET
        if compared == "sessionid":
            return ID
        if "webhookurl" in compared:
            return SECRET
        if not _CARRIES.search(compared) or _SPEAKS_ABOUT.search(compared):
            return PLAIN
        return SECRET_UNLESS_NUMBER if _NUMBER_IS_FINE.search(compared) else SECRET
