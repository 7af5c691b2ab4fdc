"""Markdown tables of README.md and the documents, made from the benchmark results."""

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from benchmarks.contenders.adapters import ADAPTERS, counterpart, precision_of
from benchmarks.contenders.subjects import NETWORKS
from benchmarks.report.fleet import fleet
from benchmarks.report.results import BenchmarkResults, Line
from detector.engines.support import Precision

OURS = ("boxwright", "boxwright int8")
RIVALS = ("onnxruntime", "openvino", "tensorflow", "opencv", "tensornets")
Promise = tuple[str, str, bool]
"""(promise, measured value, whether it is kept)."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def short(results: BenchmarkResults) -> Iterator[str]:
    """Yield the table of the README: latency of one image with two threads."""
    cells = [line for network in NETWORKS if (line := results.latency(network, 2, 1))]
    if not cells:
        return
    rows = [[f"`{line['network']}`, {line['input']} px", *_contenders(results, line)] for line in cells]
    yield from _table(("one image, 2 threads, ms", *OURS, *RIVALS), rows)
    yield from results.footnote("make bench")


def latency(results: BenchmarkResults) -> Iterator[str]:
    """Yield the latency per image for every network, batch size and number of threads."""
    cells = sorted(results.of("latency"), key=lambda line: (NETWORKS.index(line["network"]), -line["threads"], line["batch"]))
    if not cells:
        return
    rows = [
        [f"`{line['network']}`", str(line["threads"]), str(line["batch"]), *_contenders(results, line), _of_product(line)] for line in cells
    ]
    yield from _table(("network", "threads", "batch", *OURS, *RIVALS, "of the matrix product's rate"), rows)
    yield from results.footnote("make bench")


def rivals(results: BenchmarkResults) -> Iterator[str]:
    """Yield the time of every library for one image on two threads, by precision, with the AP50 of `everyday`."""
    cells = [line for network in NETWORKS if (line := results.latency(network, 2, 1))]
    if not cells:
        return
    accuracy = {name: row["ap50"] for line in results.of("accuracy") for name, row in line["contenders"].items()}
    names = [name for name in ADAPTERS if any(name in line["contenders"] for line in cells)]
    rows = []
    for name in sorted(names, key=lambda name: (get_args(Precision).index(precision_of(name)), names.index(name))):
        times = []
        for line in cells:
            row = line["contenders"].get(name)
            ratio = "" if row is None or name == counterpart(name) else f" ({row[results.ratio]:.2f})"
            times.append("-" if row is None else f"{row[results.ms]:.3g}{ratio}")
        ap50 = accuracy.get(name)
        library = name.removesuffix(f" {precision_of(name)}")
        rows.append([precision_of(name), library, *times, "-" if ap50 is None else f"{100 * ap50:.1f}"])
    yield from _table(("precision", "library", *(f"`{line['network']}`, ms" for line in cells), "AP50 of `everyday`"), rows)
    yield from results.footnote("make bench")


def _contenders(results: BenchmarkResults, line: Line) -> Iterator[str]:
    """Yield the milliseconds per image of each contender. For rivals, the ratio of our time to theirs follows in brackets."""
    for name in (*OURS, *RIVALS):
        row = line["contenders"].get(name)
        if row is None:
            yield "-"
            continue
        ms = f"{row[results.ms] / line['batch']:.3g}"
        yield ms if name in OURS else f"{ms} ({row[results.ratio]:.2f})"


def _of_product(line: Line) -> str:
    return f"{line['contenders']['boxwright'].get('of_matrix_product', 0):.0%}"


def promises(results: BenchmarkResults) -> Iterator[str]:
    """Yield each promise with the measured value and whether it is kept."""
    rows = [*_ratios(results), *_service(results), *_starts(results), *_decoding(results)]
    if rows:
        yield from _table(("promised", "measured", ""), [(what, got, "kept" if kept else "**not kept**") for what, got, kept in rows])


def _ratios(results: BenchmarkResults) -> Iterator[Promise]:
    for line in (line for network in NETWORKS if (line := results.latency(network, 2, 1))):
        for precision in ("float32", "int8"):
            rows = {name: row for name, row in line["contenders"].items() if name in ADAPTERS and precision_of(name) == precision}
            best = max((name for name in rows if name != counterpart(name)), key=lambda name: rows[name][results.ratio], default=None)
            if best is not None:
                ratio, library = rows[best][results.ratio], best.removesuffix(f" {precision}")
                promise = f"`{line['network']}` in {precision}, one image, 2 threads: at most the time of the best rival"
                yield promise, f"{ratio:.2f} of {library}'s", round(ratio, 2) <= 1


def _service(results: BenchmarkResults) -> Iterator[Promise]:
    for line in results.of("throughput"):
        added, share = line["added_ms_p50"], line["share_of_processor_time"]
        yield f"`POST /detect`, 500x375, `{line['model']}`: p50 at most network time + 3.5 ms", f"+ {added:.1f} ms", added <= 3.5
        busy = f"{line['clients']} clients at once, `{line['model']}`: service and clients use at least 92% of all processor time"
        yield busy, f"{share:.0%}, {line['images_per_second']:.1f} images/s", share >= 0.92


def _starts(results: BenchmarkResults) -> Iterator[Promise]:
    for line in results.of("startup"):
        for kind, limit in (("cold", 1.2), ("cached", 0.9)) if line["model"] != "yolov2-voc" else (("cold", 3.0), ("cached", 1.5)):
            seconds = line[kind]["cpu_seconds_median" if results.busy else "seconds_median"]
            yield f"start to ready, `{line['model']}`, {kind}: at most {limit:.1f} s", f"{seconds:.2f} s", seconds <= limit
        if line["model"] == "everyday":
            resident = max(line[kind]["resident_mib_median"] for kind in ("cold", "cached")) * 1.048576
            yield "the shipped model, ready: at most 200 MB resident", f"{resident:.0f} MB", resident <= 200


def _decoding(results: BenchmarkResults) -> Iterator[Promise]:
    for line in results.of("preprocess"):
        if line["image"] == "4000x3000":
            ms = line["contenders"]["boxwright reader"][results.ms]
            yield "a JPEG of 12 megapixels: under 60 ms before the network", f"{ms:.1f} ms", ms < 60


def startup(results: BenchmarkResults) -> Iterator[str]:
    """Yield the start-up times and the memory when ready."""
    rows = [
        [
            f"`{line['model']}`",
            kind,
            *(f"{line[kind][field]:.2f}" for field in ("seconds_median", "cpu_seconds_median")),
            f"{line[kind]['resident_mib_median']:.0f}",
        ]
        for line in results.of("startup")
        for kind in ("cold", "cached")
    ]
    if rows:
        yield from _table(("model", "engine", "seconds to ready", "processor seconds", "MiB resident"), rows)


def memory(results: BenchmarkResults) -> Iterator[str]:
    """Yield the resident memory after one image and its peak, in MiB."""
    rows = []
    for line in results.of("memory"):
        contenders = line["contenders"]
        cells = [_mib(contenders[name]) if name in contenders else "-" for name in (*OURS, *RIVALS)]
        rows.append([f"`{line['network']}`", *cells])
    if rows:
        yield from _table(("MiB after an image / at most", *OURS, *RIVALS), rows)


def _mib(row: dict[str, float]) -> str:
    return f"{row['resident_mib']:.0f} / {row['peak_mib']:.0f}"


def preprocess(results: BenchmarkResults) -> Iterator[str]:
    """Yield the milliseconds from a JPEG to the network's input."""
    lines = results.of("preprocess")
    if lines:
        names = list(lines[0]["contenders"])
        rows = [[line["image"], *(f"{line['contenders'][name][results.ms]:.1f}" for name in names)] for line in lines]
        yield from _table(("JPEG, ms", *(name.removesuffix(" reader") for name in names)), rows)


def stages(results: BenchmarkResults) -> Iterator[str]:
    """Yield the time of each stage of a request."""
    lines = results.of("throughput")
    if lines:
        names = list(lines[0]["stages_ms_p50"])
        rows = []
        for line in lines:
            whole = sum(line["stages_ms_p50"].values())
            rows.append([f"`{line['model']}`", *(f"{ms:.2f} ({ms / whole:.0%})" for ms in line["stages_ms_p50"].values())])
        yield from _table(("ms of one request", *names), rows)


def options(results: BenchmarkResults) -> Iterator[str]:
    """Yield the effect of onnxruntime's options."""
    lines = results.of("options")
    if lines:
        names = list(lines[0]["variants"])
        cells = (("ms_median", "ms"), ("cpu_ms_median", "processor ms"))
        rows = [
            [f"`{line['network']}`", unit, *(f"{line['variants'][name][field]:.1f}" for name in names)]
            for line in lines
            for field, unit in cells
        ]
        yield from _table(("one image", "", *names), rows)


def roofline(network: str) -> Callable[[BenchmarkResults], Iterator[str]]:
    """Return a table function for the network's layers that take at least 1% of the time."""

    def table(results: BenchmarkResults) -> Iterator[str]:
        for line in results.of("roofline"):
            if line["network"] == network:
                yield from _roofline(line)

    return table


def _roofline(line: Line) -> Iterator[str]:
    slow = [row for row in line["layers"] if row["share"] >= 0.01 and "output" in row]
    fast = [row for row in line["layers"] if row not in slow]
    rows = [
        [
            row["layer"],
            row["kind"],
            row["output"],
            f"{row['gflop']:.3g}",
            f"{row['mb']:.3g}",
            f"{row['ms']:.2f}",
            f"{row['share']:.1%}",
            f"{row['gflops']:.0f}" if row["gflop"] else "-",
            f"{row['of_roof']:.0%}",
        ]
        for row in slow
    ]
    rest = [
        f"{len(fast)} more",
        "",
        "",
        "",
        "",
        f"{sum(row['ms'] for row in fast):.2f}",
        f"{sum(row['share'] for row in fast):.1%}",
        "",
        "",
    ]
    yield from _table(("layer", "kind", "output", "GFLOP", "MB", "ms", "share", "GFLOP/s", "of its roof"), [*rows, rest])
    yield ""
    yield (
        f"{line['threads']} threads, minimum of {line['rounds']} rounds. The roof: {line['peak_gflops']:.0f} GFLOP/s (matrix product), "
        f"{line['copy_gb_per_second']:.0f} GB/s (copying)."
    )


TABLES: dict[str, Callable[[BenchmarkResults], Iterator[str]]] = {
    "short": short,
    "rivals": rivals,
    "promises": promises,
    "latency": latency,
    "startup": startup,
    "memory": memory,
    "preprocess": preprocess,
    "stages": stages,
    "options": options,
    "fleet": fleet,
    "roofline-yolov2-voc": roofline("yolov2-voc"),
    "roofline-everyday": roofline("everyday"),
}
