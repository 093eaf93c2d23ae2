"""The Dockerfiles name things that exist. No image is built: that needs an engine."""

import json
import re
import shlex

import pytest
import yaml
from conftest import KUBERNETES, ROOT, containers

IMAGES = ["control-plane", "edge"]


def instructions(image: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, lines joined."""
    text = (ROOT / f"deploy/images/{image}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]
    assert all(len(instruction) == 2 for instruction in found), found
    return found


def values(image: str, name: str) -> list[str]:
    return [argument for instruction, argument in instructions(image) if instruction == name]


def copies(image: str) -> list[tuple[str | None, list[str], str]]:
    """Each COPY as (stage or none, sources, target)."""
    result = []
    for argument in values(image, "COPY"):
        words = shlex.split(argument)
        stage = [w.removeprefix("--from=") for w in words if w.startswith("--from=")]
        paths = [word for word in words if not word.startswith("--")]
        result.append((stage[0] if stage else None, paths[:-1], paths[-1]))
    return result


@pytest.mark.parametrize("image", IMAGES)
def test_instructions_are_known(image):
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions(image)} <= known


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_reaches_the_builder(image):
    stages = {argument.split(" AS ")[1] for argument in values(image, "FROM") if " AS " in argument}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    made = " ".join(values(image, "RUN"))
    for stage, sources, _ in copies(image):
        for source in sources:
            if stage is None:
                assert (ROOT / source).exists(), source
                assert source in sent, f"{source} is not let through by .dockerignore"
            else:
                assert stage in stages, stage
                assert source in made, f"no RUN makes {source}"


@pytest.mark.parametrize("image", IMAGES)
def test_every_member_of_the_workspace_is_copied(image):
    manifest = (ROOT / "Cargo.toml").read_text()
    members = re.search(r"members = \[(.*?)\]", manifest, re.DOTALL).group(1)
    folders = {source for stage, sources, _ in copies(image) if stage is None for source in sources}
    for member in re.findall(r'"([^"]+)"', members):
        assert member.split("/")[0] in folders, member


@pytest.mark.parametrize("image", IMAGES)
def test_the_program_is_the_one_that_is_built(image):
    program = f"tidegate-{image}"
    package = (ROOT / f"services/{image}/Cargo.toml").read_text()
    assert f'name = "{program}"' in package
    run = " ".join(values(image, "RUN"))
    assert f"--package {program} --bin {program}" in run and "--locked" in run
    profile = re.search(r"--profile (\w+)", run).group(1)
    assert f"[profile.{profile}]" in (ROOT / "Cargo.toml").read_text()
    entry = json.loads(values(image, "ENTRYPOINT")[0])
    assert entry[0] in [target for _, _, target in copies(image)]
    assert entry[0].endswith(f"/{program}")


@pytest.mark.parametrize("image", IMAGES)
def test_the_builder_is_new_enough(image):
    wanted = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text()).group(1)
    builder = values(image, "FROM")[0]
    assert builder.startswith(f"rust:{wanted}-")


@pytest.mark.parametrize("image", IMAGES)
def test_nobody_is_root_and_nothing_is_opened_by_default(image):
    assert values(image, "USER") == ["65532:65532"]
    assert "--insecure" not in values(image, "CMD")[0]
    base = [d for f in (KUBERNETES / "base").glob("*.yaml") for d in yaml.safe_load_all(f.read_text())]
    container = next(c for c in containers(base) if c["name"] == image)
    ports = [str(port["containerPort"]) for port in container["ports"]]
    assert values(image, "EXPOSE") == [" ".join(ports)]
    # What the image says and what the manifest says are the same folder.
    folder = json.loads(values(image, "CMD")[0])[1]
    assert folder in [mount["mountPath"] for mount in container["volumeMounts"]]
