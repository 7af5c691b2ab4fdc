"""Checks of arguments, before slow work starts."""

import errno
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.errors import AddressInUse
from cli.output.terminal import print_error
from detector.errors import SettingError, UnknownLabel
from detector.imaging.suffixes import IMAGE_SUFFIXES
from detector.messages import did_you_mean, join_names

if TYPE_CHECKING:
    from training.data.voc_reader import Sample


def check_model_path(out: Path) -> None:
    """Check that a file to write has the suffix of a model file. Raises typer.BadParameter."""
    from weights.hub.resolve import MODEL_SUFFIX

    if out.suffix != MODEL_SUFFIX:
        raise typer.BadParameter(f"{out} is not the name of a model file. Give a name that ends in {MODEL_SUFFIX}.", param_hint="--out")


def match_labels(requested: Iterable[str], labels: Collection[str], owner: str) -> list[str]:
    """Find labels by name, ignoring case. An argument may name several labels, separated by commas.

    Args:
        requested: Labels as the user wrote them.
        labels: The valid labels.
        owner: The model or data set that has the labels; the subject of the error message.

    Returns:
        Valid labels, in the order of `requested`.

    Raises:
        UnknownLabel: A label is not among `labels`.
    """
    by_lower_case = {label.lower(): label for label in labels}
    names = [name for argument in requested for name in ([argument] if argument in labels else argument.split(","))]
    matched = []
    for name in filter(None, (name.strip() for name in names)):
        label = name if name in labels else by_lower_case.get(name.lower())
        if label is None:
            hint = did_you_mean(name, labels)
            raise UnknownLabel(f"{owner} has no class {name[:80]!r}.{hint} Its classes are {join_names(labels)}.")
        matched.append(label)
    return matched


def check_common_labels(samples: "Sequence[Sample]", labels: Sequence[str], model: str) -> None:
    """Check that the model knows at least one label of the samples. Raises DatasetError with both lists."""
    from training.errors import DatasetError

    annotated = sorted({label for sample in samples for label in sample.labels})
    if annotated and not set(annotated) & set(labels):
        raise DatasetError(
            f"the model and the data set have no label in common. {model} knows {join_names(labels)}. "
            f"The data set has {join_names(annotated)}. With --model, give a model that was trained on these labels."
        )


def warn_of_unread_annotations(dataset: Path) -> None:
    """Print a warning if the data set has annotations that no command reads, because they are outside of its annotation folder."""
    from training.data.unread_annotations import describe_unread, unread_annotations

    if unread := unread_annotations(dataset):
        print_error(f"{dataset}: {describe_unread(dataset, unread)}", warning=True)


def check_output_folder(option: str, folder: Path | None) -> None:
    """Refuse the name of an image file where a folder is expected. Raises SettingError."""
    if folder is not None and folder.suffix.lower() in IMAGE_SUFFIXES and not folder.is_dir():
        raise SettingError(f"{option} takes a folder, and {folder} looks like an image file. Give a folder, such as {folder.stem}.")


def check_address(host: str, port: int) -> None:
    """Check that a server can listen on the address. Port 0 stands for any free port. Raises AddressInUse."""
    if not port:
        return
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUse(f"{address} is in use by another program. Choose another port with --port (make: PORT=).") from error
            raise AddressInUse(f"the service cannot listen on {address}: {error.strerror}. Check --host and --port.") from error
