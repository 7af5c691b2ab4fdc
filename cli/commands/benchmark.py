"""`boxwright benchmark`: compare engines, precisions, input sizes and numbers of threads on this machine."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from cli.options import DeviceChoice, DeviceOption, EngineChoice, JsonOption, PrecisionName

if TYPE_CHECKING:
    from weights.engines.race import Job, JobResult

COLUMNS = ("engine", "precision", "input size", "threads", "latency ms", "images/s", "MiB", "start s")


def benchmark_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, or a .safetensors file.")] = "everyday",
    *,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="|".join(get_args(EngineChoice)),
            help="Compare this engine. Can be repeated. [dim]\\[default: the installed ones][/dim]",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="|".join(get_args(PrecisionName)),
            help="Compare this precision. Can be repeated. [dim]\\[default: all that the model has][/dim]",
        ),
    ] = None,
    input_size: Annotated[
        list[int] | None,
        typer.Option(
            "--input-size", metavar="PIXELS", min=1, help="Compare this size. Can be repeated. [dim]\\[default: the model's][/dim]"
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Compare this number of threads. Can be repeated. [dim]\\[default: all cores][/dim]"),
    ] = None,
    device: DeviceOption = None,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Measure latency, and then images/s, for about S seconds per line.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Measure which engine, precision and input size is fastest on this machine.

    Each line of the table runs in its own process. The processes take turns, so that other load affects all of them alike.
    Latency is the median for one image; images/s is for parallel calls; MiB is the memory of the process.

    In a pipe, stdout has tab-separated lines with these columns: engine, precision, input size, threads, latency, images/s, MiB, start.
    """
    import json
    from dataclasses import asdict

    from cli.output.progress import choose_named_engine, progress_bar
    from cli.output.tables import print_table
    from cli.output.terminal import print_error
    from detector.errors import SettingError
    from weights.engines.options import EngineOptions
    from weights.engines.race import race

    _check_choices("--engine", engine or (), get_args(EngineChoice))
    _check_choices("--precision", precision or (), get_args(PrecisionName))
    source = choose_named_engine(model, EngineOptions()).source
    name = source.entry.name if source.entry else str(source.path)
    jobs = list(_jobs(name, engine or (), precision or (), input_size or (), threads or (), device or "auto"))
    if not jobs:
        raise SettingError("no installed engine supports these options. Give other values for --engine, --precision or --device.")
    with progress_bar("measuring"):
        results = race(jobs, seconds=seconds * len(jobs), throughput_seconds=seconds)
    for result in results:
        if result.error is not None:
            print_error(f"{result.job.engine} in {result.job.precision}: {result.error}", warning=True)
    measured = sorted((result for result in results if result.error is None), key=lambda result: result.latency_ms)
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print_table(COLUMNS, [_row(result) for result in measured], numeric=COLUMNS[2:])
    if not measured:
        raise typer.Exit(1)


def _check_choices(option: str, given: Sequence[str], choices: Sequence[str]) -> None:
    """Refuse other values. Typer cannot check an option that may be repeated."""
    for value in given:
        if value not in choices:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(choices)}.", param_hint=option)


def _jobs(
    model: str, engines: Sequence[str], precisions: Sequence[str], sizes: Sequence[int], threads: Sequence[int], device: DeviceChoice
) -> "Iterator[Job]":
    """Yield every combination that the model and the engines support. Raises SettingError for int8 without an 8-bit version."""
    from detector.engines.cores import usable_cores
    from detector.engines.support import installed_engines, unsupported_reason
    from weights.engines.options import EngineKind
    from weights.engines.precision import Versions
    from weights.engines.race import Job
    from weights.hub.resolve import find_model

    versions = Versions.of(find_model(model))
    names = [each for each in engines if each != "auto"] or installed_engines()
    allowed = [each for chosen in precisions for each in versions.allowed(cast(PrecisionName, chosen))] or list(versions.sources)
    for count in dict.fromkeys(threads or (usable_cores(),)):
        for size in sizes or (None,):
            for precision in dict.fromkeys(allowed):
                for name in dict.fromkeys(names):
                    if unsupported_reason(name, precision, device) is None:
                        source = versions.sources[precision]
                        path = source.entry.name if source.entry else str(source.path)
                        yield Job(path, cast(EngineKind, name), precision, size, device, count)


def _row(result: "JobResult") -> tuple[str, ...]:
    job = result.job
    facts = (job.engine, job.precision, str(result.input_size), str(job.threads))
    return (
        *facts,
        f"{result.latency_ms:.2f}",
        f"{result.images_per_second:.1f}",
        f"{result.memory_mib:.0f}",
        f"{result.start_seconds:.2f}",
    )
