"""Messages on stderr."""

from cli.output.terminal import print_next_step


def test_the_next_command_is_quoted_for_a_shell(capfd, tmp_path):
    print_next_step("boxwright", "data", "split", tmp_path / "my images")
    assert capfd.readouterr().err == f"Next: boxwright data split '{tmp_path}/my images'\n"


def test_a_condition_is_not_part_of_the_command(capfd):
    print_next_step("boxwright", "serve", "--models", "models", when="unless a service watches the folder already")
    assert capfd.readouterr().err == "Next, unless a service watches the folder already: boxwright serve --models models\n"
