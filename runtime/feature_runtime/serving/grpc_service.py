"""gRPC: Feast's standard `feast.serving.ServingService`, beside HTTP in the same process.

Promises the same as HTTP: the same plan, the same reading, the same rules and the same words when a request is refused.
Values are handed on as the online store has them. A client may send the contract's hash in the metadata `feast-contract`
and gets it back there; a refusal names every field and rule as `google.rpc.BadRequest` in the standard status details.
"""

import json
import time
import traceback
from base64 import b64encode
from importlib.metadata import version
from typing import Any

import grpc
from feast.protos.feast.serving.ServingService_pb2 import (
    GetFeastServingInfoRequest,
    GetFeastServingInfoResponse,
    GetOnlineFeaturesRequest,
    GetOnlineFeaturesResponse,
)
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.message import DecodeError, Message

from feature_runtime.serving.answer import Judged
from feature_runtime.serving.grpc_health import SERVICE as HEALTH_SERVICE
from feature_runtime.serving.grpc_health import Health
from feature_runtime.serving.redis_reader import StoreAway
from feature_runtime.serving.refused import Busy, Refused, problem, shown
from feature_runtime.serving.server import FeatureServer
from feature_runtime.value_types.checks import Base64, Text

SERVICE = "feast.serving.ServingService"
ENDPOINT = f"/{SERVICE}/GetOnlineFeatures"
CONNECTION_SECONDS = 5.0
"""A client keeps its connection, and so its replica. Told to connect again this often it has left a pod that is to end, and has
long been no part of the Service, before the pod stops: a request that meets a stopping server would be lost."""
MOST_CALLS = 1000
MOST_CALLS_OF_A_CONNECTION = 100
"""At once; more wait at the client."""
CONTRACT = "feast-contract"
STATUS_DETAILS = "grpc-status-details-bin"
MOST_MESSAGE_BYTES = 1024
MOST_VIOLATION_BYTES = 2048
"""Metadata is at most 8 KiB: the message, where each byte can take three, and the details with its beginning, in base64."""
LONGEST_TEXT = 200

CODES = {404: grpc.StatusCode.NOT_FOUND, 412: grpc.StatusCode.FAILED_PRECONDITION}
"""By the status that HTTP answers; all others are INVALID_ARGUMENT."""


async def start(server: FeatureServer, port: int, *, max_body_kib: int) -> grpc.aio.Server:
    """Listen on every address of the machine; `stop(grace)` of what is returned lets running requests end.

    Raises:
        RuntimeError: the port is taken.
    """
    listening = grpc.aio.server(
        maximum_concurrent_rpcs=MOST_CALLS,
        options=[
            ("grpc.max_concurrent_streams", MOST_CALLS_OF_A_CONNECTION),
            ("grpc.max_receive_message_length", max_body_kib * 1024),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", int(CONNECTION_SECONDS * 1000)),
            ("grpc.max_connection_age_grace_ms", 10_000),
        ],
    )
    service = ServingService(server)
    handlers = {
        # Messages are parsed here, where what is malformed can be refused: gRPC itself would call it an internal error.
        "GetFeastServingInfo": grpc.unary_unary_rpc_method_handler(service.info, response_serializer=_serialized),
        "GetOnlineFeatures": grpc.unary_unary_rpc_method_handler(service.online_features, response_serializer=_serialized),
    }
    health = Health((SERVICE,), server.unready, lambda: server.draining)
    listening.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, handlers),
            grpc.method_handlers_generic_handler(HEALTH_SERVICE, health.handlers()),
        )
    )
    listening.add_insecure_port(f"[::]:{port}")
    await listening.start()
    return listening


class ServingService:
    """The methods of `feast.serving.ServingService`."""

    def __init__(self, server: FeatureServer) -> None:
        self._server = server

    async def info(self, body: bytes, context: grpc.aio.ServicerContext) -> GetFeastServingInfoResponse:
        """The version of Feast whose answers these are like."""
        await _parsed(GetFeastServingInfoRequest, body, context)
        return GetFeastServingInfoResponse(version=version("feast"))

    async def online_features(self, body: bytes, context: grpc.aio.ServicerContext) -> GetOnlineFeaturesResponse:
        """The vectors of a feature service or of a list of features."""
        started = time.perf_counter()
        outcome = "refused"
        failure: tuple[Any, ...] = ()
        try:
            request = GetOnlineFeaturesRequest.FromString(body)
            contract = dict(context.invocation_metadata() or ()).get(CONTRACT)
            judged = await self._server.judged(asked(request), contract)
            response = answered(judged, request)
            self._server.metrics.statuses(judged.tally)
            if sha256 := judged.asked.question.sha256:
                await context.send_initial_metadata(((CONTRACT, sha256),))
            outcome = "success"
        except DecodeError:
            failure = (grpc.StatusCode.INVALID_ARGUMENT, f"the message is no {GetOnlineFeaturesRequest.DESCRIPTOR.full_name}")
        except Refused as refused:
            code = CODES.get(refused.status, grpc.StatusCode.INVALID_ARGUMENT)
            failure = (code, _message(refused), ((STATUS_DETAILS, status_details(code, refused)),))
        except (StoreAway, Busy) as later:
            outcome = "error"
            failure = (grpc.StatusCode.UNAVAILABLE, str(later), (("retry-after", "1"),))
        except Exception:  # noqa: BLE001  answered, whatever it is
            traceback.print_exc()
            outcome = "error"
            failure = (grpc.StatusCode.INTERNAL, "the server failed to answer; its log says why")
        self._server.metrics.observe(ENDPOINT, outcome, time.perf_counter() - started)
        if failure:
            await context.abort(*failure)
        return response


def _serialized(message: Message) -> bytes:
    content: bytes = message.SerializeToString()
    return content


async def _parsed(kind: type[Message], body: bytes, context: grpc.aio.ServicerContext) -> None:
    try:
        kind.FromString(body)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is no {kind.DESCRIPTOR.full_name}")


def asked(request: GetOnlineFeaturesRequest) -> dict[str, Any]:
    """The request as HTTP has it.

    Raises:
        Refused: a name among both the entities and the request context.
    """
    columns: dict[str, Any] = {name: [python_value(value) for value in column.val] for name, column in request.entities.items()}
    for name, column in request.request_context.items():
        if name in columns:
            rule = "a name is in entities or in request_context, not in both"
            raise Refused(422, [problem(f"request_context.{shown(name)}", None, rule, "Send it once.")])
        columns[name] = [python_value(value) for value in column.val]
    plain: dict[str, Any] = {
        "entities": columns,
        "full_feature_names": request.full_feature_names,
        "include_feature_view_version_metadata": request.include_feature_view_version_metadata,
    }
    match request.WhichOneof("kind"):
        case "feature_service":
            plain["feature_service"] = request.feature_service
        case "features":
            plain["features"] = list(request.features.val)
    return plain


def python_value(value: Value) -> Any:
    """A protobuf value as JSON would have brought it, None for nothing; its type is then judged as that of any other."""
    kind = value.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    held = getattr(value, kind)
    if kind == "bytes_val":
        return Base64(b64encode(held).decode())
    if kind == "string_val":
        return Text(held)
    return list(held.val) if kind.endswith(("_list_val", "_set_val")) else held


def answered(judged: Judged, request: GetOnlineFeaturesRequest) -> GetOnlineFeaturesResponse:
    """The protobuf answer: stored values as they are stored, entities as they were sent."""
    response = GetOnlineFeaturesResponse(status=True)
    for column in judged.columns():
        response.metadata.feature_names.val.append(column.name)
        vector = response.results.add()
        if column.is_entity:
            vector.values.extend(request.entities[column.name].val)
        else:
            vector.values.extend([Value.FromString(stored or b"") for stored in column.values])
        vector.statuses.extend(column.statuses)
        for seconds, nanos, _ in column.times:
            vector.event_timestamps.add(seconds=seconds, nanos=nanos)
    if judged.asked.versions:
        metadata = json.loads(b"{" + judged.asked.question.metadata_with_versions[1:])["metadata"]
        for view in metadata["feature_view_metadata"]:
            response.metadata.feature_view_metadata.add(**view)
    return response


def status_details(code: grpc.StatusCode, refused: Refused) -> bytes:
    """A serialized `google.rpc.Status` with one `google.rpc.BadRequest`: (field, description) of what is refused, as far as there is room.

    Both are part of every gRPC library but of no package of this image, and of two fields each; so they are written here.
    """
    violations = b""
    for error in refused.errors:
        content = _field(1, str(error["field"])[:LONGEST_TEXT]) + _field(2, f"{error['rule']}; {error['remedy']}"[:LONGEST_TEXT])
        if len(violations) + len(content) > MOST_VIOLATION_BYTES:
            break
        violations += _field(1, content)
    bad_request = _field(1, "type.googleapis.com/google.rpc.BadRequest") + _field(2, violations)
    return b"\x08" + _varint(code.value[0]) + _field(2, refused.detail[:LONGEST_TEXT]) + _field(3, bad_request)


def _message(refused: Refused) -> str:
    content = refused.detail.encode()
    return refused.detail if len(content) <= MOST_MESSAGE_BYTES else content[:MOST_MESSAGE_BYTES].decode(errors="ignore") + "…"


def _field(number: int, content: bytes | str) -> bytes:
    """A protobuf field of bytes, text or a message."""
    data = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
