"""What `boxwright data` found, for people and for programs. Names are `Text`: one in brackets is not to be read as a style."""

from collections import defaultdict

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from training.datasets.check import DatasetCheck
from training.datasets.findings import FINDING_KINDS, Finding
from training.datasets.split import Split

MAX_EXAMPLES = 3
STYLES = {"error": "red", "warning": "yellow"}


def as_facts(check: DatasetCheck) -> dict[str, object]:
    """For --json: everything that was found."""
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
    """Three tables: what is there by class and set, and what is wrong, the worst first."""
    console = Console()
    console.print(_contents(check))
    if check.findings:
        console.print(_findings(check))
    console.print(f"{_count(check.errors, 'error')}, {_count(check.warnings, 'warning')}.", highlight=False)


def _contents(check: DatasetCheck) -> Table:
    counts = {image_set: check.boxes_by_label(image_set) for image_set in check.sets}
    every = sorted({label for each in counts.values() for label in each})
    table = Table(Column("class", overflow="fold"), *(Column(Text(image_set), justify="right") for image_set in counts))
    for label in every:
        table.add_row(Text(label), *(f"{each[label]:,}" for each in counts.values()))
    table.add_section()
    table.add_row("boxes", *(f"{each.total():,}" for each in counts.values()))
    table.add_row("photos", *(f"{len(check.samples(image_set)):,}" for image_set in counts))
    return table


def _findings(check: DatasetCheck) -> Table:
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in check.findings:
        by_kind[finding.kind].append(finding)
    table = Table("", "finding", Column("count", justify="right"), Column("for instance", overflow="fold"))
    for kind, (severity, title) in FINDING_KINDS.items():
        if found := by_kind.get(kind):
            examples = "\n".join(f"{each.where}: {each.detail}" for each in found[:MAX_EXAMPLES])
            more = f"\nand {len(found) - MAX_EXAMPLES} more" if len(found) > MAX_EXAMPLES else ""
            total = sum(each.count for each in found)
            table.add_row(Text(severity, style=STYLES[severity]), title, f"{total:,}", Text(examples + more))
    return table


def print_split(parts: Split) -> None:
    """Boxes of each class on either side, and the share that val has."""
    table = Table(Column("class", overflow="fold"), *(Column(name, justify="right") for name in ("train", "val", "val's share")))
    for label, count in sorted(parts.boxes.items()):
        val = parts.val_boxes[label]
        table.add_row(Text(label), f"{count - val:,}", f"{val:,}", f"{val / count:.1%}")
    table.add_section()
    share = len(parts.val) / (len(parts.train) + len(parts.val))
    table.add_row("photos", f"{len(parts.train):,}", f"{len(parts.val):,}", f"{share:.1%}")
    Console().print(table)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
