"""Providers: one module per service, and the registry that knows them all."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from batch.auth import Credentials
from batch.errors import UsageError
from batch.parsing import nearest
from batch.providers.base import Provider
from batch.providers.yandex import Models, YandexProvider
from batch.settings import Settings

_PROVIDERS: dict[str, Callable[[Settings, httpx.AsyncClient, Credentials, str | None], Provider]] = {}


def _yandex(
    settings: Settings, client: httpx.AsyncClient, credentials: Credentials, folder: str | None
) -> Provider:
    return YandexProvider(
        client,
        credentials,
        Models(folder),
        base_url=settings.base_url,
        timeout_s=settings.timeout,
        data_logging=settings.data_logging,
    )


_PROVIDERS["yandex"] = _yandex

__all__ = ["Provider", "open_provider"]


def open_provider(
    settings: Settings, client: httpx.AsyncClient, credentials: Credentials, folder: str | None
) -> Provider:
    """Return the provider that the settings name; raises `UsageError` for an unknown one."""
    build = _PROVIDERS.get(settings.provider)
    if build is None:
        known = ", ".join(_PROVIDERS)
        near = nearest(settings.provider, _PROVIDERS)
        raise UsageError(f'There is no provider "{settings.provider}"{near}; there are: {known}.')
    return build(settings, client, credentials, folder)
