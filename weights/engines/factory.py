"""All engines by name: those of `detector.engines`, and tensornets' original graph, of which `detector` knows nothing."""

from typing import Literal, get_args

from detector import engines
from detector.engines import Engine
from detector.errors import SettingError
from detector.spec import Model

EngineName = Literal["auto", "onnxruntime", "tensorflow", "tensornets"]


def load_engine(model: Model, name: EngineName = "auto", *, threads: int | None = None, lanes: bool = False) -> Engine:
    """The engine of that name, holding that model; "auto" is onnxruntime.

    threads, lanes: as in `detector.engines.load_engine`. Raises SettingError for an unknown name, MissingExtra where its packages are not
    installed, NetworkError where tensornets has no such network.
    """
    if name not in get_args(EngineName):
        raise SettingError(f"there is no engine {name!r}; choose one of {', '.join(get_args(EngineName))}.")
    if name == "tensornets":
        from weights.formats.tensornets.engine import TensornetsEngine

        return TensornetsEngine.of(model)
    return engines.load_engine(model, name, threads=threads, concurrent_sessions=lanes)
