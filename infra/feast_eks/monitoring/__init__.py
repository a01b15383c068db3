"""What tells people that something is wrong, before a model notices: metrics read, alerts, a dashboard.

`Monitoring` is the component; what it registers is decided by `scraping`, `alerts` and `dashboard`, which are pure.
"""

from feast_eks.monitoring.component import Monitoring, MonitoringArgs, required_kinds

__all__ = ["Monitoring", "MonitoringArgs", "required_kinds"]
