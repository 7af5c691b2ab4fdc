"""Host and origin checks against DNS rebinding and cross-origin requests."""

from functools import cache

import pytest

from detector.errors import SettingError
from service.app import create_app
from service.models.registry import Registry
from service.settings import Settings, read_settings


@cache
def app_with(settings_json):
    return create_app(Registry(), Settings.model_validate_json(settings_json))


def status(send_request, settings, method="GET", path="/models", **headers):
    return send_request(app_with(settings.model_dump_json()), method, path, headers=headers).status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("boxwright.localhost:1", 200),
        ("127.0.0.1:8000", 200),
        ("192.168.1.7", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("rebind.evil.example", 403),
        ("rebind.evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8000@localhost", 403),
        ("[evil]", 403),
    ],
)
@pytest.mark.parametrize("listen", ["127.0.0.1", "::1", "localhost"])
def test_a_service_on_a_loopback_address_accepts_only_local_names_and_addresses(send_request, listen, host, expected):
    assert status(send_request, Settings(host=listen), host=host) == expected


def test_a_service_on_other_addresses_accepts_every_name_by_default(send_request):
    assert status(send_request, Settings(host="0.0.0.0"), host="boxwright.example") == 200


def test_configured_hosts_are_accepted_and_others_refused(send_request):
    settings = Settings(host="0.0.0.0", allowed_hosts="boxwright.example, other")
    hosts = ("boxwright.example", "boxwright.example:443", "OTHER", "10.0.0.1", "third", "x.other")
    assert [status(send_request, settings, host=host) for host in hosts] == [200, 200, 200, 200, 403, 403]


def test_a_star_accepts_every_host(send_request):
    assert status(send_request, Settings(allowed_hosts="*"), host="any.example") == 200


@pytest.mark.parametrize("path", ["/v1/vision/detection", "/v2/models/m/infer", "/v1/models/m:predict", "/detect"])
def test_a_foreign_host_is_refused_by_every_protocol_before_the_key_is_checked(send_request, path):
    app = create_app(Registry(), Settings(key_hashes="a:" + "0" * 64))
    response = send_request(app, "POST", path, headers={"host": "evil.example"})
    assert response.status_code == 403
    assert "evil.example" in response.text


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "http://localhost@evil.example"}, False),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
    ids=str,
)
def test_posts_from_pages_of_other_origins_are_refused(send_request, tiny_app, make_image_bytes, headers, allowed):
    assert send_request(tiny_app, "POST", "/detect", content=make_image_bytes(), headers=headers).status_code == (200 if allowed else 403)
    assert send_request(tiny_app, "GET", "/models", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["http://a", "a:80", "A", "", "a b", "*.example"])
def test_an_invalid_host_is_refused(host):
    with pytest.raises(SettingError, match="BOXWRIGHT_ALLOWED_HOSTS"):
        read_settings(allowed_hosts=[host])


@pytest.mark.parametrize("path", ["/models/", "/web", "/docs/", "/livez/"])
def test_no_redirect_repeats_the_host_of_the_client(send_request, path):
    response = send_request(
        create_app(Registry(), Settings(allowed_hosts="*")), "GET", path, headers={"host": "evil.example"}, follow_redirects=False
    )
    assert response.status_code == (404 if path == "/web" else 200)
    assert "location" not in response.headers
