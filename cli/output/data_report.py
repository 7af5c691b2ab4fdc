"""What `boxwright data check` and `boxwright data split` print, for people and as JSON."""

from collections import defaultdict

import typer
from rich.text import Text

from cli.output.tables import print_table
from detector.messages import count_of
from training.datasets.check import DatasetCheck
from training.datasets.findings import FINDING_KINDS, Finding
from training.datasets.split import Split

MAX_EXAMPLES = 3
STYLES = {"error": "red", "warning": "yellow"}


def check_facts(check: DatasetCheck) -> dict[str, object]:
    """Return every finding and the counts of each image set, for JSON."""
    sets = {
        image_set: {
            "photos": len(check.samples(image_set)),
            "boxes": check.boxes_by_label(image_set).total(),
            "classes": dict(sorted(check.boxes_by_label(image_set).items())),
        }
        for image_set in check.sets
    }
    findings = [
        {"kind": each.kind, "severity": each.severity, "where": each.where, "count": each.count, "detail": each.detail}
        for each in check.findings
    ]
    return {"folder": str(check.folder), "sets": sets, "errors": check.errors, "warnings": check.warnings, "findings": findings}


def print_check(check: DatasetCheck) -> None:
    """Print the boxes by class and image set, the findings, and their number."""
    _print_contents(check)
    if check.findings:
        typer.echo()
        _print_findings(check)
    typer.echo(f"{count_of(check.errors, 'error')}, {count_of(check.warnings, 'warning')}.")


def _print_contents(check: DatasetCheck) -> None:
    counts = {image_set: check.boxes_by_label(image_set) for image_set in check.sets}
    labels = sorted({label for each in counts.values() for label in each})
    footer = [
        ("boxes", *(f"{each.total():,}" for each in counts.values())),
        ("images", *(f"{len(check.samples(image_set)):,}" for image_set in counts)),
    ]
    rows = [(label, *(f"{each[label]:,}" for each in counts.values())) for label in labels]
    print_table(("class", *counts), rows, numeric=tuple(counts), footer=footer)


def _print_findings(check: DatasetCheck) -> None:
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in check.findings:
        by_kind[finding.kind].append(finding)
    rows = []
    for kind, (severity, title) in FINDING_KINDS.items():
        if found := by_kind.get(kind):
            examples = "\n".join(f"{each.where}: {each.detail}" for each in found[:MAX_EXAMPLES])
            more = f"\nand {len(found) - MAX_EXAMPLES} more" if len(found) > MAX_EXAMPLES else ""
            total = sum(each.count for each in found)
            rows.append((Text(severity, style=STYLES[severity]), title, f"{total:,}", examples + more))
    print_table(("severity", "finding", "count", "examples"), rows, numeric=("count",))


def print_split(split: Split) -> None:
    """Print the boxes of each class in train and val, and val's share."""
    rows = []
    for label, count in sorted(split.boxes.items()):
        val = split.val_boxes[label]
        rows.append((label, f"{count - val:,}", f"{val:,}", f"{val / count:.1%}"))
    share = len(split.val) / (len(split.train) + len(split.val))
    footer = [("images", f"{len(split.train):,}", f"{len(split.val):,}", f"{share:.1%}")]
    print_table(("class", "train", "val", "share of val"), rows, numeric=("train", "val", "share of val"), footer=footer)
