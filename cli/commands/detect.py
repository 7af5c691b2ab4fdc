"""`boxwright detect`: find objects in images."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DeviceOption, EngineOption, InputSizeOption, ModelOption, PrecisionOption

if TYPE_CHECKING:
    from cli.detect.backends import DetectionBackend, DetectionOptions
    from weights.engines.options import EngineOptions

SERVICE, OUTPUT, FILTERS = "Remote service", "Output", "Filters"


def detect_command(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="Image files (JPEG, PNG, GIF, WebP, BMP, TIFF), folders, or quoted patterns. '-' reads one image from standard input.",
            show_default=False,
        ),
    ],
    *,
    model: ModelOption = None,
    engine: EngineOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    input_size: InputSizeOption = None,
    confidence: Annotated[
        str,
        typer.Option(
            metavar="SCORE",
            help="Drop boxes with this score (0 to 1) or a lower one. auto: the score that the model suggests for each class.",
            rich_help_panel=FILTERS,
        ),
    ] = "0.25",
    iou: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Drop a box that overlaps a better box of its class by more than this IoU.", rich_help_panel=FILTERS
        ),
    ] = 0.45,
    classes: Annotated[
        list[str] | None, typer.Option(metavar="LABEL,...", help="Detect only these classes. Can be repeated.", rich_help_panel=FILTERS)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write copies with boxes to DIR/NAME.boxes.jpg. With --ray: write Parquet files.", rich_help_panel=OUTPUT
        ),
    ] = None,
    voc: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write VOC annotations to DIR/NAME.xml, for a labelling tool.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", "--jsonl", help="Print one JSON object per image.", rich_help_panel=OUTPUT)] = False,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Process a large archive with Ray, or continue an interrupted run. The results are Parquet files (--out).",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send the images to a running service instead of loading a model.", rich_help_panel=SERVICE),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="BOXWRIGHT_API_KEY",
            help="Authenticate with this API key. Other users can see command lines: prefer the variable or --api-key-file.",
            rich_help_panel=SERVICE,
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Read the API key from this file.", rich_help_panel=SERVICE),
    ] = None,
) -> None:
    """Detect objects in images.

    Prints one line per detection: label, score, box in pixels. In a pipe, tab-separated: image, label, score, xmin, ymin, xmax, ymax.

    An image that cannot be read is reported, the others are processed, and the exit code is 1.
    """
    from cli.checks import check_output_folder
    from cli.detect.backends import DetectionOptions
    from cli.detect.inputs import expand_image_paths
    from cli.detect.run import DetectionOutputs, detect_images
    from weights.engines.options import EngineOptions

    check_output_folder("--out", out)
    check_output_folder("--voc", voc)
    options = DetectionOptions(_parse_confidence(confidence), iou, classes or [], annotate=out is not None)
    if server is not None:
        _refuse_with_server(engine=engine, device=device, precision=precision, input_size=input_size)
    engine_options = EngineOptions(engine or "auto", device or "auto", precision or "auto", input_size)
    if ray:
        for option, value in (("--server", server), ("--voc", voc), ("--confidence auto", options.confidence is None)):
            if value:
                raise typer.BadParameter("cannot be combined with --ray.", param_hint=option)
        raise typer.Exit(0 if _detect_with_ray(images, out, model, engine_options, options, as_json=as_json) else 1)
    paths, messages = expand_image_paths(images)
    for message in messages:
        typer.secho(message, fg="red", err=True)
    failed = 0
    if paths:
        key = _read_key(api_key_file) if api_key_file else api_key
        with _backend(server, key, model, engine_options, options) as backend:
            outputs = DetectionOutputs.create(out, voc, paths, as_json=as_json)
            failed = detect_images(backend, paths, outputs, hide_bar=sys.stdout.isatty())
    if messages or failed:
        raise typer.Exit(1)


def _parse_confidence(text: str) -> float | None:
    """Return the number in the option --confidence, or None for "auto"."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"must be a number from 0 to 1, or auto; got {text[:40]!r}.", param_hint="--confidence")
    return value


def _detect_with_ray(
    images: list[Path], out: Path | None, model: str | None, engine: "EngineOptions", options: "DetectionOptions", *, as_json: bool
) -> bool:
    """Return whether every image was processed."""
    if out is None:
        raise typer.BadParameter("needs a folder for the results: --out detections.parquet.", param_hint="--ray")
    from cli.extras import require_packages
    from service.ray.environment import configure_ray_environment

    require_packages("boxwright detect --ray", "ray", "pyarrow")
    configure_ray_environment(serving=False)
    from cli.batch.command import detect_batch

    return detect_batch(images, out, model, engine, options, as_json=as_json)


def _read_key(file: Path) -> str:
    """Return the API key in a file. Raises SettingError if it is not text."""
    from detector.errors import SettingError
    from detector.text_encoding import decode_text

    try:
        return decode_text(file.read_bytes()).strip()
    except UnicodeDecodeError as error:
        raise SettingError(f"{file} is not a text file. It must contain the API key and nothing else.") from error


def _refuse_with_server(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                "cannot be combined with --server: the service has its own engine.", param_hint=f"--{name.replace('_', '-')}"
            )


@contextmanager
def _backend(
    server: str | None, api_key: str | None, model: str | None, engine: "EngineOptions", options: "DetectionOptions"
) -> Iterator["DetectionBackend"]:
    """Load a model, or connect to a service for the duration of the block."""
    from cli.detect.backends import LocalBackend, ServerBackend

    if server is None:
        from cli.extras import start_engine_library

        start_engine_library(engine.engine)
        backend = LocalBackend.load(model, engine, options)
        try:
            yield backend
        finally:
            backend.engine_writer.join()
        return
    from detector.errors import SettingError
    from service.client.client import ServiceClient
    from service.client.errors import RequestRejected

    try:
        with ServiceClient(server, api_key=api_key) as client:
            yield ServerBackend.connect(client, model, options)
    except RequestRejected as error:
        if error.status != 401:
            raise
        problem = "does not accept this API key" if api_key else "requires an API key"
        raise SettingError(f"{server} {problem}. Set BOXWRIGHT_API_KEY, or give --api-key-file FILE or --api-key KEY.") from error
