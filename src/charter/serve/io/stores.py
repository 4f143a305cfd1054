"""From the address of a feature store to the store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from charter.core.errors import UsageError
from charter.data.io.addresses import expand, scheme
from charter.features.featureset import FeatureSet
from charter.features.windows import window_names
from charter.serve.bundle import Bundle
from charter.serve.online import Lookup
from charter.serve.policy import StorePolicy
from charter.serve.ports import OnlineStore
from charter.serve.values import DTYPES


def open_store(policy: StorePolicy, features: FeatureSet) -> OnlineStore:
    """Open a store; it need not be there yet, nor answer.

    Raises
    ------
    UsageError
        When the address is of no kind that is known, or a variable in it is not set.
    """
    width = len(window_names({w.name: w for w in features.windows}))
    url = expand(policy.url)
    kind = scheme(url)
    if kind == "sqlite":
        from charter.serve.io.store_sqlite import SqliteStore

        return SqliteStore(Path(url.removeprefix("sqlite:///")), policy.feature_set, width)
    if kind in ("redis", "rediss", "unix"):
        from charter.serve.io.store_redis import RedisStore

        return RedisStore(url, policy.feature_set, width)
    raise UsageError(
        f"{policy.url} is the address of no feature store",
        remedy="Write sqlite, sqlite:///FILE, or redis://HOST:PORT/0.",
    )


def open_lookup(policy: StorePolicy, bundle: Bundle) -> Lookup:
    """Open the store of a bundle's window features; raises as `open_store`."""
    features = FeatureSet.from_json(bundle.featureset)
    fresh_within = timedelta(seconds=policy.fresh_within_s)
    return Lookup(open_store(policy, features), features, fresh_within, entity_type(bundle))


def entity_type(bundle: Bundle) -> pl.DataType:
    """Type of the column that says whom a request is about."""
    entity = bundle.signature.entity
    return next(DTYPES[i.type] for i in bundle.signature.inputs if entity and i.name == entity.column)
