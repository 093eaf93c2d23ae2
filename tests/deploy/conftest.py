"""What the tests of deploy/ share: the rendered manifests and the built programs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"


def render(folder: Path) -> list[dict]:
    """The resources of a Kustomize folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not there")
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def read_unrendered(folder: Path) -> list[dict]:
    """The resources of a folder's own files, as they are written."""
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    files = [folder / name for name in names if name.endswith(".yaml")]
    return [
        document
        for file in files
        for document in yaml.safe_load_all(file.read_text())
        if document
    ]


@pytest.fixture(scope="session")
def base() -> list[dict]:
    """The base as it is written: these tests need no kubectl."""
    return read_unrendered(KUBERNETES / "base")


@pytest.fixture(scope="session")
def help_of():
    """The --help of a program, by its name; programs are in TIDEGATE_BIN_DIR."""
    folder = os.environ.get("TIDEGATE_BIN_DIR")
    if not folder:
        pytest.skip("TIDEGATE_BIN_DIR is not set")

    def text(program: str) -> str:
        done = subprocess.run(
            [Path(folder) / program, "--help"],
            capture_output=True,
            text=True,
            timeout=30,
            env={"PATH": os.environ["PATH"], "COLUMNS": "400"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return text


def workloads(resources: list[dict]) -> list[dict]:
    """Resources that make pods."""
    return [resource for resource in resources if "template" in resource.get("spec", {})]


def containers(resources: list[dict]) -> list[dict]:
    """The containers of all pods."""
    return [
        container
        for workload in workloads(resources)
        for container in workload["spec"]["template"]["spec"]["containers"]
    ]


def seconds(duration: str) -> int:
    """`20s` or `1m` as seconds."""
    number, unit = re.fullmatch(r"(\d+)(s|m|min)", duration).groups()
    return int(number) * (1 if unit == "s" else 60)
