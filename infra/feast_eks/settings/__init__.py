"""What people choose, per environment: the only reader of the stack file.

The tree, its rules, the secrets that stand beside it, and how all of it is read.
"""

from feast_eks.settings.reading import load_settings, parse_settings, refusals_without_traceback
from feast_eks.settings.rules import TAG_KEY, TAG_VALUE
from feast_eks.settings.schedule import longest_gap, refusal_of_schedule
from feast_eks.settings.secrets import (
    SECRET_KEYS,
    SHAPES,
    offline_store_credentials,
    online_store_users,
    registry_administrator,
    shape_problems,
)
from feast_eks.settings.section import Contradiction, Section
from feast_eks.settings.sources import ChartSettings, ImageSettings, PinnedImageSettings
from feast_eks.settings.stores import (
    ExternalOnlineStoreSettings,
    ExternalRegistrySettings,
    OfflineStoreSettings,
    OnlineStoreSettings,
    RegistrySettings,
)
from feast_eks.settings.tree import AwsSettings, ClusterSettings, MonitoringSettings, Settings
from feast_eks.settings.workloads import FeatureServerSettings, MaterializationSettings, SkewProbeSettings, SmokeTestSettings

__all__ = [
    "SECRET_KEYS",
    "SHAPES",
    "TAG_KEY",
    "TAG_VALUE",
    "AwsSettings",
    "ChartSettings",
    "ClusterSettings",
    "Contradiction",
    "ExternalOnlineStoreSettings",
    "ExternalRegistrySettings",
    "FeatureServerSettings",
    "ImageSettings",
    "MaterializationSettings",
    "MonitoringSettings",
    "OfflineStoreSettings",
    "OnlineStoreSettings",
    "PinnedImageSettings",
    "RegistrySettings",
    "Section",
    "Settings",
    "SkewProbeSettings",
    "SmokeTestSettings",
    "load_settings",
    "longest_gap",
    "offline_store_credentials",
    "online_store_users",
    "parse_settings",
    "refusal_of_schedule",
    "refusals_without_traceback",
    "registry_administrator",
    "shape_problems",
]
