"""Extrapolate the throughput of one machine to a fleet: the table of docs/scale.md, from the results of `benchmarks.service.throughput`."""

from collections.abc import Iterator

from benchmarks.report.results import BenchmarkResults, Line

PRICE = 0.04
"""USD per core hour: about the on-demand price of public clouds. The cost is proportional to it."""
MILLION = 1_000_000


def fleet(results: BenchmarkResults) -> Iterator[str]:
    """Yield a table row per model: images per second and core, cost of a million images, cores for a given rate."""
    lines = results.of("throughput")
    if not lines:
        return
    yield "| model | images/s per core | core hours per million images | USD per million images | cores for 100 images/s | for 1,000 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for line in lines:
        rate = per_core(line)
        hours = MILLION / rate / 3600
        cells = (f"{rate:.1f}", f"{hours:.1f}", f"{hours * PRICE:.2f}", f"{100 / rate:.1f}", f"{1000 / rate:.0f}")
        yield f"| `{line['model']}` | {' | '.join(cells)} |"
    yield from results.footnote("make bench")


def per_core(line: Line) -> float:
    """Return the images per second of one core, including HTTP, decoding and the benchmark's client."""
    return float(line["images_per_second"]) / int(line["machine"]["cores"])
