"""The Prometheus metrics."""


def test_metrics_count_requests_stages_and_detections(watched_app, ask, make_image_bytes):
    app = watched_app()
    found = ask(app, "POST", "/detect", content=make_image_bytes(), params={"confidence": 0.01}).json()["detections"]
    ask(app, "POST", "/detect", content=b"no image")
    ask(app, "GET", "/some/other/path")
    ask(app, "GET", "/yet/another")
    text = ask(app, "GET", "/metrics").text
    assert 'boxwright_requests_total{method="POST",route="/detect",status="200"} 1.0' in text
    assert 'boxwright_requests_total{method="POST",route="/detect",status="415"} 1.0' in text
    assert 'boxwright_requests_total{method="GET",route="other",status="404"} 2.0' in text
    assert 'boxwright_stage_seconds_count{stage="network"} 1.0' in text
    assert "boxwright_requests_in_flight 1.0" in text  # the request for /metrics
    assert "process_resident_memory_bytes" in text
    detections = {
        line.partition("} ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("boxwright_detections_total")
    }
    assert sum(detections.values()) == len(found)
    assert {key.partition('label="')[2].partition('"')[0] for key in detections} == {each["label"] for each in found}
