"""Which addresses are refused by their looks; `hostile` is also what the tests at saving and at connecting use."""

import ipaddress
from typing import Any

import pytest

from outgoing.addresses import Forbidden, check, is_public, literal
from tests.outgoing.hostile import HOSTILE

SCHEMES = ("http", "https")


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_in_a_private_network_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(Forbidden):
        check(url, SCHEMES)


@pytest.mark.parametrize(
    "url",
    [
        "https://lao.studio.lyzr.ai",
        "https://agent-prod.studio.lyzr.ai/v3",
        "http://orchestrator.example:8080/api",
        "https://8.8.8.8",
        "https://[2001:4860:4860::8888]:8443",
        "https://[64:ff9b::808:808]",  # NAT64 of a public address
        "https://xn--bcher-kva.example",
        "https://bücher.example.",
        "https://dead.beef.example",
        "https://face.cafe",  # a name of letters that could be hexadecimal digits
    ],
)
def test_a_public_address_passes(url: str) -> None:
    check(url, SCHEMES)


@pytest.mark.parametrize("url", [one for one in HOSTILE if "@" not in one and "?" not in one and "#" not in one])
def test_the_setting_lets_private_addresses_through(settings: Any, url: str) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    check(url, SCHEMES)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "orchestrator.example",
        "//orchestrator.example",
        "ftp://orchestrator.example",
        "javascript:alert(1)",
        "https://",
        "https:///run-dag",
        "https://orchestrator.example:99999",
        "https://[::1",
        "https://user:password@orchestrator.example",
        "https://user@orchestrator.example",
        "https://:password@orchestrator.example",
        "https://@orchestrator.example",
        "https://orchestrator.example/?a=b",
        "https://orchestrator.example/#a",
        "https://orchestrator.example\\@127.0.0.1",
        "https://orchestrator.example\t",
        "https://orchestra\ntor.example",
        "https://orchestrator.example/ a",
        "https://" + "a" * 500,
        "file:///etc/passwd",
        "gopher://orchestrator.example",
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_no_plain_address_is_refused_whatever_is_allowed(settings: Any, url: str, allowed: bool) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = allowed
    with pytest.raises(Forbidden):
        check(url, SCHEMES)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.0.0.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("１２７.０.０.１", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("10", "0.0.0.10"),
    ],
)
def test_an_address_is_known_in_every_way_of_writing_it(written: str, meant: str) -> None:
    assert literal(written) == ipaddress.ip_address(meant)


@pytest.mark.parametrize("name", ["a.example", "example", "1.2.3.4.5", "dead.beef", "0x", "256.1.1.1", ""])
def test_a_name_is_no_address(name: str) -> None:
    assert literal(name) is None


@pytest.mark.parametrize(
    "network",
    """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    ::/128 ::1/128 ::/96 ::ffff:0:0/104 64:ff9b:1::/48 100::/64 2001::/32 2001:db8::/32 3fff::/20 fc00::/7 fe80::/10
    fec0::/10 ff00::/8""".split(),
)
def test_no_address_of_a_special_network_is_public(network: str) -> None:
    one = ipaddress.ip_network(network)
    assert not is_public(one[0])
    assert not is_public(one[-1])
    assert not is_public(one[one.num_addresses // 2])
