"""The AWS account that the feature store's bucket, key and roles are in, as the one provider that makes them."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from feast_eks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class AwsAccountArgs:
    """`credentials`: `{access_key_id, secret_access_key}` of an S3-compatible store, None for AWS."""

    settings: Settings
    credentials: pulumi.Output[dict[str, str]] | None


class AwsAccount(pulumi.ComponentResource):
    """A connection to one account and one region, or to an S3-compatible store in place of them."""

    provider: aws.Provider
    """Pass it on with `ResourceOptions(providers=[…])`; nothing else makes one."""

    def __init__(self, name: str, args: AwsAccountArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:AwsAccount", name, {}, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        tags = {"tags": settings.tags} if settings.tags else None
        account = settings.aws.account_id
        if settings.offline_store.endpoint_url and args.credentials:
            self.provider = aws.Provider(
                f"{name}-provider",
                region=settings.aws.region,
                default_tags=tags,
                endpoints=[{"s3": settings.offline_store.endpoint_url}],
                # Such a store is one host name, and knows no accounts.
                s3_use_path_style=True,
                skip_credentials_validation=True,
                skip_requesting_account_id=True,
                skip_metadata_api_check=True,
                skip_region_validation=True,
                access_key=args.credentials["access_key_id"],
                secret_key=args.credentials["secret_access_key"],
                opts=child,
            )
        else:
            self.provider = aws.Provider(
                f"{name}-provider",
                region=settings.aws.region,
                default_tags=tags,
                allowed_account_ids=[account] if account else None,
                opts=child,
            )
        self.register_outputs({})
