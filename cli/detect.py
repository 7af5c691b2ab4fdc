"""`boxwright detect`: what is in these photos?"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import EngineOption, ModelOption

if TYPE_CHECKING:
    from cli.finder import Finder, Found


def detect(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="Photos: JPEG, PNG, GIF, WebP, BMP or TIFF.", show_default=False)
    ],
    *,
    model: ModelOption = None,
    engine: EngineOption = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="Leave out boxes that score no more than this.")] = 0.25,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Of two boxes of one class that overlap more the better one stays.")] = 0.45,
    classes: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this label; repeat for several.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write annotated copies there, as NAME.boxes.jpg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each photo, and nothing else.")] = False,
) -> None:
    """Find things in photos.

    A photo that cannot be read is reported, and the others go on; the exit code is then 1.
    """
    from cli.copies import Copies
    from cli.finder import Finder
    from cli.table import FoundTable

    finder = Finder.load(model, engine or "auto", confidence=confidence, iou=iou, classes=classes or [])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    copies = Copies(out, photos) if out is not None else None
    table, read = FoundTable(), 0
    for found in _find(finder, photos, hide_bar=as_json and sys.stdout.isatty()):
        copy = {}
        if copies is not None:
            try:
                copy = {"annotated": str(copies.write(found.photo, found.drawn()))}
            except OSError as error:
                typer.secho(f"{error.filename}: the annotated copy cannot be written: {error.strerror}.", fg="red", err=True)
                continue
        read += 1
        if as_json:
            typer.echo(json.dumps(found.as_json(finder.name) | copy))
        else:
            table.add(found)
    table.print()
    if read < len(photos):
        raise typer.Exit(1)


def _find(finder: "Finder", photos: Sequence[Path], *, hide_bar: bool) -> Iterator["Found"]:
    """Photo by photo; one that cannot be read is told of on stderr and left out. Many show a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from detector.errors import ImageError

    console = Console(stderr=True)
    disable = hide_bar or len(photos) < 2 or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable, redirect_stdout=False) as progress:
        for photo in progress.track(photos, description="detecting"):
            try:
                found = finder.find(photo)
            except (OSError, ImageError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                console.print(Text(f"{photo}: {reason}", style="red"), soft_wrap=True)
            else:
                yield found
