"""The control plane is what gRPC tools expect: health and reflection."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

DEADLINE = 20
SERVICES = ["SiteService", "CacheService", "EdgeService", "FleetService", "AdminService"]


def test_it_says_that_it_serves(channel):
    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_every_service_with_its_descriptors(api, channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {f"tidegate.v1.{name}" for name in SERVICES} <= set(database.get_services())
    found = database.FindFileContainingSymbol("tidegate.v1.CacheService")
    methods = [method.name for service in found.service for method in service.method]
    own = api.cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
    assert methods == [method.name for method in own.methods]


def test_a_call_that_is_not_there_is_unimplemented(channel):
    call = channel.unary_unary("/tidegate.v1.CacheService/Frobnicate")
    try:
        call(b"", timeout=DEADLINE)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    else:
        raise AssertionError("it was answered")
