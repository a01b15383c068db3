"""Rules for single values, each with the limit's source where it is somebody else's."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from feast_eks.settings.schedule import refusal_of_schedule
from feast_eks.settings.section import broken_rule

HIGHEST_PORT = 65_535
HOST_NAME = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
LONGEST_HOST_NAME = 253

RESERVED_NAMESPACES = re.compile(r"default|kube-.*")

LABEL_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"

# https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
MOST_TAGS = 50
TAG_KEY = r"[A-Za-z0-9 _.:/=+@-]{1,128}"
TAG_VALUE = r"[A-Za-z0-9 _.:/=+@-]{0,256}"


@dataclass(frozen=True)
class Matches:
    """The whole text matches a pattern; editors learn it from the schema."""

    pattern: str
    rule: str
    remedy: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the text is known to be one."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same pattern, for the stack files' schema."""
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise broken_rule(self.rule, self.remedy)
        return value


def _cron(value: str) -> str:
    if refusal := refusal_of_schedule(value):
        raise broken_rule(refusal, 'minute hour day month weekday, e.g. "0 2 * * *" for 02:00 every night')
    return value


def _namespace(value: str) -> str:
    if RESERVED_NAMESPACES.fullmatch(value):
        raise broken_rule("a namespace that the program can make and close; this one is Kubernetes' own", "choose another name, e.g. feast")
    return value


def _bucket(value: str) -> str:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if (
        not re.fullmatch(rf"(?=.{{3,63}}$){label}(\.{label})*", value)
        or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", value)
        or value.startswith(("xn--", "sthree-", "amzn-s3-demo-"))
        or value.endswith(("-s3alias", "--ol-s3", "--x-s3", "--table-s3"))
    ):
        raise broken_rule("an S3 bucket name: 3 to 63 lower-case letters, digits, '.' or '-'", "choose another name")
    return value


def _endpoint(value: str) -> str:
    match = re.fullmatch(rf"https?://{HOST_NAME}(?::(?P<port>[0-9]{{1,5}}))?", value)
    if not match or not 1 <= int(match["port"] or 1) <= HIGHEST_PORT:
        raise broken_rule("http(s)://host or http(s)://host:port, without a path", "e.g. https://minio.example.com:9000")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(HOST_NAME, value) or len(value) > LONGEST_HOST_NAME or _is_instance_metadata(value):
        raise broken_rule("a host name or an IPv4 address, without scheme and port", "e.g. feast.abc123.eu-west-1.rds.amazonaws.com")
    return value


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= HIGHEST_PORT:
        raise broken_rule("host:port", "e.g. master.feast.abc123.euw1.cache.amazonaws.com:6379")
    _host(host)
    return value


def _is_instance_metadata(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _project_path(value: str) -> str:
    if not value or value.startswith(("/", "~")) or "\\" in value or "\0" in value or ".." in value.split("/"):
        raise broken_rule("a path inside the project, relative to it", "move the file into the project, and write its path from there")
    return value


def _account(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise broken_rule("12 digits, as text", 'write it in quotes, e.g. account_id: "123456789012"')
    return value


def _tags(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MOST_TAGS:
        raise broken_rule(f"at most {MOST_TAGS} tags, AWS's limit", "keep those that somebody looks for")
    for key, text in value.items():
        if key.lower().startswith("aws:"):
            raise broken_rule(f"tag keys do not begin with aws:, which is AWS's own; {key!r} does", "rename the key")
        if not re.fullmatch(TAG_KEY, key) or not re.fullmatch(TAG_VALUE, text):
            raise broken_rule(
                "tag keys of 1 to 128 and values of at most 256 letters, digits, spaces or _.:/=+-@", f"change the tag {key[:128]!r}"
            )
    if len({key.lower() for key in value}) < len(value):
        raise broken_rule("tag keys that differ by more than case: IAM takes them for the same", "keep one of them")
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(LABEL_VALUE, text):
            raise broken_rule("Kubernetes labels: at most 63 letters, digits, '-', '_' or '.'", f"change the label {key[:63]!r}")
    return value


_DNS_LABEL = Matches(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "a DNS label: lower-case letters, digits and '-', at most 63",
    "choose another name, e.g. feast",
)

DnsLabel = Annotated[str, _DNS_LABEL]
NamespaceName = Annotated[str, _DNS_LABEL, AfterValidator(_namespace)]
ObjectName = Annotated[
    str,
    Matches(
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "the name of a Kubernetes object", "lower-case letters, digits, '-' and '.', e.g. gp3"
    ),
]
ContextName = Annotated[str, Matches(r"[!-~]{1,253}", "a kubeconfig context, without spaces", "`kubectl config get-contexts` lists them")]
BucketName = Annotated[str, AfterValidator(_bucket)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
WebPage = Annotated[
    str, Matches(rf"https://{HOST_NAME}(/[!-~]*)?", "an https:// address", "e.g. https://wiki.example.com/feast/operations")
]
Host = Annotated[str, AfterValidator(_host)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
DatabaseName = Annotated[
    str,
    Matches(
        r"[a-z_][a-z0-9_]{0,62}", "a PostgreSQL name: lower-case letters, digits and '_', at most 63", "choose another name, e.g. feast"
    ),
]
CronSchedule = Annotated[str, AfterValidator(_cron)]
ProjectPath = Annotated[str, AfterValidator(_project_path)]
Tags = Annotated[dict[str, str], AfterValidator(_tags)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]

AccountId = Annotated[str, BeforeValidator(_account), Matches(r"[0-9]{12}", "12 digits", "`aws sts get-caller-identity` shows it")]
Region = Annotated[str, Matches(r"[a-z]{2}(-[a-z]+){1,3}-[0-9]{1,2}", "an AWS region", "e.g. eu-west-1")]
# https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
EksName = Annotated[
    str,
    Matches(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", "an EKS cluster name: letters, digits, '-' and '_'", "`aws eks list-clusters` shows them"),
]
KmsKeyArn = Annotated[
    str,
    Matches(
        r"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,128}",
        "the ARN of a KMS key, not of an alias",
        "`aws kms describe-key --key-id …` shows it: arn:aws:kms:REGION:ACCOUNT:key/ID",
    ),
]
PolicyArn = Annotated[
    str,
    Matches(
        r"arn:aws(-[a-z]+)*:iam::([0-9]{12}|aws):policy/[!-~]{1,640}",
        "the ARN of an IAM policy",
        "`aws iam list-policies` shows them: arn:aws:iam::ACCOUNT:policy/NAME",
    ),
]
