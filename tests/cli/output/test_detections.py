"""Detections in a pipe: one line each, whatever the names contain."""

from pathlib import Path

from cli.detect.backends import DetectionResult
from cli.output.detections import DetectionPrinter
from service.schemas.detections import Box, Detection


def test_line_breaks_and_control_characters_in_names_are_escaped(capsys):
    found = Detection(label="cat\ndog", score=0.5, box=Box(xmin=1, ymin=2, xmax=3, ymax=4))
    DetectionPrinter().print(DetectionResult(Path("a\nb\t\x1b[31m.jpg"), "model", 10, 10, [found]))
    assert capsys.readouterr().out == "a\\nb\\t\\x1b[31m.jpg\tcat\\ndog\t0.500\t1.0\t2.0\t3.0\t4.0\n"
