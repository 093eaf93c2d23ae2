"""What a Python client needs: stubs from proto/, a running `tidegate dev`, its pages."""

import os
import queue
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

import stubs

PATIENCE = 30  # seconds; only a test that fails waits this long
READY = re.compile(r"ready edge=(\S+) grpc=http://(\S+) admin=(\S+)")


@pytest.fixture(scope="session")
def api(tmp_path_factory) -> SimpleNamespace:
    """The generated modules, by the name of their file: `api.cache_pb2`."""
    return stubs.load(tmp_path_factory.mktemp("stubs"))


@dataclass
class Dev:
    """A running `tidegate dev`."""

    edge: str
    grpc: str
    admin: str
    process: subprocess.Popen


def start_dev(log: Path, *arguments: str) -> Dev:
    """Starts `tidegate dev` on free ports and waits for its ready line."""
    folder = os.environ.get("TIDEGATE_BIN_DIR")
    if not folder:
        pytest.skip("TIDEGATE_BIN_DIR is not set")
    ports = [f"--{name}=127.0.0.1:0" for name in ("listen", "grpc-listen", "admin-listen")]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [Path(folder) / "tidegate", "dev", *arguments, *ports],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    try:
        line = first_line(process)
        ready = READY.fullmatch(line.strip())
        assert ready, f"`{line}` is no ready line; its log:\n{log.read_text()}"
        return Dev(*ready.groups(), process)
    except BaseException:
        stop(process)
        raise


def first_line(process: subprocess.Popen) -> str:
    """The first line on stdout, or nothing if the process ends or takes too long."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        return lines.get(timeout=PATIENCE)
    except queue.Empty:
        return ""


def stop(process: subprocess.Popen) -> None:
    """Kills the process and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=PATIENCE)


@pytest.fixture(scope="session")
def dev(tmp_path_factory) -> Dev:
    """One `tidegate dev` with the sample site, for all tests that break nothing."""
    running = start_dev(tmp_path_factory.mktemp("dev") / "log")
    yield running
    stop(running.process)


@pytest.fixture(scope="session")
def channel(dev):
    """A channel to its control plane."""
    with grpc.insecure_channel(dev.grpc) as channel:
        yield channel


@pytest.fixture
def cache(api, channel):
    """CacheService."""
    return api.cache_pb2_grpc.CacheServiceStub(channel)


@pytest.fixture
def sites(api, channel):
    """SiteService."""
    return api.site_pb2_grpc.SiteServiceStub(channel)


@pytest.fixture
def fleet(api, channel):
    """FleetService."""
    return api.fleet_pb2_grpc.FleetServiceStub(channel)
