"""The AWS stand-in (moto) as the AWS provider sees it, and what every kind of AWS resource has in common."""

# ruff: noqa: ARG002 - what one kind does not need of the arguments, another one does

import contextlib
import ipaddress
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from sandbox.providers.plugin import InvalidInput, ProviderError

Inputs = dict[str, Any]

_ACCOUNT = re.compile(r"\d{12}")

_NO_ENDPOINT = (
    "the sandbox's AWS provider talks to a stand-in for AWS only, never to AWS itself, and knows no address of one: "
    'set aws:endpoints in the stack file, or AWS_ENDPOINT_URL (`eval "$(make -s env)"` does)'
)


class Gone(Exception):
    """The resource does not exist (any more)."""


@dataclass(frozen=True)
class Cloud:
    """Clients of one configured stand-in."""

    region: str
    endpoints: Mapping[str, str]
    access_key: str
    secret_key: str = field(repr=False)
    default_tags: Mapping[str, str] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def client(self, service: str) -> Any:
        """A boto3 client; one per service, for all threads."""
        import boto3  # noqa: PLC0415 - a preview of what is not there yet asks nothing of AWS
        from botocore.config import Config  # noqa: PLC0415

        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service,
                    region_name=self.region,
                    endpoint_url=self.endpoint(service),
                    aws_access_key_id=self.access_key,
                    aws_secret_access_key=self.secret_key,
                    config=Config(
                        s3={"addressing_style": "path"},
                        retries={"max_attempts": 3},
                        connect_timeout=5,
                        max_pool_connections=32,
                        proxies={} if _is_local(self.endpoint(service)) else None,
                    ),
                )
            return self._clients[service]

    def endpoint(self, service: str) -> str:
        """Where a service is. Raises ProviderError rather than let boto3 choose AWS."""
        address = self.endpoints.get(service) or self.endpoints.get("")
        if not address:
            raise ProviderError(f"no endpoint for {service}: {_NO_ENDPOINT}")
        return address

    def account(self) -> str:
        """The account all of it belongs to."""
        return str(self.client("sts").get_caller_identity()["Account"])


def configure(inputs: Mapping[str, Any]) -> Cloud:
    """From the provider's inputs, else the environment. Raises InvalidInput or ProviderError."""
    endpoints = _endpoints(inputs)
    if not endpoints:
        raise ProviderError(_NO_ENDPOINT)
    for service, address in endpoints.items():
        host = urlsplit(address).hostname or ""
        if host == "amazonaws.com" or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
            raise InvalidInput("endpoints", f"{service or 'AWS_ENDPOINT_URL'} is AWS itself ({address}). {_NO_ENDPOINT}")
        if not host or not address.startswith(("http://", "https://")):
            raise InvalidInput("endpoints", f"{service or 'AWS_ENDPOINT_URL'} is no address: {address!r}")
    region = inputs.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise InvalidInput("region", "is missing: set aws:region in the stack file, or AWS_REGION")
    default_tags = decoded(inputs, "defaultTags", {}) or {}
    if not isinstance(default_tags, Mapping) or not isinstance(default_tags.get("tags") or {}, Mapping):
        raise InvalidInput("defaultTags", f"must be a map with tags, not {default_tags!r}")
    _accounts(inputs)
    return Cloud(
        region=str(region),
        endpoints=endpoints,
        access_key=str(inputs.get("accessKey") or os.environ.get("AWS_ACCESS_KEY_ID") or "sandbox"),
        secret_key=str(inputs.get("secretKey") or os.environ.get("AWS_SECRET_ACCESS_KEY") or "sandbox"),
        default_tags=default_tags.get("tags") or {},
    )


def require_account(cloud: Cloud, inputs: Mapping[str, Any]) -> None:
    """Refuses to work in an account that the program does not mean. Raises InvalidInput, as the official provider would."""
    allowed, forbidden = _accounts(inputs)
    if not allowed and not forbidden:
        return
    account = cloud.account()
    if account in forbidden or (allowed and account not in allowed):
        raise InvalidInput("allowedAccountIds" if allowed else "forbiddenAccountIds", f"AWS account ID not allowed: {account}")


def _accounts(inputs: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The allowed accounts and the forbidden ones."""
    found = []
    for name in ("allowedAccountIds", "forbiddenAccountIds"):
        accounts = decoded(inputs, name, []) or []
        if not isinstance(accounts, list):
            raise InvalidInput(name, f"must be a list of account ids, not {accounts!r}")
        for account in accounts:
            if not isinstance(account, str) or not _ACCOUNT.fullmatch(account):
                raise InvalidInput(name, f"{account!r} is no account id: twelve digits, as a text")
        found.append(accounts)
    if all(found):
        raise InvalidInput("forbiddenAccountIds", "cannot be given together with allowedAccountIds")
    return found[0], found[1]


class Kind:
    """One type of AWS resource: how to make, look at, change and remove it, in terms of its Pulumi inputs."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    may_be_empty: tuple[str, ...] = ()  # of the required ones
    # A change of these needs a new resource.
    force_new: tuple[str, ...] = ()
    # What `read` finds out; the other inputs are taken to be as they were.
    readable: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()  # inputs that hold JSON
    defaults: Mapping[str, Any] = {}  # where nothing is not the same as false or empty
    name: str = ""  # the input that gets a generated name where the program gives none
    name_start: str = ""  # what a generated name has to begin with
    longest_name = 64
    taggable = False

    def create(self, cloud: Cloud, inputs: Inputs) -> str:
        """Makes it and returns its id. Where AWS refuses a second one of a name, so does this: what is there already is somebody's."""
        raise NotImplementedError

    def update(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        """Makes it as the inputs say."""
        raise NotImplementedError

    def read(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        """The readable inputs as they are now, without defaults. Raises Gone."""
        raise NotImplementedError

    def delete(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> None:
        """Removes it; Gone, where it raises it, is fine."""
        raise NotImplementedError

    def outputs(self, cloud: Cloud, resource_id: str, inputs: Inputs) -> Inputs:
        """What the state holds in addition to the inputs."""
        return {}

    def problems(self, inputs: Inputs) -> Iterator[InvalidInput]:
        """What is wrong with the values of inputs, beyond what every kind checks."""
        yield from ()


def tags_of(cloud: Cloud, inputs: Mapping[str, Any]) -> dict[str, str]:
    """The tags on the resource: the provider's default ones and its own."""
    return {**cloud.default_tags, **(inputs.get("tags") or {})}


def as_tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as the API takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def own_tags(cloud: Cloud, tags: list[dict[str, str]], inputs: Mapping[str, Any]) -> dict[str, str]:
    """Of the live tags those that are not there because of the provider's defaults."""
    wanted = inputs.get("tags") or {}
    return {tag["Key"]: tag["Value"] for tag in tags if tag["Key"] in wanted or cloud.default_tags.get(tag["Key"]) != tag["Value"]}


def same_document(one: Any, other: Any) -> bool:
    """Whether two JSON texts say the same."""
    try:
        return bool(_canonical(json.loads(one)) == _canonical(json.loads(other)))
    except (TypeError, ValueError):
        return bool(one == other)


def code(error: ClientError) -> str:
    """The error code AWS gives."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def gone_if(*codes: str) -> Iterator[None]:
    """Makes Gone of the errors by which a service says that something is not there."""
    try:
        yield
    except ClientError as error:
        if code(error) in codes:
            raise Gone from None
        raise


def explain(error: Exception) -> Exception:
    """A boto3 exception as a sentence, another as it is."""
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - large, and there by now

    if isinstance(error, ClientError):
        return ProviderError(": ".join(filter(None, (error.operation_name, code(error), error.response.get("Error", {}).get("Message")))))
    if isinstance(error, EndpointConnectionError):
        address = error.kwargs.get("endpoint_url", "")
        return ProviderError(f"the sandbox's AWS at {address} do not answer; `make up` starts them")
    if isinstance(error, ResponseParserError):
        return ProviderError("what answers at the endpoint of the sandbox's AWS is not AWS-like; `make up` starts them")
    return ProviderError(str(error)) if isinstance(error, BotoCoreError) else error


def decoded(inputs: Mapping[str, Any], name: str, default: Any) -> Any:
    """A provider input that is no string: it arrives as JSON from the SDK and from the stack file."""
    value = inputs.get(name, default)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise InvalidInput(name, f"is not JSON: {value!r}") from None


def _endpoints(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Addresses by service; the empty name stands for all services."""
    found = {"": os.environ.get("AWS_ENDPOINT_URL", "")}
    for service in ("s3", "iam", "sts", "kms", "eks"):
        found[service] = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}", "")
    given = decoded(inputs, "endpoints", []) or []
    for group in given if isinstance(given, list) else [given]:
        if not isinstance(group, Mapping):
            raise InvalidInput("endpoints", f"must be a list of maps from service to address, not {given!r}")
        found.update({service: str(address) for service, address in group.items() if address})
    return {service: address for service, address in found.items() if address}


def _is_local(address: str) -> bool:
    """A proxy for the internet does not reach this machine's own addresses."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def _canonical(document: Any) -> Any:
    """AWS writes a list of one as its element, and orders as it likes."""
    if isinstance(document, dict):
        return {key: _canonical(value) for key, value in document.items()}
    if isinstance(document, list):
        items = sorted((_canonical(item) for item in document), key=lambda item: json.dumps(item, sort_keys=True))
        return items[0] if len(items) == 1 else items
    return document
