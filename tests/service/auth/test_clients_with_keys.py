"""How clients send the API key, and that no response or log line repeats one."""

import json

import numpy as np
import pytest
import requests
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from detector.errors import SettingError
from service.auth.api_keys import HashedKey
from service.client.client import ServiceClient
from service.client.errors import RequestRejected
from tests.service.auth.keys import KEY


def test_tritonclient_sends_the_key_as_a_header(protected, make_image_bytes):
    client = InferenceServerClient(f"127.0.0.1:{protected.port}")
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([make_image_bytes()], object))
    assert client.is_server_ready()
    assert client.is_model_ready("tiny-random")
    with pytest.raises(InferenceServerException, match="requires an API key"):
        client.infer("tiny-random", [tensor])
    assert client.infer("tiny-random", [tensor], headers={"Authorization": f"Bearer {KEY}"}).as_numpy("num_detections").size == 1
    client.close()


def test_our_client_sends_the_key_and_reports_a_missing_one(protected, make_image_bytes):
    with ServiceClient(protected.url, api_key=KEY) as client:
        assert client.detect(make_image_bytes()).model == "tiny-random"
    with ServiceClient(protected.url) as client, pytest.raises(RequestRejected, match="requires an API key") as error:
        client.models()
    assert error.value.status == 401


def test_a_password_in_the_address_does_not_replace_the_key(protected):
    with ServiceClient(protected.url.replace("//", "//user:word@"), api_key=KEY) as client:
        assert client.models()


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "clé", "a\r\nX-Other: b"], ids=["line", "space", "accent", "header"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key):
    with pytest.raises(SettingError, match="the API key has") as error:
        ServiceClient("http://localhost", api_key=key)
    assert key.strip() not in str(error.value)


def test_the_log_has_the_name_of_the_key_and_never_the_key(protected, make_image_bytes, lines_since):
    service, start = protected, len(protected.log)
    wrong = KEY[:-4] + "abcd"
    for key in (KEY, wrong):
        requests.post(f"{service.url}/detect?api_key={key}", data=make_image_bytes(), headers={"X-API-Key": key}, timeout=30)
        requests.get(f"{service.url}/models", headers={"Authorization": f"Bearer {key}", "Cookie": key, "Referer": key}, timeout=30)
        requests.post(f"{service.url}/v1/vision/detection", files={"image": b"x"}, data={"api_key": key}, timeout=30)
    access = '"boxwright.access"'
    lines = lines_since(service, start, lambda lines: sum(access in line for line in lines) == 6)
    log = "".join(lines)
    assert KEY[:20] not in log
    assert HashedKey.of("x", KEY).digest.hex()[:20] not in log
    keys = [json.loads(line).get("key") for line in lines if access in line]
    assert keys == ["frigate"] * 3 + [None] * 3
