"""Reads the details of a refused call, which are `google.rpc` messages."""

import grpc
from google.rpc import error_details_pb2, status_pb2

KEY = "grpc-status-details-bin"


def bad_request(error: grpc.RpcError) -> list:
    """The field violations of a refused call."""
    found = []
    for name, value in error.trailing_metadata() or ():
        if name != KEY:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            message = error_details_pb2.BadRequest()
            if detail.Unpack(message):
                found.extend(message.field_violations)
    return found
