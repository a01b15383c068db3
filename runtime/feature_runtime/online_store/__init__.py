"""The online store of the pods: Feast's Redis store with writes in bulk, and beside the values the records of loads and of skew."""

from feature_runtime.online_store.store import Keep, PipelinedRedisOnlineStore, PipelinedRedisOnlineStoreConfig

__all__ = ["Keep", "PipelinedRedisOnlineStore", "PipelinedRedisOnlineStoreConfig"]
