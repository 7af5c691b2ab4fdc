"""The manifests are valid by Kubernetes' schemas, and agree with each other, with the image and with the service's routes."""

import re
import shutil
import subprocess

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from service.app import create_app
from service.auth.api_keys import HashedKey, new_key
from service.models.registry import Registry
from service.settings import Settings
from weights.hub.resolve import DEFAULT_MODEL

SCHEMAS = "1.33"
FOLDER = "deploy/kubernetes"
WORKLOADS = ["deployment", "kserve"]


def read(path):
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def base(root):
    """Kind -> manifest."""
    folder = root / FOLDER / "base"
    return {document["kind"]: document for path in sorted(folder.glob("*.yaml")) for document in read(path)}


@pytest.fixture(scope="module")
def pods(base, root):
    """Pod specifications of the two manifests that run our image, by name."""
    (kserve,) = read(root / FOLDER / "kserve" / "inference-service.yaml")
    return {"deployment": base["Deployment"]["spec"]["template"]["spec"], "kserve": kserve["spec"]["predictor"]}


@pytest.fixture(scope="module")
def settings(base, pods):
    """Environment variables that each of the two manifests sets, by name."""
    (generated,) = base["Kustomization"]["configMapGenerator"]
    source, _ = pods["deployment"]["containers"][0]["envFrom"]
    assert source["configMapRef"]["name"] == generated["name"]
    return {
        "deployment": dict(literal.split("=", 1) for literal in generated["literals"]),
        "kserve": {each["name"]: each["value"] for each in pods["kserve"]["containers"][0]["env"]},
    }


@pytest.mark.parametrize("kind", ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "PersistentVolumeClaim"])
def test_manifests_are_valid_by_the_schema_of_their_kind(base, kind):
    validate(base[kind], SCHEMAS, strict=True)


def test_schema_rejects_an_unknown_field(base):
    wrong = base["Service"] | {"spec": {**base["Service"]["spec"], "selektor": {}}}
    with pytest.raises(ValidationError):
        validate(wrong, SCHEMAS, strict=True)


def test_every_selector_matches_the_labels_of_the_pods(base):
    labels = base["Deployment"]["spec"]["template"]["metadata"]["labels"]
    spread = base["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        base["Deployment"]["spec"]["selector"]["matchLabels"],
        base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        base["Service"]["spec"]["selector"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ]
    assert len(selectors) == 4
    assert all(selector and selector.items() <= labels.items() for selector in selectors)


def test_network_policy_is_valid_and_covers_the_pods_and_their_port(base, root):
    (policy,) = read(root / FOLDER / "restricted" / "network-policy.yaml")
    validate(policy, SCHEMAS, strict=True)
    template = base["Deployment"]["spec"]["template"]
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector
    assert selector.items() <= template["metadata"]["labels"].items()
    (ingress,) = policy["spec"]["ingress"]
    assert [each["port"] for each in ingress["ports"]] == [port["name"] for port in template["spec"]["containers"][0]["ports"]]
    assert all(each["namespaceSelector"]["matchLabels"] for each in ingress["from"])
    assert (policy["spec"]["policyTypes"], policy["spec"]["egress"]) == (["Ingress", "Egress"], [])


def test_restricted_variant_requires_the_secret_of_the_deployment(base, root):
    (kustomization,) = read(root / FOLDER / "restricted" / "kustomization.yaml")
    (patch,) = yaml.safe_load(kustomization["patches"][0]["patch"])
    target = base["Deployment"]
    for part in patch["path"].split("/")[1:-1]:
        target = target[int(part) if part.isdecimal() else part]
    assert target == {"name": "boxwright-keys", "optional": True}
    assert (patch["op"], patch["value"]) == ("replace", False)
    assert all((root / FOLDER / "restricted" / path).exists() for path in kustomization["resources"])


def test_only_the_autoscaler_sets_the_number_of_pods(base):
    target, deployment = base["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"], base["Deployment"]
    assert target == {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]
    assert base["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > base["PodDisruptionBudget"]["spec"]["maxUnavailable"]


def test_service_targets_a_port_of_the_container(base, pods):
    ports = {port["name"]: port["containerPort"] for port in pods["deployment"]["containers"][0]["ports"]}
    assert base["Service"]["spec"]["ports"][0]["targetPort"] in ports
    annotations = base["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["http"])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_container_port_is_the_exposed_port_of_the_image(pods, root, workload):
    (port,) = re.findall(r"^EXPOSE (\d+)$", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [each["containerPort"] for each in pods[workload]["containers"][0]["ports"]] == [int(port)]


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_every_probe_requests_an_existing_route(pods, app, workload, probe):
    request = pods[workload]["containers"][0][probe]["httpGet"]
    templates = [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path, methods in app.openapi()["paths"].items() if "get" in methods]
    assert any(re.fullmatch(template, request["path"]) for template in templates), request["path"]
    assert request["port"] in ("http", 8000)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_no_probe_needs_a_key(pods, workload):
    paths = create_app(Registry(), Settings(key_hashes=str(HashedKey.of("any", new_key())))).openapi()["paths"]
    probes = [pods[workload]["containers"][0][probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert not any("security" in paths[path.replace("/everyday/", "/{model}/")]["get"] for path in probes), probes


@pytest.mark.parametrize("workload", WORKLOADS)
def test_keys_come_from_the_secret_in_the_documentation(pods, root, workload):
    (secret,) = [each["secretRef"] for each in pods[workload]["containers"][0]["envFrom"] if "secretRef" in each]
    assert secret["optional"] is True
    page = (root / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"kubectl create secret generic {secret['name']} --from-literal BOXWRIGHT_KEY_HASHES=" in page


def test_liveness_and_readiness_probes_use_different_routes(pods):
    """A terminating pod is alive but not ready. Restarting it would abort the requests that it is finishing."""
    for workload, alive in (("deployment", "/livez"), ("kserve", "/v2/health/live")):
        assert pods[workload]["containers"][0]["livenessProbe"]["httpGet"]["path"] == alive


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_command_parses_and_every_variable_is_a_setting(pods, settings, parse, known_variables, workload):
    (container,) = pods[workload]["containers"]
    assert "command" not in container, "the image's entry point stays"
    assert parse(container["args"])["port"] is None
    assert set(settings[workload]) <= known_variables


@pytest.mark.parametrize("workload", WORKLOADS)
def test_pod_runs_as_the_user_of_the_image_without_privileges(pods, root, workload):
    (user,) = re.findall(r"^USER (\d+):\d+$", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    pod, container = pods[workload]["securityContext"], pods[workload]["containers"][0]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == int(user)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert pods[workload]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("workload", WORKLOADS)
def test_cluster_sets_no_boxwright_variables(pods, workload):
    """With service links, a service named boxwright would set BOXWRIGHT_PORT=tcp://... in every pod."""
    assert pods[workload]["enableServiceLinks"] is False


@pytest.mark.parametrize("workload", WORKLOADS)
def test_pod_has_time_to_become_unready_and_to_finish_requests(pods, settings, workload):
    notice, grace = (int(settings[workload][f"BOXWRIGHT_{name}_SECONDS"]) for name in ("NOTICE", "GRACE"))
    readiness = pods[workload]["containers"][0]["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= notice < grace < pods[workload]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_processor_and_memory_are_limited(pods, workload):
    resources = pods[workload]["containers"][0]["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_image_tag_is_the_project_version(base, pods, project):
    (image,) = base["Kustomization"]["images"]
    assert pods["deployment"]["containers"][0]["image"] == image["name"]
    assert image["newTag"] == project["version"]
    assert pods["kserve"]["containers"][0]["image"] == f"{image['name']}:{project['version']}"


def test_models_are_mounted_read_only_and_watched(base, pods, settings):
    (mount,), (volume,) = pods["deployment"]["containers"][0]["volumeMounts"], pods["deployment"]["volumes"]
    assert mount["name"] == volume["name"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/models", True)
    assert settings["deployment"]["BOXWRIGHT_MODELS"] == mount["mountPath"]
    assert settings["deployment"]["BOXWRIGHT_MODEL"] == DEFAULT_MODEL
    assert volume["persistentVolumeClaim"]["claimName"] == base["PersistentVolumeClaim"]["metadata"]["name"]


def test_kserve_service_has_the_name_of_its_model(root, pods):
    (service,) = read(root / FOLDER / "kserve" / "inference-service.yaml")
    assert service["metadata"]["name"] == DEFAULT_MODEL
    assert f"/v2/models/{DEFAULT_MODEL}/ready" == pods["kserve"]["containers"][0]["startupProbe"]["httpGet"]["path"]


def test_kustomization_lists_every_file(base, root):
    files = {path.name for path in (root / FOLDER / "base").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(base["Kustomization"]["resources"]) == files


@pytest.mark.parametrize("overlay", ["single-node", "queue-length"])
def test_overlay_patches_existing_fields(root, base, overlay):
    (kustomization,) = read(root / FOLDER / overlay / "kustomization.yaml")
    assert kustomization["resources"] == ["../base"]
    (patch,) = kustomization["patches"]
    assert base[patch["target"]["kind"]]["metadata"]["name"] == patch["target"]["name"]
    for operation in yaml.safe_load(patch["patch"]):
        field = base[patch["target"]["kind"]]
        for part in operation["path"].strip("/").split("/"):
            field = field[part]


def test_queue_length_overlay_scales_on_an_existing_metric(root, app):
    (kustomization,) = read(root / FOLDER / "queue-length" / "kustomization.yaml")
    ((operation,),) = (yaml.safe_load(patch["patch"]) for patch in kustomization["patches"])
    (metric,) = operation["value"]
    assert metric["pods"]["metric"]["name"] in {family.name for family in app.state.metrics.collector_registry.collect()}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="requires kubectl with Kustomize")
@pytest.mark.parametrize("overlay", ["base", "single-node", "queue-length"])
def test_output_of_kustomize_is_valid(root, overlay):
    built = subprocess.run(["kubectl", "kustomize", str(root / FOLDER / overlay)], capture_output=True, check=True, text=True)
    documents = list(yaml.safe_load_all(built.stdout))
    assert len(documents) == 6
    for document in documents:
        validate(document, SCHEMAS, strict=True)
