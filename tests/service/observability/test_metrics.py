"""The Prometheus metrics."""


def test_metrics_count_requests_stages_and_detections(make_recording_app, send_request, make_image_bytes):
    app = make_recording_app()
    detections_in_response = send_request(app, "POST", "/detect", content=make_image_bytes(), params={"confidence": 0.01}).json()[
        "detections"
    ]
    send_request(app, "POST", "/detect", content=b"no image")
    send_request(app, "GET", "/some/other/path")
    send_request(app, "GET", "/yet/another")
    text = send_request(app, "GET", "/metrics").text
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
    assert sum(detections.values()) == len(detections_in_response)
    assert {key.partition('label="')[2].partition('"')[0] for key in detections} == {each["label"] for each in detections_in_response}
