import pytest

from training.config.options import Config
from training.errors import ConfigError
from training.recipes import find_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_has_question_command_cost_and_answer(name):
    path = find_recipe(name)
    Config.read(path)
    text = path.read_text(encoding="utf-8")
    for part in ("# Question:", "# Data:", "# Command:  boxwright finetune", "# Cost:", "# Answer:"):
        assert part in text
    assert f"--config {name}" in text


def test_another_toml_file_can_be_used(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 2\n", encoding="utf-8")
    assert find_recipe(str(path)) == path


def test_an_unknown_recipe_is_refused():
    with pytest.raises(
        ConfigError, match=r"^racoon is neither an existing TOML file nor a recipe\. Did you mean .raccoon.\? Recipes: bccd, .*raccoon\."
    ):
        find_recipe("racoon")
