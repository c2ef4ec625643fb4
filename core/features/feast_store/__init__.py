"""Feast's plug-ins: name a class below as `type` of a store in `feature_store.yaml`, and Feast's language stays."""

from mainspring.core.features.feast_store.offline import MainspringOfflineStore, MainspringOfflineStoreConfig
from mainspring.core.features.feast_store.online import MainspringOnlineStore, MainspringOnlineStoreConfig
from mainspring.core.features.feast_store.sql_source import SqlSource

__all__ = [
    "MainspringOfflineStore",
    "MainspringOfflineStoreConfig",
    "MainspringOnlineStore",
    "MainspringOnlineStoreConfig",
    "SqlSource",
]
