"""A backend: `invalidate.py HOST:PORT SITE TAG` invalidates, waits for all edges, and
prints what came of it as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import grpc

import stubs


def main(address: str, site: str, tag: str) -> None:
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(address) as channel:
        api = stubs.load(Path(out))
        done = api.cache_pb2_grpc.CacheServiceStub(channel).Invalidate(
            api.cache_pb2.InvalidateRequest(
                site=site, tags=[tag], wait_for=api.site_pb2.WAIT_FOR_ALL_EDGES
            ),
            timeout=30,
        )
        outcome = api.site_pb2.EdgeOutcomeKind.Name
        print(
            json.dumps(
                {
                    "revision": done.revision,
                    "cursor": done.cursor,
                    "status": api.site_pb2.CompletionStatus.Name(done.status),
                    "edges": {edge.edge_id: outcome(edge.outcome) for edge in done.edges},
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
