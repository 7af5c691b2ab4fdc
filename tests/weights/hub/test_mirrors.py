"""Mirrors, proxies, redirects and offline mode."""

import io
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import which
from time import process_time

import pytest
import requests

from detector.errors import SettingError
from weights.errors import FetchError
from weights.hub.catalogue import Entry
from weights.hub.fetch import fetch_entry
from weights.hub.http_download import _check_redirect
from weights.hub.mirrors import is_offline, redact_password


def test_a_mirror_is_tried_first_and_the_next_address_after_an_unreachable_one(
    small_entry: Entry, web_server, unreachable: str, monkeypatch: pytest.MonkeyPatch, body: bytes
):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", f"{unreachable} {web_server.base}/mirror/")
    web_server.pages["/mirror/small.weights"] = web_server.page(body)
    fetch_entry(small_entry)
    assert [request.path for request in web_server.requests] == ["/mirror/small.weights"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://me:secret@host/file", "https://host/file"),
        ("me:secret@host", "host"),
        ("error at https://a@b@host and http://host2", "error at https://host and http://host2"),
        ("('http://me:secret@host')", "host')"),
        ("https://host/file", "https://host/file"),
    ],
)
def test_passwords_are_removed_from_addresses(text, redacted):
    assert redact_password(text) == redacted


def test_passwords_are_removed_from_a_long_address_in_linear_time():
    """A server may redirect to an address of 64 KB."""
    started = process_time()
    redact_password("https://host/" + "a" * 65_000)
    assert process_time() - started < 5


def test_the_usual_environment_variables_configure_a_proxy(small_entry: Entry, web_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", web_server.base)
    fetch_entry(replace(small_entry, addresses=("http://weights.invalid/small.weights",)))
    assert [request.path for request in web_server.requests] == ["http://weights.invalid/small.weights"]


def test_the_password_of_a_mirror_is_sent_but_not_printed(small_entry: Entry, home, web_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base.replace("//", "//me:secret@"))
    error = str(home.assert_refused(replace(small_entry, file="missing.weights", addresses=()), "it answered 404"))
    assert web_server.requests[0].headers["Authorization"].startswith("Basic ")
    assert f"  {web_server.base}/missing.weights: it answered 404" in error
    assert "secret" not in error


def test_a_mirror_that_is_a_path_is_refused(small_entry: Entry, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", "/mnt/mirror")
    with pytest.raises(SettingError, match=r"'/mnt/mirror'.*--from"):
        fetch_entry(small_entry)


def test_in_offline_mode_the_message_tells_what_to_do(small_entry: Entry, home, web_server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    error = str(home.assert_refused(small_entry, "BOXWRIGHT_OFFLINE forbids"))
    assert all(part in error for part in (small_entry.addresses[0], "weights pull small --from small.weights", "BOXWRIGHT_MIRROR"))
    assert web_server.requests == []


def test_in_offline_mode_cached_files_are_used(small_entry: Entry, monkeypatch: pytest.MonkeyPatch, body: bytes):
    fetch_entry(small_entry)
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    assert fetch_entry(small_entry).read_bytes() == body


@pytest.mark.parametrize(
    "mirror",
    [
        "http://me:secret@127.0.0.1:99999",
        "http://me:s/ecret@127.0.0.1",
        "http://me:1/secret@127.0.0.1",
        "ftp://me:secret@x",
        "me:secret@x",
        "http://[",
    ],
)
def test_an_invalid_mirror_address_is_refused_without_printing_its_password(small_entry: Entry, web_server, mirror: str, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", mirror)
    with pytest.raises(SettingError, match="BOXWRIGHT_MIRROR contains") as caught:
        fetch_entry(small_entry)
    assert "ecret" not in str(caught.value)
    assert web_server.requests == []


def test_the_password_of_a_mirror_is_not_stored_and_downloads_resume(small_entry: Entry, home, web_server, page, body, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", web_server.base.replace("//", "//me:secret@"))
    page.cut_after = [150_000, 10]
    home.assert_refused(replace(small_entry, addresses=()), "broke off")
    assert all(b"secret" not in (home.folder / name).read_bytes() for name in home.files())
    assert fetch_entry(small_entry).read_bytes() == body
    assert [request.start > 0 for request in web_server.requests] == [False, True, True]


@pytest.mark.parametrize("host", ["http://a..b", "http://" + "a" * 64 + ".invalid", "http://me:secret@a..b"])
def test_after_an_invalid_host_name_the_next_address_is_tried(small_entry: Entry, web_server, host: str, body: bytes, monkeypatch, caplog):
    caplog.set_level("INFO")
    web_server.pages["/moved"] = web_server.page(b"", status=302, location=f"{host}/small.weights")
    monkeypatch.setenv("BOXWRIGHT_MIRROR", host)
    assert fetch_entry(replace(small_entry, addresses=(f"{web_server.base}/moved", *small_entry.addresses))).read_bytes() == body
    assert [request.path for request in web_server.requests] == ["/moved", "/small.weights"]
    assert caplog.text.count("trying the next") == 2
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), ("", False), ("1", True), ("yes", True)] + [(no, False) for no in ("0", "false", "No", " off ")]
)
def test_usual_spellings_turn_offline_mode_on_and_off(value: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BOXWRIGHT_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("BOXWRIGHT_OFFLINE", value)
    assert is_offline() is expected


@pytest.fixture
def https_server(web_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base address of an https server. This test trusts its certificate."""
    if which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate, *names]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = type(web_server)()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.pages = web_server.pages
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.base.replace("http:", "https:")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_redirect_from_https_to_http_is_not_followed(small_entry: Entry, home, web_server, https_server: str, body: bytes):
    web_server.pages["/moved"] = web_server.page(b"", status=302, location=f"{web_server.base}/small.weights")
    home.assert_refused(replace(small_entry, addresses=(f"{https_server}/moved",)), "it redirects from https to http")
    assert web_server.requests == []
    web_server.pages["/moved"].location = f"{https_server}/small.weights"
    assert fetch_entry(replace(small_entry, addresses=(f"{https_server}/moved",))).read_bytes() == body


def redirect(source: str, target: str) -> requests.Response:
    response = requests.Response()
    response.url, response.status_code, response.raw = source, 302, io.BytesIO()
    response.headers["Location"] = target
    return response


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/latest",
        "https://[::1]/latest",
        "https://localhost/latest",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://[fd00::1]/",
        "https://2130706433/",
        "//10.1.2.3/file",
        "https://127.0.0.1\\@8.8.8.8/",
    ],
)
def test_a_redirect_from_the_internet_to_an_internal_address_is_not_followed(target):
    with pytest.raises(FetchError, match="it redirects from the internet to an address of the internal network"):
        _check_redirect(redirect("https://8.8.8.8/file", target))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("https://8.8.8.8/file", "https://1.1.1.1/file"),
        ("https://8.8.8.8/file", "/elsewhere"),
        ("https://10.0.0.1/file", "https://10.0.0.2/file"),
        ("https://10.0.0.1/file", "https://8.8.8.8/file"),
        ("https://8.8.8.8/file", "https://weights.invalid/file"),
    ],
)
def test_other_redirects_are_followed(source, target):
    _check_redirect(redirect(source, target))
