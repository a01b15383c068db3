"""The parts of a feature store, one module per noun.

Decisions import nothing of Pulumi: addresses, charts, contract,
feature_store_yaml, network, refusal, runtime_image, workload. Settings is what people choose.
Components wrap them: Cluster, Namespace, Identities, OfflineStore, Registry, OnlineStore, FeatureDefinitions,
Materialization, FeatureServer, SmokeTest. FeatureStore composes them in the order of the data flow.
"""
