"""Environment variables that have no effect."""

from cli.environment import unknown_variables

KNOWN = {"BOXWRIGHT_PORT", "BOXWRIGHT_QUEUE_SIZE"}


def test_only_variables_with_the_prefix_and_no_meaning_are_unknown():
    assert unknown_variables({"BOXWRIGHT_PORT": "1", "boxwright_port": "1", "BOXWRIGHT_PROT": "1", "PATH": ""}, KNOWN) == ["BOXWRIGHT_PROT"]


def test_variables_that_kubernetes_sets_for_services_are_ignored():
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_8000_TCP_ADDR", "API_SERVICE_HOST")
    assert unknown_variables({f"BOXWRIGHT_{name}": "x" for name in names}, KNOWN) == []
