"""compose.yaml agrees with the project: its commands, settings, metrics path and volumes are valid."""

import asyncio
import re
import shlex

import httpx
import pytest
import yaml

from service.app import create_app
from service.auth.api_keys import HashedKey, new_key
from service.models.registry import Registry
from service.settings import Settings
from weights.hub.resolve import DEFAULT_MODEL

BOXWRIGHT_SERVICES = ("boxwright", "finetune")


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


@pytest.fixture(scope="module")
def scrape(root):
    (job,) = yaml.safe_load((root / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    return job


@pytest.fixture(scope="module")
def usage_lines(root):
    """Comment lines of compose.yaml that show a `docker compose` command."""
    lines = (root / "compose.yaml").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("# ") and "docker compose" in line]


def test_every_command_parses(services, parse):
    assert parse(services["boxwright"]["command"])["model"] is None
    assert parse(services["finetune"]["command"])["dataset"].as_posix() == "/data/mydata"


def test_every_image_is_a_dockerfile_target_with_the_project_version(services, root, project):
    dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
    for name, image in zip(BOXWRIGHT_SERVICES, ("boxwright", "boxwright-train"), strict=True):
        assert services[name]["image"] == f"{image}:{project['version']}"
        assert f" AS {services[name]['build']['target']}\n" in dockerfile


def test_every_variable_is_a_setting(services, known_variables):
    assert set(services["boxwright"]["environment"]) <= known_variables


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:8000", 200), ("127.0.0.1", 200), ("boxwright:8000", 200), ("rebind.example", 403)]
)
def test_container_refuses_host_names_of_web_pages(services, scrape, host, status):
    """In the container the service listens on all addresses, and a browser on this machine can reach its port (DNS rebinding)."""
    variable = services["boxwright"]["environment"]["BOXWRIGHT_ALLOWED_HOSTS"]
    allowed = re.fullmatch(r"\$\{ALLOWED_HOSTS:-(.*)\}", variable)[1]
    app = create_app(Registry(), Settings(host="0.0.0.0", allowed_hosts=allowed))

    async def get():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as client:
            return await client.get("/livez")

    assert asyncio.run(get()).status_code == status
    assert scrape["static_configs"][0]["targets"] == ["boxwright:8000"]


def test_published_port_is_the_port_of_the_service(services):
    (port,) = services["boxwright"]["ports"]
    assert port.rpartition(":")[2] == str(Settings.model_fields["port"].default)


@pytest.mark.parametrize("name", ["boxwright", "prometheus", "finetune"])
def test_containers_have_a_read_only_root_and_no_capability(services, name):
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user", "network_mode"} & set(service)


def test_docker_waits_longer_than_the_grace_period_of_the_service(services):
    grace = Settings.model_fields["grace_seconds"].default
    assert int(services["boxwright"]["stop_grace_period"].removesuffix("s")) > grace


def test_prometheus_scrapes_an_existing_path(services, scrape, app):
    (target,) = scrape["static_configs"][0]["targets"]
    assert target == f"boxwright:{Settings.model_fields['port'].default}"
    assert target.partition(":")[0] in services
    assert "get" in app.openapi()["paths"][scrape["metrics_path"]]
    assert "./deploy/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in services["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in services["prometheus"]["command"]


def test_prometheus_needs_no_key_when_the_service_requires_keys(services, scrape):
    environment = services["boxwright"]["environment"]
    assert environment["BOXWRIGHT_KEY_HASHES"] == "${KEY_HASHES:-}"
    default = environment["BOXWRIGHT_METRICS_OPEN"].removeprefix("${METRICS_OPEN:-").removesuffix("}")
    settings = Settings(key_hashes=str(HashedKey.of("any", new_key())), metrics_open=default)
    assert "security" not in create_app(Registry(), settings).openapi()["paths"][scrape["metrics_path"]]["get"]


def test_third_party_images_have_exact_versions(services):
    assert re.fullmatch(r"docker\.io/prom/prometheus:v\d+\.\d+\.\d+", services["prometheus"]["image"])


def test_finetune_publishes_into_the_volume_that_the_service_watches(services, parse):
    options = parse(services["finetune"]["command"])
    watched = services["boxwright"]["environment"]["BOXWRIGHT_MODELS"]
    assert str(options["publish"]) == watched
    assert options["out"].is_relative_to(watched)
    for name in BOXWRIGHT_SERVICES:
        (volume,) = [each for each in services[name]["volumes"] if each.startswith("models:")]
        assert volume == f"models:{watched}"  # writable, because `models rollback` needs that


def test_served_model_is_the_embedded_one_or_the_one_that_finetune_publishes(services, parse, usage_lines):
    (serving,) = [line for line in usage_lines if "MODEL=" in line]
    model = next(word for word in shlex.split(serving, comments=False) if word.startswith("MODEL=")).removeprefix("MODEL=")
    assert model == parse(services["finetune"]["command"])["dataset"].name
    assert services["boxwright"]["environment"]["BOXWRIGHT_MODEL"] == f"${{MODEL:-{DEFAULT_MODEL}}}"


def test_rollback_command_in_the_comment_parses(usage_lines, parse):
    (line,) = [line for line in usage_lines if "rollback" in line]
    words = line.removeprefix("# docker compose exec boxwright boxwright ").partition("   ")[0].split()
    assert parse([*words, "--models", "/models"])["name"] == "mydata"


def test_finetune_starts_only_on_request(services, usage_lines):
    assert services["finetune"]["profiles"] == ["finetune"]
    assert not services["boxwright"].get("profiles")
    assert any("docker compose run --rm finetune" in line for line in usage_lines)


def test_every_volume_is_declared(compose):
    named = {each.split(":")[0] for service in compose["services"].values() for each in service["volumes"] if each[0] not in "./$"}
    assert named == set(compose["volumes"])
