"""Invalidating from Python does what the contract says."""

import grpc
import pytest
from details import bad_request

DEADLINE = 20  # seconds; longer than the call itself waits


def test_an_invalidation_gets_a_revision_and_a_cursor(api, cache):
    request = api.cache_pb2.InvalidateRequest(site="dev", tags=["item:42"])
    first = cache.Invalidate(request, timeout=DEADLINE)
    second = cache.Invalidate(request, timeout=DEADLINE)
    assert second.revision == first.revision + 1 and first.revision > 0
    assert first.cursor and first.cursor != second.cursor
    assert first.status == api.site_pb2.COMPLETION_STATUS_ACCEPTED
    assert not first.edges


def test_waiting_for_all_edges_completes_with_the_edge_of_dev(api, cache, fleet):
    answer = cache.Invalidate(
        api.cache_pb2.InvalidateRequest(
            site="dev", tags=["item:*"], wait_for=api.site_pb2.WAIT_FOR_ALL_EDGES
        ),
        timeout=DEADLINE,
    )
    assert answer.status == api.site_pb2.COMPLETION_STATUS_COMPLETE
    assert [edge.outcome for edge in answer.edges] == [api.site_pb2.EDGE_OUTCOME_KIND_APPLIED]
    listed = fleet.ListEdges(api.fleet_pb2.ListEdgesRequest(), timeout=DEADLINE)
    assert [edge.edge_id for edge in listed.edges] == [edge.edge_id for edge in answer.edges]
    assert listed.edges[0].applied >= answer.revision


def test_the_same_key_is_the_same_invalidation(api, cache):
    request = api.cache_pb2.InvalidateRequest(
        site="dev", tags=["item:1"], idempotency_key="python-once"
    )
    first = cache.Invalidate(request, timeout=DEADLINE)
    again = cache.Invalidate(request, timeout=DEADLINE)
    assert (again.revision, again.cursor) == (first.revision, first.cursor)
    request.tags.append("item:2")
    with pytest.raises(grpc.RpcError) as refused:
        cache.Invalidate(request, timeout=DEADLINE)
    assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_an_invalidation_is_on_the_audit_trail(api, cache):
    answer = cache.Invalidate(
        api.cache_pb2.InvalidateRequest(
            site="dev",
            tags=["article:7"],
            urls=["/news?page=2"],
            mode=api.cache_pb2.INVALIDATION_MODE_SOFT,
            reason="a correction",
        ),
        timeout=DEADLINE,
    )
    trail = cache.ListInvalidations(
        api.cache_pb2.ListInvalidationsRequest(site="dev", page_size=1), timeout=DEADLINE
    )
    record = trail.invalidations[0]
    assert record.revision == answer.revision
    assert record.reason == "a correction"
    assert record.mode == api.cache_pb2.INVALIDATION_MODE_SOFT
    assert record.cause == api.cache_pb2.INVALIDATION_CAUSE_CALL
    assert set(record.patterns) == {"article:7", "url:/news?page=2"}
    assert record.time.seconds > 0 and record.caller


def test_cascade_widens_and_a_preview_changes_nothing(api, cache):
    before = cache.GetHead(api.cache_pb2.GetHeadRequest(), timeout=DEADLINE).revision
    preview = cache.PreviewInvalidation(
        api.cache_pb2.PreviewInvalidationRequest(site="dev", tags=["item"], cascade=True),
        timeout=DEADLINE,
    )
    assert set(preview.patterns) == {"item", "item:*"}
    assert cache.GetHead(api.cache_pb2.GetHeadRequest(), timeout=DEADLINE).revision == before


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tags", {"tags": ["two words"]}),
        ("tags", {"tags": ["a,b"]}),
        ("tags", {"tags": ["x" * 257]}),
        ("tags", {"tags": [f"item:{n}" for n in range(1001)]}),
        ("urls", {"urls": ["no slash"]}),
        ("reason", {"tags": ["a"], "reason": "x" * 1025}),
        ("idempotency_key", {"tags": ["a"], "idempotency_key": "x" * 129}),
        ("tags", {}),
    ],
    ids=["space", "comma", "long", "many", "url", "reason", "key", "none"],
)
def test_bad_input_names_the_field_and_what_is_allowed(api, cache, field, change):
    with pytest.raises(grpc.RpcError) as refused:
        cache.Invalidate(
            api.cache_pb2.InvalidateRequest(site="dev", **change), timeout=DEADLINE
        )
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    violations = bad_request(refused.value)
    assert violations, refused.value.details()
    assert violations[0].field.split("[")[0] == field
    # A sentence for a person, without the whole of what was wrong.
    assert 10 < len(violations[0].description) < 600


def test_an_unknown_site_is_not_found(api, cache):
    with pytest.raises(grpc.RpcError) as refused:
        cache.Invalidate(
            api.cache_pb2.InvalidateRequest(site="elsewhere", tags=["a"]), timeout=DEADLINE
        )
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "elsewhere" in refused.value.details()


def test_a_refused_call_leaves_no_trace(api, cache):
    before = cache.GetHead(api.cache_pb2.GetHeadRequest(), timeout=DEADLINE).revision
    with pytest.raises(grpc.RpcError):
        cache.Invalidate(
            api.cache_pb2.InvalidateRequest(site="dev", tags=["good", "not good"]),
            timeout=DEADLINE,
        )
    assert cache.GetHead(api.cache_pb2.GetHeadRequest(), timeout=DEADLINE).revision == before
