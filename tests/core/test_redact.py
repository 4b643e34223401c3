import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.redact import Masker, is_marker, restore
from runs.core.redact.markers import MANY
from runs.core.redact.masker import MAX_LOOKED
from tests.growth import grows_in_proportion, repeated

UPSTREAM_KEY = "lyzr-Upstream/Key+7d9f2c1ab34e"
masker = Masker(b"k" * 32, known_values=[UPSTREAM_KEY])

# Two parts each, so that no scanner takes the tests for a leak.
BY_VALUE = {
    "key": "sk-" + "prod-4f9aC3kQ7zLm2Xw8",
    "key of a project": "sk-" + "proj-Ab12_Cd34-Ef56Gh78Ij90",
    "aws": "AKIA" + "IOSFODNN7CANARY1",
    "aws session": "ASIA" + "IOSFODNN7CANARY2",
    "github": "ghp_" + "Q7zLm2Xw8R4t6Y8u1I3o5P7a9S2d4F6g8H0j",
    "github pat": "github_pat_" + "11ABCDEFG0Q7zLm2Xw8_R4t6Y8u1I3o5P7a9S2",
    "slack": "xoxb-" + "123456789012-Q7zLm2Xw8R4t6Y8u",
    "slack hook": "https://hooks.slack.com/services/" + "T0CANARY/B0CANARY/Q7zLm2Xw8R4t6Y8u1I3o",
    "google": "AIza" + "SyD4canaryQ7zLm2Xw8R4t6Y8u1I3o5P7a9",
    "stripe": "sk_live_" + "Q7zLm2Xw8R4t6Y8u1I3o5P7a",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJjYW5hcnkifQ.Q7zLm2Xw8R4t6Y8u1I3o5P7a9S2d4F6g",
    "bearer": "Bearer " + "sf_prod_token_canary",
    "basic": "Basic " + base64.b64encode(b"robot:canary-hunter2").decode(),
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEcanaryQ7zLm2Xw8\nR4t6Y8u1\n-----END RSA PRIVATE KEY-----",
    "url": "postgres://robot:" + "canary-hunter2@db.internal:5432/main",
    "known": UPSTREAM_KEY,
}
# What must be gone afterwards, where it is less than the whole.
CORE = {
    "bearer": "sf_prod_token_canary",
    "basic": base64.b64encode(b"robot:canary-hunter2").decode(),
    "pem": "MIIEcanaryQ7zLm2Xw8",
    "url": "canary-hunter2",
    "slack hook": "T0CANARY/B0CANARY/Q7zLm2Xw8R4t6Y8u1I3o",
}
SECRET_NAMES = """
    password passwd db_password Password1 user.password PASSPHRASE secret client_secret clientSecret app-secret token
    access_token accessToken refresh_token id_token csrf_token X-CSRF-Token csrfmiddlewaretoken apikey api_key
    apiKey API-KEY x-api-key X_API_KEY openai_api_key api.key authorization Authorization Proxy-Authorization
    auth basic_auth oauth credentials aws_credentials private_key privateKey access_key aws_secret_access_key
    service_key serviceKey session cookie Cookie set-cookie Set_Cookie cookies dsn sentry_dsn connection_string
    connectionString webhook_url slackWebhookUrl bearer bearer_token signing_key encryptionKey
""".split()
MARK = r"\[masked:[a-z-]+#[0-9a-f]{6}\]"


def nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = {"inner": value} if level % 2 else [value]
    return value


def core(kind: str) -> str:
    return CORE.get(kind, BY_VALUE[kind])


# --- canaries at every place


@pytest.mark.parametrize("kind", BY_VALUE)
@pytest.mark.parametrize(
    "place",
    [
        lambda secret: {"data": secret},
        lambda secret: nested({"data": secret}, 10),
        lambda secret: {"items": ["a", secret, {"b": [secret]}]},
        lambda secret: {"event_type": "task_failed", "message": f"upstream said: {secret} is not valid"},
        lambda secret: {"error": {"type": "E", "message": f"rejected ({secret})", "details": [f"with {secret}."]}},
        lambda secret: {"url": f"https://x.example/callback?next={quote(secret, safe=' ')}&a=1"},
        lambda secret: {"body": json.dumps({"deep": [{"data": secret}]})},
        lambda secret: {"body": json.dumps({"twice": json.dumps({"data": secret})})},
        lambda secret: {secret: "as a name"},
        lambda secret: {"data [duplicate 1]": secret, "data": 1},
    ],
    ids=["top", "nested", "list", "message", "error", "url", "json", "json in json", "name", "duplicate"],
)
def test_a_secret_is_known_by_its_looks_at_every_place(kind: str, place: Any) -> None:
    payload = place(BY_VALUE[kind])
    shown = json.dumps(masker.value(payload))
    for form in {core(kind), json.dumps(core(kind))[1:-1], quote(core(kind), safe="")}:
        assert form not in shown
    assert "[masked:" in shown


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize(
    "place",
    [
        lambda name, value: {name: value},
        lambda name, value: nested({name: value}, 10),
        lambda name, value: {"list": [{name: value}]},
        lambda name, value: {name: {"deep": [value, {"x": value}]}},
        lambda name, value: {f"{name} [duplicate 3]": value, name: value},
        lambda name, value: {"headers": [{"name": name, "value": value}, {"key": name, "value": value}]},
        lambda name, value: {"message": f"called with {name}={value} and failed"},
        lambda name, value: {"message": f"called with {name}: {value}, and failed"},
        lambda name, value: {"error": {"message": f"bad '{name}' => '{value}'"}},
        lambda name, value: {"url": f"https://x.example/p?a=1&{name}={value}&b=2#c"},
        lambda name, value: {"body": json.dumps({"config": {name: value}})},
        lambda name, value: {"body": json.dumps({"log": json.dumps({name: value})})},
        lambda name, value: {"text": f"curl -H '{name}: {value}' https://x.example"},
        lambda name, value: {"text": f"Answer: {json.dumps({name: value})} (trailing)"},
        lambda name, value: {"text": "said " + json.dumps(json.dumps({name: value})) + " twice"},
    ],
    ids=range(15),
)
def test_a_secret_is_known_by_its_name_at_every_place(name: str, place: Any) -> None:
    payload = place(name, "Canary7742")
    assert "Canary7742" in json.dumps(payload)
    shown = json.dumps(masker.value(payload))
    assert "Canary7742" not in shown
    assert "[masked:" in shown


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize(
    "broken",
    [
        '{{"config": {{"{0}": "{1}"',
        "{{'{0}': '{1}', 'a': nan",
        '{{"{0}": "{1}',
        '{{"a": 1, "{0}"  :  \n  "{1}", oops',
        '{{"a": "{{\\"{0}\\": \\"{1}\\"}}", oops',
        '{{"{0}": ["{1}", "x"], "a": NaN',
        '{{"{0}": {{"deep": "{1}"',
        "{0}={1}",
        "{0} = {1}",
        "{0}: {1}",
        "&quot;{0}&quot;: &quot;{1}&quot;",
        "%22{0}%22%3A%22{1}%22",
        '{{"headers": [{{"name": "{0}", "value": "{1}"}}, oops',
    ],
)
def test_a_text_that_is_no_json_is_masked_too(name: str, broken: str) -> None:
    assert "Canary7742" not in masker.text(broken.format(name, "Canary7742"))


def test_the_secrets_of_the_users_own_examples() -> None:
    payload = {
        "input": {
            "config": {
                "api_key": "sk-prod-sentiment-key",
                "agent_id": "sentiment-v2",
                "headers": {"Authorization": "Bearer sf_prod_token_xyz", "Accept": "application/json"},
            },
            "notifications": [{"type": "pagerduty", "service_key": "prod-support-incidents"}],
        }
    }
    masked = masker.value(payload)
    assert is_marker(masked["input"]["config"]["api_key"])
    assert masked["input"]["config"]["headers"]["Authorization"].startswith("[masked:bearer#")
    assert masked["input"]["config"]["headers"]["Accept"] == "application/json"
    assert is_marker(masked["input"]["notifications"][0]["service_key"])
    assert masked["input"]["config"]["agent_id"] == "sentiment-v2"
    assert "sentiment-key" not in masker.text("failed with sk-prod-sentiment-key")
    assert "sf_prod" not in masker.text("sent Bearer sf_prod_token_xyz")


# --- names


def test_everything_below_a_secret_name_goes_but_booleans_nulls_and_empty_texts() -> None:
    masked = masker.value({"credentials": {"user": "u", "pin": 1234, "on": True, "none": None, "": "", "l": [1.5]}})
    inner = masked["credentials"]
    assert is_marker(inner["user"])
    assert is_marker(inner["pin"])
    assert is_marker(inner["l"][0])
    assert (inner["on"], inner["none"], inner[""]) == (True, None, "")


def test_a_secret_that_was_seen_as_a_label_is_still_masked_as_a_name() -> None:
    own, secret = Masker(b"k"), BY_VALUE["key"]
    own.value([{"name": secret, "value": 1}, [secret, "x"], {"credentials": {secret: "x"}}])
    assert secret not in json.dumps(own.value({secret: 1}))


@pytest.mark.parametrize("name", ["ｐａｓｓｗｏｒｄ", "pass\u200bword", "PASSWORD\u00ad", "ａｐｉ＿ｋｅｙ"])
def test_a_name_in_odd_letters_is_known_all_the_same(name: str) -> None:
    assert is_marker(masker.value({name: "Canary7742"})[name])


@pytest.mark.parametrize(
    "text",
    [
        "<password>Canary7742</password>",
        "<ns:apiKey>Canary7742</ns:apiKey>",
        "<a><token>\n  Canary7742\n</token></a>",
        '<input type="password" name="password" value="Canary7742">',
        "<input name='api_key' type='text' value='Canary7742'/>",
        'Content-Disposition: form-data; name="password"\r\n\r\nCanary7742\r\n--b',
        "{b'password': b'Canary7742'}",
        "xapp-1-A0CANARY-12345-Canary7742",
    ],
)
def test_a_secret_in_markup_forms_and_reprs_is_masked(text: str) -> None:
    assert "Canary7742" not in masker.text(text)


@pytest.mark.parametrize("text", ["<title>Canary</title>", '<input name="city" value="Bonn">', 'name="title"\r\n\r\na'])
def test_innocent_markup_stays(text: str) -> None:
    assert masker.text(text) == text


def test_references_of_a_workflow_stay_below_a_secret_name() -> None:
    config = {"api_key": {"input": "lyzr_key"}, "token": {"depends": "sign in"}, "secret": {"input": "hunter2"}}
    masked = masker.value(config)
    assert masked["api_key"] == {"input": "lyzr_key"}
    assert masked["token"] == {"depends": "sign in"}
    assert is_marker(masked["secret"]["input"])
    mixed = masker.value({"auth": {"depends": "sign in", "default": {"input": "hunter"}, "input": "hunter"}})["auth"]
    assert mixed["depends"] == "sign in"
    assert is_marker(mixed["input"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("author", "Ann"),
        ("authorized_by", "Ann"),
        ("token_count", "many"),
        ("max_tokens", 512),
        ("prompt_tokens", 12),
        ("total_tokens", "4096"),
        ("tokens", 7),
        ("tokens", {"prompt": 1, "completion": 2}),
        ("session_id", "b29aa07f-9341-4ac5-9160-4f7e1f594654"),
        ("user_id", "cto@enterprise-client.com"),
        ("token_type", "Bearer"),
        ("auth_url", "https://x.example/authorize"),
        ("password_policy", "strong"),
        ("secretary", "Bob"),
        ("compass", "north"),
        ("pass", 14),
        ("public_key", "ssh-ed25519 AAAA"),
        ("key", "title"),
        ("eos_token", "</s>"),
        ("requires_auth", True),
        ("authenticated", "yes"),
        ("cookie_policy", "strict"),
        ("sessions", [1, 2]),
    ],
)
def test_an_innocent_name_stays(name: str, value: Any) -> None:
    assert masker.value({name: value}) == {name: value}


def test_a_number_below_a_name_of_counts_goes_when_its_own_name_is_a_secrets() -> None:
    masked = masker.value({"tokens": {"used": 12, "password": 1234}})["tokens"]
    assert masked["used"] == 12
    assert is_marker(masked["password"])


def test_max_tokens_in_a_list_of_parameters_stays() -> None:
    payload = [{"name": "max_tokens", "value": 512}, {"name": "model", "value": "gpt-5"}]
    assert masker.value(payload) == payload


def test_a_session_id_that_looks_like_a_secret_goes() -> None:
    assert is_marker(masker.value({"session_id": "Q7zLm2Xw8R4t6Y8u1I3o5P7a9S2d4F6g8H0jK2l4"})["session_id"])


def test_a_list_of_names_is_not_taken_for_a_header() -> None:
    assert masker.value({"required": ["password", "email"]}) == {"required": ["password", "email"]}
    assert is_marker(masker.value([["Authorization", "Bearer abc123def456"]])[0][1])


def test_names_of_ones_own_are_masked_also_in_texts() -> None:
    own = Masker(b"k", extra_names=["patient_number"])
    assert is_marker(own.value({"PatientNumber": "A-7742"})["PatientNumber"])
    assert "A-7742" not in own.text("wrong patient number: A-7742")
    assert masker.value({"PatientNumber": "A-7742"}) == {"PatientNumber": "A-7742"}


def test_patterns_of_ones_own_are_masked_and_a_wrong_one_is_named() -> None:
    own = Masker(b"k", extra_patterns=[r"\d{6,}"])
    masked = own.value({"a": "number 123456789 of 5"})
    assert "123456789" not in masked["a"]
    assert masked["a"].endswith(" of 5")
    assert own.value(masked) == masked
    with pytest.raises(ValueError, match=r"\(open"):
        Masker(b"k", extra_patterns=["(open"])


# --- values


@pytest.mark.parametrize("before", range(4))
def test_a_known_key_is_found_in_base64_however_it_is_aligned(before: int) -> None:
    raw = b"u" * before + UPSTREAM_KEY.encode() + b":tail"
    for encoded in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        shown = masker.value({"a": f"sent {encoded} there"})["a"]
        assert encoded[6:-6] not in shown
        assert "[masked:known#" in shown


def test_a_known_key_is_found_in_url_form() -> None:
    for form in (quote(UPSTREAM_KEY, safe=""), quote(UPSTREAM_KEY, safe="").lower().replace("lyzr-u", "lyzr-U")):
        assert "7d9f2c1ab34e" not in masker.text(f"https://x.example/?a={quote(UPSTREAM_KEY, safe='')}")
        assert "%2" in form
    assert "7d9f2c1ab34e" not in masker.text(f"GET /{quote(UPSTREAM_KEY)} failed")


@pytest.mark.parametrize(
    "form",
    [
        quote(quote(UPSTREAM_KEY, safe=""), safe=""),
        UPSTREAM_KEY.replace("/", "\\/"),
        quote(base64.b64encode(UPSTREAM_KEY.encode()).decode(), safe=""),
        json.dumps(UPSTREAM_KEY),
    ],
)
def test_a_known_key_is_found_in_forms_of_forms(form: str) -> None:
    shown = masker.text(f"sent {form} there")
    assert "7d9f2c1ab34e" not in shown
    assert base64.b64encode(UPSTREAM_KEY.encode()).decode()[8:20] not in shown


def test_a_short_known_value_is_masked_only_where_it_stands_alone() -> None:
    own = Masker(b"k", known_values=["demo", "abcde"])
    assert is_marker(own.value(["demo"])[0])
    assert is_marker(own.value(["abcde"])[0])
    assert own.value(["a demo of abcdef"]) == ["a demo of abcdef"]


def test_equal_secrets_have_equal_marks_and_a_bearer_equals_its_bare_token() -> None:
    payload = {"token": "abc-1", "password": "abc-1", "secret": "abc-2", "Authorization": "Bearer abc-1"}
    masked = masker.value(payload)
    assert masked["token"] == masked["password"] != masked["secret"]
    assert masked["Authorization"][-8:] == masked["token"][-8:]
    assert Masker(b"other").value({"token": "abc-1"})["token"] != masked["token"]


def test_mail_addresses_are_masked_when_asked() -> None:
    payload = {"to": "write to cto@enterprise-client.com, please"}
    assert masker.value(payload) == payload
    masked = Masker(b"k", mask_email=True).value(payload)
    assert masked["to"].startswith("write to [masked:email#")
    assert masked["to"].endswith("], please")


def test_json_in_a_string_is_written_anew_only_where_something_changed() -> None:
    untouched = '{ "max_tokens" : 5,\n "list": [1.50, 1e3] }'
    assert masker.value({"a": untouched})["a"] == untouched
    changed = json.loads(masker.value({"a": '{"password": "x", "b": {"password": "y"}, "password": "z"}'})["a"])
    assert list(changed) == ["password", "b", "password [duplicate 1]"]
    assert is_marker(changed["password [duplicate 1]"])


def test_an_escape_in_json_that_is_written_anew_stays_an_escape() -> None:
    masked = masker.text(r'{"password": "canary-hunter2", "text": "é \ud800 \u0000"}')
    assert "canary" not in masked
    assert r"\ud800 \u0000" in masked
    assert masked.encode()


def test_letters_that_grow_when_lowered_do_not_shift_what_is_masked() -> None:
    assert masker.text("\u0130\u0130 password=Canary7742 \u0130").replace("\u0130", "I")[:12] == "II password="
    assert "Canary" not in masker.text("\u0130\u0130 password=Canary7742 \u0130")


def test_only_the_secret_part_of_a_url_goes() -> None:
    masked = masker.value(["https://robot:hunter2@x.example/p?page=2&token=abc#top", "ssh://git@x.example/repo"])
    assert masked[0].startswith("https://robot:[masked:url#")
    assert "@x.example/p?page=2&token=[masked:name#" in masked[0]
    assert masked[1] == "ssh://git@x.example/repo"


# --- the promises of the masker


def test_nothing_is_masked_in_place() -> None:
    payload = {"password": "x", "list": [{"token": "y"}, "Bearer abc123def456"], "deep": nested({"secret": "z"}, 20)}
    before = copy.deepcopy(payload)
    masked = masker.value(payload)
    assert payload == before
    assert masked["list"] is not payload["list"]


def test_what_lies_too_deep_is_replaced_whole() -> None:
    shown = json.dumps(masker.value(nested({"a": "very deep"}, 70)))
    assert "very deep" not in shown
    assert "[masked:deep#" in shown
    assert json.dumps(masker.value(nested("kept", 64))) == json.dumps(nested("kept", 64))


def test_a_masker_that_fails_replaces_the_whole_payload() -> None:
    assert masker.value({"a": object()}) == {"masked": "[masked:json-error#000000]"}
    assert masker.value({"token": {1, 2}}) == {"masked": "[masked:json-error#000000]"}
    assert masker.value({1: "a"}) == {"masked": "[masked:json-error#000000]"}
    circle: list[Any] = []
    circle.append(circle)
    assert "deep" in json.dumps(masker.value(circle))
    assert masker.text(None) == "[masked:json-error#000000]"  # type: ignore[arg-type]


def test_numbers_and_odd_texts_pass_as_they_are() -> None:
    payload = {"big": 2**80, "float": 1e300, "nul": "a\x00b", "half": "a\ud800b", "empty": "", "": [], "t": True}
    assert masker.value(payload) == payload
    assert is_marker(masker.value({"token": "half\ud800"})["token"])


ODD = """password|token|api_key|author|max_tokens|=|:|: |"|\\"|'|{|}|[|]| |?|&|//|://|@|a|7|,|Bearer |Basic |null
|[masked:|[masked:name#123abc]|[masked:name#12|cookie: a=b; c|&quot;|%22|%3D|%2F
|%25|TOKENS|PASSWD|session|-----BEGIN|\\|_|-|."""
pieces = st.sampled_from([*BY_VALUE.values(), "\n", *ODD.replace("\n", "").split("|")])
texts = st.text(max_size=30) | st.lists(pieces, max_size=12).map("".join)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(payloads)
def test_masking_twice_is_masking_once_and_never_in_place(payload: Any) -> None:
    before = copy.deepcopy(payload)
    once = masker.value(payload)
    assert payload == before
    assert masker.value(once) == once
    json.dumps(once)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(texts)
def test_a_text_masked_twice_is_masked_once(text: str) -> None:
    once = masker.text(text)
    assert masker.text(once) == once


@settings(max_examples=200, deadline=None, derandomize=True)
@given(payloads)
def test_an_unedited_masked_payload_restores_to_the_original(payload: Any) -> None:
    masked = masker.value(payload)
    assert restore(copy.deepcopy(masked), masked, payload) == payload


HOSTILE = """a|pwd=a |pwd=|pwd={|pwd={}|pwd="|pwd=\\"|\\"|sk-|eyJ|_eyJ|eyJaaaaa.|Bearer |Bearer aaaaa1 |basic |://|://a:b@
|-----BEGIN A-----|://a|@|a@b.|[|{|"|[masked:|[masked:name#123456]|max_tokens=1 |xox|?key=|key |api key |token:|%22|AIza
|hooks.slack.com/|\\u0061|{"a":1} |ghp_|-AKIA|"name":"|cookie: a |pass|İpwd=a |_|.|passtoken|token.
|%25|%3A|%2F%2F|%22token%22%3A1,|"name":"token","value":|</|<a>|<a></a>|<password>|<password>a</password>
|name="token" |name="token" value=|name="token" value="a" |b'pwd': b'|&quot;token&quot;: |ｐｗｄ=a
""".replace("\n", "").split("|")


everything_on = Masker(b"k", known_values=[UPSTREAM_KEY], mask_email=True)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_megabyte_takes_time_in_proportion_to_its_length(piece: str) -> None:
    assert grows_in_proportion(everything_on.text, repeated(piece))


def in_strings(size: int) -> str:
    text = "pwd=a"
    while len(text) < size:
        text = json.dumps({"a": text, "b": '"'})
    return text


@pytest.mark.parametrize(
    "text_of",
    [
        lambda size: json.dumps(["pwd=a"] * (size // 9)),
        lambda size: json.dumps({f"pwd{number}": "a" for number in range(size // 16)}),
        lambda size: json.dumps({f"a{number}": "pwd=a" for number in range(size // 20)}),
        lambda size: json.dumps([json.dumps({"pwd": "a"})] * (size // 20)),
        lambda size: json.dumps([nested("pwd=a", 60)] * (size // 400)),
        lambda size: "{" + ",".join(['"pwd":"a"'] * (size // 10)) + "}",
        lambda size: "[" * size,
        lambda size: '{"a":' * (size // 5),
    ],
    ids=["strings", "secrets", "values", "JSON in strings", "deep", "duplicates", "brackets", "objects"],
)
def test_a_megabyte_of_hostile_json_takes_time_in_proportion_to_its_length(text_of: Callable[[int], str]) -> None:
    assert grows_in_proportion(everything_on.text, text_of)


def test_json_inside_strings_inside_strings_is_masked_however_deep() -> None:
    shown = masker.text(in_strings(100_000).replace("pwd=a", "pwd=Canary7742"))
    assert "Canary7742" not in shown


def test_what_is_too_much_to_look_at_is_masked_whole() -> None:
    payload = {"list": [f"pwd=Canary{number}" for number in range(MAX_LOOKED + 100)], "kept": 7}
    masked = masker.value(payload)
    assert "Canary" not in json.dumps(masked)
    assert masked["list"][-1] == "[masked:many#000000]"
    assert masked["kept"] == 7
    assert masker.value({"message": "pass the salt: now"}) == {"message": "pass the salt: now"}, "the next is looked at"


# --- previews


@pytest.mark.parametrize("kind", BY_VALUE)
def test_no_half_of_a_secret_stays_at_the_end_of_a_preview(kind: str) -> None:
    secret, most = BY_VALUE[kind], 4096
    for before in [*range(0, 60, 7), *range(2 * most - 120, 2 * most + 2200, 29)]:
        # As many secrets as it takes for what is left of the text after masking to be shorter than the preview.
        text = ("password=" + "x" * 2000 + " ") * (before // 2000) + "." * (before % 2000) + f" {secret} " + "." * 9000
        shown = masker.preview(text, most)
        assert len(shown.encode()) <= most
        for start in range(0, len(core(kind)) - 12, 5):
            assert core(kind)[start : start + 12] not in shown


@pytest.mark.parametrize("rest", ["[" * 1_000_000 + "]" * 1_000_000, '"sk-canary' + "4f9aC3kQ" * 100_000 + '"'])
def test_a_preview_of_what_is_masked_whole_still_says_so(rest: str) -> None:
    shown = masker.preview('{"api_key": "sk-canary-4f9aC3kQ7zLm2Xw8", "a": ' + rest + "}", 65_536)
    assert shown == MANY


def test_a_preview_is_cut_in_bytes_and_never_within_a_letter() -> None:
    assert masker.preview("ü" * 100, 25) == "ü" * 12
    assert masker.preview("short", 25) == "short"
    assert masker.preview("half\ud800", 25) == "half\\ud800"
    assert masker.preview(None, 25) == "[masked:json-error#000000"  # type: ignore[arg-type]


# --- false positives

INNOCENT = [json.loads(line) for line in (Path(__file__).parent / "innocent.jsonl").read_text().splitlines()]


def test_at_most_one_in_a_hundred_innocent_payloads_is_masked() -> None:
    assert len(INNOCENT) >= 600
    wrong = [payload for payload in INNOCENT if masker.value(payload) != payload]
    assert len(wrong) <= len(INNOCENT) / 100, wrong


# --- putting back


def definition() -> dict[str, Any]:
    return {
        "tasks": [
            {"name": "a", "params": {"config": {"api_key": "first-key", "url": "https://u:pw@x.example/a"}}},
            {"name": "b", "params": {"config": {"api_key": "other-key", "pin": {"token": 1234}}}},
        ]
    }


def test_secrets_come_back_where_their_marks_still_stand() -> None:
    original = definition()
    masked = masker.value(original)
    edited = copy.deepcopy(masked)
    edited["tasks"][0]["params"]["config"]["model"] = "new"
    restored = restore(edited, masked, original)
    expected = definition()
    expected["tasks"][0]["params"]["config"]["model"] = "new"
    assert restored == expected
    assert is_marker(edited["tasks"][0]["params"]["config"]["api_key"]), "not in place"


def test_a_new_secret_is_taken_as_it_is() -> None:
    masked = masker.value(definition())
    edited = copy.deepcopy(masked)
    edited["tasks"][0]["params"]["config"]["api_key"] = "third-key"
    assert restore(edited, masked, definition())["tasks"][0]["params"]["config"]["api_key"] == "third-key"


def test_the_text_around_a_mark_may_be_edited() -> None:
    masked = masker.value(definition())
    edited = copy.deepcopy(masked)
    config = edited["tasks"][0]["params"]["config"]
    config["url"] = config["url"].replace("/a", "/b")
    restored = restore(edited, masked, definition())
    assert restored["tasks"][0]["params"]["config"]["url"] == "https://u:pw@x.example/b"


def test_tasks_keep_their_secrets_when_one_before_them_is_removed() -> None:
    masked = masker.value(definition())
    edited = {"tasks": [copy.deepcopy(masked["tasks"][1])]}
    assert restore(edited, masked, definition()) == {"tasks": [definition()["tasks"][1]]}


def test_a_mark_at_a_new_place_is_refused_with_its_place() -> None:
    masked = masker.value(definition())
    edited = copy.deepcopy(masked)
    edited["tasks"][0]["params"]["config"]["api_key"] = masked["tasks"][1]["params"]["config"]["api_key"]
    with pytest.raises(LookupError, match=r"tasks\[0\]\.params\.config\.api_key"):
        restore(edited, masked, definition())
    edited = copy.deepcopy(masked)
    edited["tasks"][1]["params"]["extra"] = [masked["tasks"][1]["params"]["config"]["api_key"]]
    with pytest.raises(LookupError, match=r"tasks\[1\]\.params\.extra\[0\]"):
        restore(edited, masked, definition())
    edited = copy.deepcopy(masked)
    edited["tasks"].append({"name": "c", "params": {"x": masked["tasks"][0]["params"]["config"]["api_key"]}})
    with pytest.raises(LookupError, match=r"tasks\[2\]\.params\.x"):
        restore(edited, masked, definition())


def test_json_in_a_string_with_ever_so_many_containers_is_masked_whole_where_it_may_hold_a_secret() -> None:
    many = "{}," * 60_000
    assert masker.value({"log": f'[{many}{{"password": "hunter2"}}]'}) == {"log": "[masked:many#000000]"}
    assert masker.value({"log": f"[{many}1]"}) == {"log": f"[{many}1]"}
