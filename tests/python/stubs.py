"""Python modules generated from proto/, as any caller would make them."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]


def load(out: Path) -> SimpleNamespace:
    """Generates the modules into a folder: `load(out).cache_pb2`."""
    files = sorted((ROOT / "proto/tidegate/v1").glob("*.proto"))
    assert files, "proto/tidegate/v1 is empty"
    code = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}"]
        + ["-I" + str(Path(protoc.__file__).parent / "_proto")]
        + [str(file.relative_to(ROOT / "proto")) for file in files]
    )
    assert code == 0
    sys.path.insert(0, str(out))
    names = [f"{file.stem}_pb2{kind}" for file in files for kind in ("", "_grpc")]
    return SimpleNamespace(
        **{name: importlib.import_module(f"tidegate.v1.{name}") for name in names}
    )
