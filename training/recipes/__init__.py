"""Recipes: options of runs in TOML files, each with its question, command, cost and answer."""

from pathlib import Path

from detector.messages import did_you_mean
from training.errors import ConfigError

_FOLDER = Path(__file__).parent


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that ship with Boxwright."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_recipe(name_or_file: str) -> Path:
    """Return the given TOML file, or the file of the recipe of that name. Raises ConfigError if neither exists."""
    path = Path(name_or_file)
    if path.suffix == ".toml" and path.is_file():
        return path
    if name_or_file in recipe_names():
        return _FOLDER / f"{name_or_file}.toml"
    hint = did_you_mean(name_or_file, recipe_names())
    raise ConfigError(f"{name_or_file} is neither an existing TOML file nor a recipe.{hint} Recipes: {', '.join(recipe_names())}.")
