"""GET /metrics."""

import pytest


def test_metrics_are_openmetrics_if_that_is_preferred(send_request, tiny_app):
    response = send_request(tiny_app, "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize("version", ["x", "1..0", "", "99.99", "1.0.0é", "-1", "2!1.0"])
@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
def test_an_invalid_version_in_the_accept_header_is_not_an_error(send_request, tiny_app, media_type, version):
    response = send_request(tiny_app, "GET", "/metrics", headers={"Accept": f"{media_type}; version={version}".encode()})
    assert response.status_code == 200
    assert "boxwright_queue_length" in response.text
