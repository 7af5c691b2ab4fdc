"""The Dockerfile is what the project is: its versions, packages, settings and commands."""

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
    lines: list[tuple[str, str]]  # (instruction, what stands after it)

    def all(self, instruction):
        return [rest for name, rest in self.lines if name == instruction]

    def words(self, instruction):
        """The one exec form, as JSON."""
        (rest,) = self.all(instruction)
        return json.loads(rest)


@pytest.fixture(scope="module")
def instructions(root):
    lines = [line for line in (root / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines()]


@pytest.fixture(scope="module")
def stages(instructions):
    found = {}
    for name, rest in instructions:
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            found[stage] = Stage(base, [])
        elif found:
            found[stage].lines.append((name, rest))
    return found


@pytest.fixture(scope="module")
def pins(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if not line.startswith("#")}


def ancestry(stages, name):
    """The stages that an image is made of: itself, those that it is from, those that it copies from."""
    if name not in stages:
        return set()
    copied = {match for rest in stages[name].all("COPY") for match in re.findall(r"--from=(\S+)", rest)}
    return {name}.union(*(ancestry(stages, other) for other in {stages[name].base} | copied))


def variables(stage):
    return dict(word.split("=", 1) for rest in stage.all("ENV") for word in rest.split())


def test_serve_is_what_is_built_where_no_target_is_named(stages):
    assert list(stages)[-1] == "serve"
    assert stages["serve"].base == stages["train"].base == "runtime"


def test_every_stage_begins_with_one_base_that_a_digest_can_replace(instructions, stages, project):
    (base,) = [rest for name, rest in instructions[:1] if name == "ARG"]
    name, _, image = base.partition("=")
    assert name == "BASE"
    assert {stage.base for stage in stages.values()} - set(stages) == {"${BASE}"}
    python = re.fullmatch(r"docker\.io/library/python:([\d.]+)-slim-bookworm", image)[1]
    assert f"{python}.0" in SpecifierSet(project["requires-python"])


def test_serve_has_neither_compiler_nor_tensorflow(stages):
    made_of = ancestry(stages, "serve")
    assert "build-serve" in made_of
    assert "build-train" not in made_of
    commands = " ".join(rest for name in made_of for rest in stages[name].all("RUN"))
    assert not re.search(r"apt-get|gcc|\btrain\b|tensor", commands)
    assert "gcc" in " ".join(stages["build-train"].all("RUN"))


def test_what_runs_is_one_process_without_a_shell(stages, parse):
    entry, command = stages["runtime"].words("ENTRYPOINT"), stages["runtime"].words("CMD")
    assert entry == ["/opt/boxwright/bin/boxwright"]
    assert parse(command)["model"] is None
    assert stages["runtime"].all("STOPSIGNAL") == ["SIGTERM"]
    for stage in ("serve", "train"):
        assert not stages[stage].all("RUN"), "the image runs what `build` made"


def test_the_health_check_is_our_own_command(stages, parse):
    (check,) = stages["serve"].all("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == stages["runtime"].words("ENTRYPOINT")[0]
    seconds = float(re.search(r"--timeout=(\d+)s", check)[1])
    assert parse(words[1:])["timeout"] < seconds
    assert not stages["train"].all("HEALTHCHECK")


def test_it_is_nobody_by_a_number_that_never_changes(stages):
    assert stages["runtime"].all("USER") == ["10001:10001"]
    assert not stages["serve"].all("USER") + stages["train"].all("USER")
    (made,) = stages["runtime"].all("RUN")
    assert "--uid 10001 --gid 10001" in made


def test_its_settings_exist_and_its_port_is_the_one_exposed(stages, known_variables):
    given = {name: value for name, value in variables(stages["runtime"]).items() if name.startswith("BOXWRIGHT_")}
    assert set(given) <= known_variables
    assert stages["runtime"].all("EXPOSE") == [given["BOXWRIGHT_PORT"]] == [str(Settings.model_fields["port"].default)]
    assert given["BOXWRIGHT_HOME"] == stages["runtime"].all("WORKDIR")[0] == "/models"


def test_its_labels_tell_the_version_and_the_licence_of_the_project(stages, project):
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', stages["runtime"].all("LABEL")[0]))
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["title"].lower() == project["name"]


def test_every_package_of_the_project_is_in_the_wheel_and_no_test_is(stages, root):
    packages = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {rest.split()[0] for rest in stages["wheel"].all("COPY")} - {"README.md"}
    assert folders == {name.rstrip("*") for name in packages}


def test_nothing_but_what_is_copied_goes_into_the_build(stages, root):
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for stage in stages.values() for rest in stage.all("COPY") if "--from" not in rest for word in rest.split()[:-1]}
    assert "*" in lines
    assert copied == admitted
    assert all((root / name).exists() for name in copied)


def test_whatever_pip_installs_has_an_exact_version(stages):
    commands = [command for stage in stages.values() for rest in stage.all("RUN") for command in rest.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.* (install|wheel) ", command)]
    assert len(installs) >= 6
    for command in installs:
        assert "--constraint constraints.txt" in command or "--no-deps" in command, command
        assert "--only-binary :all:" in command or "--no-deps" in command, command


def closure(names):
    """The distributions that these want, and those that they want, as far as they are installed here."""
    seen, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        if key in seen:
            continue
        try:
            further = [Requirement(line) for line in requires(wanted.name) or ()]
        except PackageNotFoundError:  # for another platform, or a part that only development wants
            continue
        seen.add(key)
        waiting += [each for each in further if holds(each, wanted.extras)]
    return {name for name, *_ in seen}


def holds(requirement, extras):
    return not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def test_every_package_that_gets_into_an_image_is_pinned(project, pins):
    names = closure([*project["dependencies"], *project["optional-dependencies"]["train"]])
    assert {"fastapi", "anyio", "onnxruntime", "tensorflow", "h5py"} <= names
    assert names <= set(pins), f"not in constraints.txt: {sorted(names - set(pins))}"


def test_what_builds_is_pinned_too(pins):
    assert {"setuptools", "cython", "numpy"} <= set(pins)
