"""The manifests in deploy/kubernetes hold together, and fit the programs."""

import ipaddress
import re
import subprocess
import sys

import kubernetes_validate
import pytest
from conftest import (
    KUBERNETES,
    ROOT,
    containers,
    read_unrendered,
    render,
    seconds,
    workloads,
)

FOLDERS = ["base", "overlays/example"]
COMPONENTS = ["components/disk-cache"]
# The oldest version in which the manifests mean what they say, and the newest known.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]


def test_yaml_is_tidy():
    config = ROOT / "deploy/.yamllint.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-c", config, ROOT / "deploy"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_rendered_resources_obey_the_schema(folder, version):
    resources = render(KUBERNETES / folder)
    assert {"StatefulSet", "Deployment", "NetworkPolicy"} <= {r["kind"] for r in resources}
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_written_resources_obey_the_schema(base, version):
    for resource in base:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schema_notices_a_slip(base):
    broken = dict(base[0], spec=dict(base[0]["spec"], replicsa=3))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_file_is_used():
    for folder in FOLDERS + COMPONENTS:
        kustomization = (KUBERNETES / folder / "kustomization.yaml").read_text()
        for file in (KUBERNETES / folder).glob("*.yaml"):
            assert file.name == "kustomization.yaml" or file.name in kustomization, file


def test_the_example_changes_what_it_says():
    resources = {(r["kind"], r["metadata"]["name"]): r for r in render(KUBERNETES / FOLDERS[1])}
    edge = resources["Deployment", "tidegate-edge"]["spec"]
    control_plane = resources["StatefulSet", "tidegate-control-plane"]["spec"]
    assert edge["replicas"] == 3
    claim = control_plane["volumeClaimTemplates"][0]["spec"]
    assert claim["resources"]["requests"]["storage"] == "50Gi"
    for spec in (edge, control_plane):
        container = spec["template"]["spec"]["containers"][0]
        assert container["image"].startswith("registry.example.com/tidegate-")
        names = [variable["name"] for variable in container["env"]]
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in names
    args = edge["template"]["spec"]["containers"][0]["args"]
    (proxies,) = [a.split("=", 1)[1] for a in args if a.startswith("--trusted-proxy=")]
    assert ipaddress.ip_network(proxies).num_addresses < 2**16, "believe few"
    for (kind, _), resource in resources.items():
        assert kind == "Namespace" or resource["metadata"]["namespace"] == "tidegate"


def test_a_volume_that_was_replaced_does_not_pass_for_a_new_fleet(base):
    (stateful,) = [resource for resource in base if resource["kind"] == "StatefulSet"]
    (container,) = containers([stateful])
    assert "--new-fleet" not in container["args"]
    assert "TIDEGATE_NEW_FLEET" not in [variable["name"] for variable in container["env"]]


def test_pods_are_restricted(base):
    assert len(workloads(base)) == 2
    for workload in workloads(base):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in containers(base):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def test_what_a_container_writes_to_is_mounted(base):
    for container in containers(base):
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        folders = [
            argument.split("=", 1)[1]
            for argument in container["args"]
            if argument.startswith(("--data=", "--cache-dir="))
        ]
        assert folders and all(folder in mounts for folder in folders)


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_the_disk_of_the_cache_fits_its_volume(help_of):
    (edge,) = [r for r in render(KUBERNETES / FOLDERS[1]) if r["kind"] == "Deployment"]
    pod = edge["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    flags = dict(a.split("=", 1) for a in container["args"] if "=" in a)
    folder, room = flags["--disk-cache-dir"], int(flags["--disk-cache-mib"])
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == folder]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    limit = mebibytes(volume["emptyDir"]["sizeLimit"])
    assert room < limit < mebibytes(container["resources"]["requests"]["ephemeral-storage"])
    # An index entry of 72 bytes for each page of 4 KiB, if all are that small, and buffers.
    besides = room * 72 // 4096 + 256
    memory = int(flags["--cache-mib"]) + int(flags["--pages-mib"]) + besides
    assert memory < mebibytes(container["resources"]["limits"]["memory"])
    text = help_of("tidegate-edge")
    for argument in container["args"]:
        flag = argument.split("=", 1)[0]
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), f"{flag} is not in --help"


def test_probes_and_services_name_ports_that_are_listened_on(base):
    for container in containers(base):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listened = {
            int(argument.rsplit(":", 1)[1])
            for argument in container["args"]
            if re.match(r"--[a-z-]*listen=", argument)
        }
        assert set(ports.values()) == listened
        for probe in ("livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "admin"
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_selectors_find_pods_with_those_ports(base):
    pods = [workload["spec"]["template"] for workload in workloads(base)]
    selectors = []
    for resource in base:
        spec = resource["spec"]
        match resource["kind"]:
            case "Service":
                ports = [port["targetPort"] for port in spec["ports"]]
                selectors.append((resource, spec["selector"], ports))
            case "PodDisruptionBudget":
                selectors.append((resource, spec["selector"]["matchLabels"], []))
            case "NetworkPolicy":
                ports = [p["port"] for rule in spec["ingress"] for p in rule["ports"]]
                selectors.append((resource, spec["podSelector"]["matchLabels"], ports))
    assert len(selectors) == 6
    for resource, selector, ports in selectors:
        chosen = [pod for pod in pods if selector.items() <= pod["metadata"]["labels"].items()]
        assert len(chosen) == 1, resource["metadata"]["name"]
        names = [p["name"] for c in chosen[0]["spec"]["containers"] for p in c["ports"]]
        assert set(ports) <= set(names), resource["metadata"]["name"]


def test_edges_call_the_service_of_the_control_plane(base):
    services = {r["metadata"]["name"]: r for r in base if r["kind"] == "Service"}
    edge = next(c for c in containers(base) if c["name"] == "edge")
    control = next(a for a in edge["args"] if a.startswith("--control="))
    name, port = re.fullmatch(r"--control=http://([a-z-]+):(\d+)", control).groups()
    assert int(port) in [p["port"] for p in services[name]["spec"]["ports"]]
    control_plane = next(r for r in base if r["kind"] == "StatefulSet")
    headless = services[control_plane["spec"]["serviceName"]]
    assert headless["spec"]["clusterIP"] == "None"


def test_an_open_listener_is_fenced_by_a_policy(base):
    policies = [r["spec"] for r in base if r["kind"] == "NetworkPolicy"]
    for workload in workloads(base):
        pod = workload["spec"]["template"]
        insecure = any("--insecure" in c["args"] for c in pod["spec"]["containers"])
        labels = pod["metadata"]["labels"].items()
        covering = [p for p in policies if p["podSelector"]["matchLabels"].items() <= labels]
        assert not insecure or any("Ingress" in p["policyTypes"] for p in covering)
    control_plane = next(
        p
        for p in policies
        if p["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "control-plane"
    )
    assert all(rule.get("from") for rule in control_plane["ingress"]), "open to everyone"


@pytest.mark.parametrize("component", ["control-plane", "edge"])
def test_the_program_knows_every_flag_and_variable(base, help_of, component):
    text = help_of(f"tidegate-{component}")
    container = next(c for c in containers(base) if c["name"] == component)
    for argument in container["args"]:
        flag = argument.split("=", 1)[0]
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), f"{flag} is not in --help"
    for variable in container["env"]:
        assert f"[env: {variable['name']}=" in text, f"{variable['name']} is not in --help"


@pytest.mark.parametrize(
    ("component", "flag"), [("control-plane", "--drain-deadline"), ("edge", "--drain")]
)
def test_a_pod_has_time_to_drain(base, help_of, component, flag):
    text = help_of(f"tidegate-{component}")
    default = re.search(rf"{flag} <.*?\[default: (\w+)\]", text, re.DOTALL)
    pod = next(
        w["spec"]["template"]["spec"]
        for w in workloads(base)
        if w["spec"]["template"]["spec"]["containers"][0]["name"] == component
    )
    hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {})
    pause = hook.get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] > pause + seconds(default.group(1))


def test_overlays_only_name_what_the_base_has(base):
    known = {resource["metadata"]["name"] for resource in base}
    own = read_unrendered(KUBERNETES / "overlays/example")
    assert [resource["kind"] for resource in own] == ["Namespace"]
    assert "tidegate-edge" in known and "tidegate-control-plane" in known
