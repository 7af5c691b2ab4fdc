"""`boxwright detect`: what is in these photos?"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Engine, EngineOption, ModelOption

if TYPE_CHECKING:
    from cli.detect.found import Finds, Wanted
    from service.client.client import Client


def detect(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO...",
            help="Photos (JPEG, PNG, GIF, WebP, BMP or TIFF), folders of them, patterns in quotes; - reads one from standard input.",
            show_default=False,
        ),
    ],
    *,
    model: ModelOption = None,
    engine: EngineOption = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask a running service, with its model of that name, instead of computing here.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", envvar="BOXWRIGHT_API_KEY", help="The service's key, where it wants one.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="Leave out boxes that score no more than this.")] = 0.25,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Of two boxes of one class that overlap more the better one stays.")] = 0.45,
    classes: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this label; repeat for several.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write annotated copies there, as NAME.boxes.jpg; with --ray, the answers.")
    ] = None,
    voc: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write VOC annotations there, as NAME.xml, to correct in a labelling tool.")
    ] = None,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="For archives: on all cores or a cluster, into Parquet files (--out); interrupted, it goes on."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", "--jsonl", help="Print JSON, one line for each photo, and nothing else.")] = False,
) -> None:
    """Find things in photos.

    A photo that cannot be read is reported, and the others go on; the exit code is then 1.
    """
    from cli.detect.found import Wanted
    from cli.detect.photo_paths import photo_paths
    from cli.detect.run import Outputs, run

    if ray:
        for option, given in (("--server", server), ("--voc", voc)):
            if given:
                raise typer.BadParameter("it cannot go with --ray.", param_hint=option)
        wanted = Wanted(confidence, iou, classes or [], annotate=False)
        raise typer.Exit(0 if _archive(photos, out, model, engine or "auto", wanted=wanted, as_json=as_json) else 1)
    with _finder(_service(server, api_key), model, engine, Wanted(confidence, iou, classes or [], annotate=out is not None)) as finder:
        paths, missing = photo_paths(photos)
        for sentence in missing:
            typer.secho(sentence, fg="red", err=True)
        outputs = Outputs.into(out, voc, paths, as_json=as_json)
        failed = run(finder, paths, outputs, hide_bar=as_json and sys.stdout.isatty())
    if failed or missing:
        raise typer.Exit(1)


def _archive(photos: list[Path], out: Path | None, model: str | None, engine: Engine, *, wanted: "Wanted", as_json: bool) -> bool:
    if out is None:
        raise typer.BadParameter("it wants a folder for the answers: --out detections.parquet.", param_hint="--ray")
    from cli.batch.ray_extra import check_ray
    from service.ray.environment import configure_ray_environment

    check_ray()
    configure_ray_environment(serving=False)
    from cli.batch.command import detect_archive

    return detect_archive(photos, out, model, engine, wanted=wanted, as_json=as_json)


def _service(url: str | None, api_key: str | None) -> "Client | None":
    if url is None:
        return None
    from service.client.client import Client

    return Client(url, api_key=api_key)


@contextmanager
def _finder(service: "Client | None", model: str | None, engine: Engine | None, wanted: "Wanted") -> Iterator["Finds"]:
    """The model of that name, loaded here; or a service's, connected for as long as the block lasts."""
    if service is None:
        from cli.detect.backends import Finder

        yield Finder.load(model, engine or "auto", wanted)
        return
    if engine is not None:
        raise typer.BadParameter("a service has the engine that it was started with; leave this out with --server.", param_hint="--engine")
    from cli.detect.remote_finder import RemoteFinder

    with service as client:
        yield RemoteFinder.connect(client, model, wanted)
