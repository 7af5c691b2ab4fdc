"""The Dockerfile agrees with the project's versions, packages, settings and commands."""

import json
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from service.settings import Settings


@dataclass
class Stage:
    base: str
    lines: list[tuple[str, str]]  # (instruction, arguments)

    def all(self, instruction):
        return [rest for name, rest in self.lines if name == instruction]

    def exec_form(self, instruction):
        """Return the arguments of the only such instruction, which is in exec form (JSON)."""
        (rest,) = self.all(instruction)
        return json.loads(rest)


@pytest.fixture(scope="module")
def instructions(root):
    lines = [line for line in (root / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines()]


@pytest.fixture(scope="module")
def stages(instructions):
    stages = {}
    for name, rest in instructions:
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages[stage] = Stage(base, [])
        elif stages:
            stages[stage].lines.append((name, rest))
    return stages


@pytest.fixture(scope="module")
def pins(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if not line.startswith("#")}


def ancestry(stages, name):
    """Return the stages that contribute to an image: itself, its base stages and the stages it copies from."""
    if name not in stages:
        return set()
    copied = {match for rest in stages[name].all("COPY") for match in re.findall(r"--from=(\S+)", rest)}
    return {name}.union(*(ancestry(stages, other) for other in {stages[name].base} | copied))


def variables(stage):
    return dict(word.split("=", 1) for rest in stage.all("ENV") for word in rest.split())


def test_serve_is_the_default_target(stages):
    assert list(stages)[-1] == "serve"
    assert stages["serve"].base == stages["train"].base == "runtime"


def test_all_stages_use_one_base_image_that_a_build_argument_can_replace(instructions, stages, project):
    (base,) = [rest for name, rest in instructions[:1] if name == "ARG"]
    name, _, image = base.partition("=")
    assert name == "BASE"
    assert {stage.base for stage in stages.values()} - set(stages) == {"${BASE}"}
    python = re.fullmatch(r"docker\.io/library/python:([\d.]+)-slim-bookworm", image)[1]
    assert f"{python}.0" in SpecifierSet(project["requires-python"])


def test_serve_has_neither_compiler_nor_tensorflow(stages):
    contributing = ancestry(stages, "serve")
    assert "build-serve" in contributing
    assert "build-train" not in contributing
    commands = " ".join(rest for name in contributing for rest in stages[name].all("RUN"))
    assert not re.search(r"apt-get|gcc|\btrain\b|tensor", commands)
    assert "gcc" in " ".join(stages["build-train"].all("RUN"))


def test_image_runs_one_process_without_a_shell(stages, parse):
    entry, command = stages["runtime"].exec_form("ENTRYPOINT"), stages["runtime"].exec_form("CMD")
    assert entry == ["/opt/boxwright/bin/boxwright"]
    assert parse(command)["model"] is None
    assert stages["runtime"].all("STOPSIGNAL") == ["SIGTERM"]
    for stage in ("serve", "train"):
        assert not stages[stage].all("RUN"), "the final stages only copy files from the build stages"


def test_health_check_is_boxwright_health(stages, parse):
    (check,) = stages["serve"].all("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == stages["runtime"].exec_form("ENTRYPOINT")[0]
    seconds = float(re.search(r"--timeout=(\d+)s", check)[1])
    assert parse(words[1:])["timeout"] < seconds
    assert not stages["train"].all("HEALTHCHECK")


def test_image_runs_as_an_unprivileged_user_with_a_fixed_id(stages):
    assert stages["runtime"].all("USER") == ["10001:10001"]
    assert not stages["serve"].all("USER") + stages["train"].all("USER")
    (command,) = stages["runtime"].all("RUN")
    assert "--uid 10001 --gid 10001" in command


def test_image_settings_exist_and_the_port_is_exposed(stages, known_variables):
    environment = {name: value for name, value in variables(stages["runtime"]).items() if name.startswith("BOXWRIGHT_")}
    assert set(environment) <= known_variables
    assert stages["runtime"].all("EXPOSE") == [environment["BOXWRIGHT_PORT"]] == [str(Settings.model_fields["port"].default)]
    assert environment["BOXWRIGHT_HOME"] == stages["runtime"].all("WORKDIR")[0] == "/models"


def test_image_labels_have_the_version_and_licence_of_the_project(stages, project):
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', stages["runtime"].all("LABEL")[0]))
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["title"].lower() == project["name"]


def test_wheel_contains_every_package_and_no_tests(stages, root):
    packages = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {rest.split()[0] for rest in stages["wheel"].all("COPY")} - {"README.md"}
    assert folders == {name.rstrip("*") for name in packages}


def test_build_context_contains_only_the_copied_files(stages, root):
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for stage in stages.values() for rest in stage.all("COPY") if "--from" not in rest for word in rest.split()[:-1]}
    assert "*" in lines
    assert copied == admitted
    assert all((root / name).exists() for name in copied)


def test_pip_installs_only_pinned_versions(stages):
    commands = [command for stage in stages.values() for rest in stage.all("RUN") for command in rest.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.* (install|wheel) ", command)]
    assert len(installs) >= 6
    for command in installs:
        assert "--constraint constraints.txt" in command or "--no-deps" in command, command
        assert "--only-binary :all:" in command or "--no-deps" in command, command


def installed_dependencies(names):
    """Return the installed direct and indirect dependencies of these requirements, including themselves."""
    seen, pending = set(), [Requirement(name) for name in names]
    while pending:
        requirement = pending.pop()
        key = (canonicalize_name(requirement.name), *sorted(requirement.extras))
        if key in seen:
            continue
        try:
            dependencies = [Requirement(line) for line in requires(requirement.name) or ()]
        except PackageNotFoundError:  # needed on another platform only, or for development only
            continue
        seen.add(key)
        pending += [each for each in dependencies if applies(each, requirement.extras)]
    return {name for name, *_ in seen}


def applies(requirement, extras):
    return not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def test_every_package_of_an_image_is_pinned(project, pins):
    names = installed_dependencies([*project["dependencies"], *project["optional-dependencies"]["train"]])
    assert {"fastapi", "anyio", "onnxruntime", "tensorflow", "h5py"} <= names
    assert names <= set(pins), f"not in constraints.txt: {sorted(names - set(pins))}"


def test_build_dependencies_are_pinned(pins):
    assert {"setuptools", "cython", "numpy"} <= set(pins)
