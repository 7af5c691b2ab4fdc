"""Recipes: committed settings of runs, each with its question, command, cost and answer."""

from pathlib import Path

from training.errors import ConfigError

_FOLDER = Path(__file__).parent


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with Boxwright."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_recipe(name_or_file: str) -> Path:
    """A TOML file: the one given, or the recipe of that name. Raises ConfigError where there is neither."""
    path = Path(name_or_file)
    if path.suffix == ".toml" and path.is_file():
        return path
    if name_or_file in recipe_names():
        return _FOLDER / f"{name_or_file}.toml"
    raise ConfigError(f"{name_or_file}: no such TOML file, and no recipe; there are {', '.join(recipe_names())}.")
