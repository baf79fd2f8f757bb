"""server-semantics 9.2 and 44: providers, in our words and in Convex's, and what is wrong with those that can't work."""

from __future__ import annotations

import base64
import json
from types import ModuleType
from typing import Any

import pytest

from reactor import JwtProvider, OidcProvider, SchemaError
from reactor.auth.config_module import read_providers
from reactor.auth.providers import check_url, data_url_content, normal_issuer, provider_of


@pytest.mark.parametrize(
    "text", ["issuer.example", "https://issuer.example", "https://issuer.example/", "issuer.example/"]
)
def test_an_issuer_may_lack_its_scheme_and_have_a_slash(text: str) -> None:
    """client-protocol 36"""
    assert normal_issuer(text) == "https://issuer.example"
    assert OidcProvider(domain=text, application_id="a").issuer == "https://issuer.example"


def test_convex_objects_are_taken() -> None:
    assert provider_of({"domain": "https://i.example", "applicationID": "convex"}) == OidcProvider(
        domain="https://i.example", application_id="convex"
    )
    given: dict[str, Any] = {"type": "customJwt", "issuer": "https://i", "jwks": "https://i/jwks", "algorithm": "ES256"}
    assert provider_of(given) == JwtProvider(issuer="https://i", jwks="https://i/jwks", algorithm="ES256")
    assert provider_of({**given, "applicationID": "a"}).application_id == "a"


def test_providers_are_equal_by_what_they_say() -> None:
    keys = {"keys": [{"kty": "OKP"}]}
    one, two = (JwtProvider(issuer="https://i", jwks=keys, algorithm="EdDSA") for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one.is_inline
    assert one != JwtProvider(issuer="https://i", jwks={"keys": []}, algorithm="EdDSA")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: OidcProvider(domain="", application_id="a"), "Is an environment variable missing?"),
        (lambda: OidcProvider(domain=None, application_id="a"), "`domain` must be a text, the issuer of the tokens"),  # type: ignore[arg-type]
        (lambda: OidcProvider(domain="https://i", application_id=""), "`application_id` must be a text"),
        (lambda: OidcProvider(domain="ftp://i", application_id="a"), "expected an https:// URL"),
        (lambda: OidcProvider(domain="https://", application_id="a"), "expected an https:// URL"),
        (lambda: OidcProvider(domain="https://u:p@i", application_id="a"), "expected an https:// URL"),
        (lambda: OidcProvider(domain="https://i:x", application_id="a"), "not a URL"),
        (lambda: OidcProvider(domain="https://i?x=1", application_id="a"), "no `?`"),
        (lambda: JwtProvider(issuer="", jwks="https://j", algorithm="RS256"), "`issuer` must be a text"),
        (lambda: JwtProvider(issuer="https://i", jwks="", algorithm="RS256"), "`jwks` must be a text"),
        (lambda: JwtProvider(issuer="https://i", jwks="j", algorithm="RS256"), "expected an https:// URL"),
        (
            lambda: JwtProvider(issuer="https://i", jwks="file:///etc/passwd", algorithm="RS256"),
            "expected an https:// URL",
        ),
        (lambda: JwtProvider(issuer="https://i", jwks={"keys": object()}, algorithm="RS256"), "not a JSON object"),
        (lambda: JwtProvider(issuer="https://i", jwks="https://j", algorithm="HS256"), "HS256"),  # type: ignore[arg-type]
        (lambda: JwtProvider(issuer="https://i", jwks="https://j", algorithm="none"), "write one of 'RS256', 'ES256'"),  # type: ignore[arg-type]
        (lambda: provider_of("https://i"), "a provider is like OidcProvider"),
        (lambda: provider_of({"domain": "https://i"}), "lacks applicationID"),
        (lambda: provider_of({"domain": "https://i", "applicationId": "a"}), "did you mean 'applicationID'?"),
        (lambda: provider_of({"type": "saml", "issuer": "x"}), "the type 'saml'"),
        (lambda: provider_of({"type": "customJwt", "issuer": "x"}), "lacks algorithm, jwks"),
    ],
)
def test_what_cannot_work_says_what_to_write(make: Any, text: str) -> None:
    with pytest.raises(SchemaError) as refused:
        make()
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("url", "loopback", "fine"),
    [
        ("https://anywhere.example/jwks", False, True),
        ("http://127.0.0.1:99/jwks", True, True),
        ("http://localhost/jwks", True, True),
        ("http://app.localhost:3/jwks", True, True),
        ("http://[::1]:3/jwks", True, True),
        ("http://127.0.0.1/jwks", False, False),
        ("http://issuer.example/jwks", True, False),
        ("http://10.0.0.1/jwks", True, False),
        ("http://169.254.169.254/latest", True, False),
        ("http://localhost.evil.example/jwks", True, False),
        ("http://127.0.0.1@evil.example/jwks", True, False),
        ("file:///etc/passwd", True, False),
    ],
)
def test_plain_http_is_for_this_machine_and_where_it_is_allowed(url: str, loopback: bool, fine: bool) -> None:
    if fine:
        check_url("keys", url, loopback_http=loopback)
    else:
        with pytest.raises(SchemaError):
            check_url("keys", url, loopback_http=loopback)


@pytest.mark.parametrize(
    "url",
    [
        'data:application/json,{"keys":[]}',
        "data:application/json,%7B%22keys%22%3A%5B%5D%7D",
        "data:text/plain;charset=utf-8;base64," + base64.b64encode(b'{"keys":[]}').decode(),
        "data:;base64," + base64.urlsafe_b64encode(b'{"keys":[]}').decode().rstrip("="),
    ],
)
def test_data_urls_are_read(url: str) -> None:
    """client-protocol 36"""
    assert json.loads(data_url_content(url)) == {"keys": []}


@pytest.mark.parametrize("url", ["data:application/json;base64,!!!", "data:nothing"])
def test_broken_data_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"base64|comma"):
        data_url_content(url)


def module(**names: Any) -> dict[str, ModuleType]:
    made = ModuleType("auth_config")
    made.__file__ = "/app/functions/auth_config.py"
    vars(made).update(names)
    return {"authConfig": made}


def test_an_app_without_the_file_has_no_providers() -> None:
    assert read_providers({}) == ()


def test_the_file_lists_providers_of_both_forms() -> None:
    ours = OidcProvider(domain="https://i", application_id="a")
    convex = {"domain": "https://i", "applicationID": "a"}
    assert read_providers(module(providers=[ours, convex])) == (ours, ours)
    assert read_providers(module(providers={"providers": [convex]})) == (ours,)
    assert read_providers(module(providers=())) == ()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({}, "`providers` must be a list, and there is none"),
        ({"providers": "x"}, "`providers` must be a list, and it is 'x'"),
        ({"providers": [{"domain": "https://i"}]}, "lacks applicationID"),
    ],
)
def test_a_bad_file_is_named_with_what_to_write(names: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError) as refused:
        read_providers(module(**names))
    assert str(refused.value).startswith("/app/functions/auth_config.py: ")
    assert text in str(refused.value)
    assert "OidcProvider(domain=" in str(refused.value)
