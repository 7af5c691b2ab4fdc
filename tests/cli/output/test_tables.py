"""Tables on a terminal and in a pipe."""

import re

import pytest
from rich.text import Text

from cli.output.tables import print_table

ROWS = [("[red]", None, "a long description of the row"), ("tab\tname", Text("3", style="red"), "x.\ny")]


def test_a_pipe_gets_tab_separated_lines_without_a_heading(capsys):
    print_table(("name", "count", "text"), ROWS, footer=[("sum", 3, "")])
    assert capsys.readouterr().out == "[red]\t-\ta long description of the row\ntab\\tname\t3\tx; y\nsum\t3\t-\n"


@pytest.mark.parametrize("columns", [80, 30])
def test_a_terminal_folds_only_the_last_column(capsys, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(("name", "count", "text"), ROWS, numeric=("count",), footer=[("sum", 3, "")])
    lines = re.sub(r"\x1b\[[\d;?]*\w", "", capsys.readouterr().out).splitlines()
    assert lines[0].split() == ["name", "count", "text"]
    assert lines[1].startswith("[red]          -  a long")
    assert (len(lines) == 5) == (columns == 80)
    assert all(len(line) <= columns for line in lines)
