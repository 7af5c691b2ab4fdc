"""The job with several training workers is valid, and its addresses, ports, command and volumes agree with each other and the image."""

import re

import pytest
import yaml
from kubernetes_validate import validate

from training.distributed.cluster import Cluster

SCHEMAS = "1.33"
FILE = "deploy/kubernetes/finetune/job.yaml"


@pytest.fixture(scope="module")
def manifests(root):
    """Kind -> manifest."""
    return {document["kind"]: document for document in yaml.safe_load_all((root / FILE).read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def pod(manifests):
    return manifests["Job"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def options(pod, parse):
    """Parsed options of the container's command."""
    (container,) = pod["containers"]
    assert "command" not in container, "the image's entry point stays"
    return parse(container["args"])


@pytest.mark.parametrize("kind", ["Job", "Service"])
def test_the_manifests_are_valid_by_the_schemas_of_their_kinds(manifests, kind):
    validate(manifests[kind], SCHEMAS, strict=True)


def test_pod_number_is_the_worker_index_and_part_of_its_address(manifests, pod, options):
    job, service = manifests["Job"], manifests["Service"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    (port,) = (each["port"] for each in service["spec"]["ports"])
    assert [each["containerPort"] for each in pod["containers"][0]["ports"]] == [port]
    assert options["worker_index"] is None
    for index in range(job["spec"]["completions"]):
        cluster = Cluster.from_options(options["workers"], None, {"JOB_COMPLETION_INDEX": str(index)})
        assert cluster.index == index
        assert cluster.addresses[index] == f"{job['metadata']['name']}-{index}.{pod['subdomain']}:{port}"
    assert len(cluster.addresses) == job["spec"]["completions"]


def test_service_publishes_pods_before_they_are_ready(manifests):
    labels = manifests["Job"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Service"]["spec"]["selector"].items() <= labels.items()
    assert manifests["Service"]["spec"]["publishNotReadyAddresses"] is True


def test_failed_pod_is_not_restarted_into_a_running_job(manifests, pod):
    assert manifests["Job"]["spec"]["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"


def test_data_and_models_are_mounted_where_the_command_looks(pod, options, root):
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}
    assert options["dataset"].is_relative_to("/data")
    assert mounts["/data"]["readOnly"] is True
    assert options["out"].is_relative_to("/models")
    claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]}
    models = yaml.safe_load((root / "deploy/kubernetes/base/models.yaml").read_text(encoding="utf-8"))
    assert claims[mounts["/models"]["name"]] == models["metadata"]["name"]


def test_pod_runs_as_the_user_of_the_image_without_privileges(pod, root, project):
    (user,) = re.findall(r"^USER (\d+):\d+$", (root / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    (container,) = pod["containers"]
    assert container["image"] == f"boxwright-train:{project['version']}"
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == int(user)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}
