"""From photos a second on one machine to a fleet, on paper: a table of docs/scale.md, made of what `benchmarks.throughput` measured."""

from collections.abc import Iterator

from benchmarks.results import Line, Results

PRICE = 0.04
"""USD for an hour of one core: about what clouds ask for without a contract. Another price: multiply."""
MILLION = 1_000_000


def fleet(results: Results) -> Iterator[str]:
    """Per model: photos a second for each core, and what a million photos and a stream of them take."""
    lines = results.of("throughput")
    if not lines:
        return
    yield "| model | photos a second, for each core | core hours for a million | USD for a million | cores for 100 a second | for 1,000 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for line in lines:
        rate = per_core(line)
        hours = MILLION / rate / 3600
        cells = (f"{rate:.1f}", f"{hours:.1f}", f"{hours * PRICE:.2f}", f"{100 / rate:.1f}", f"{1000 / rate:.0f}")
        yield f"| `{line['model']}` | {' | '.join(cells)} |"
    yield from results.how("make bench")


def per_core(line: Line) -> float:
    """Photos a second that one core answers, HTTP, decoding and the client of the benchmark included."""
    return float(line["photos_per_second"]) / int(line["machine"]["cores"])
