"""Providers: one module per service, and the registry that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from batch.auth import Credentials
from batch.errors import UsageError
from batch.parsing import nearest
from batch.providers.base import Provider
from batch.providers.yandex import HOST, Models, YandexProvider, judge
from batch.records import Completion, Reply
from batch.settings import Settings


@dataclass(frozen=True, slots=True)
class _Entry:
    """One provider: the host it is reached at unless told otherwise, how it is made, and how it judges."""

    host: str
    models: Callable[[str | None], Models]
    build: Callable[[Settings, httpx.AsyncClient, Credentials, str | None], Provider]
    judge: Callable[[Reply], Completion]


def _yandex(
    settings: Settings, client: httpx.AsyncClient, credentials: Credentials, folder: str | None
) -> Provider:
    return YandexProvider(
        client,
        credentials,
        Models(folder),
        base_url=settings.base_url,
        operations_url=settings.operations_url,
        timeout_s=settings.timeout,
        data_logging=settings.data_logging,
    )


_PROVIDERS = {"yandex": _Entry(HOST, Models, _yandex, judge)}

__all__ = ["Provider", "check_model", "judge_of", "models_of", "open_provider", "service_address"]


def open_provider(
    settings: Settings, client: httpx.AsyncClient, credentials: Credentials, folder: str | None
) -> Provider:
    """Return the provider that the settings name; raises `UsageError` for an unknown one."""
    return _entry(settings).build(settings, client, credentials, folder)


def service_address(settings: Settings) -> str:
    """Return the address that will be asked; raises `UsageError` for an unknown provider."""
    return settings.base_url or _entry(settings).host


def models_of(settings: Settings, folder: str | None) -> Models:
    """Return how the provider names models, where this folder pays."""
    return _entry(settings).models(folder)


def judge_of(settings: Settings) -> Callable[[Reply], Completion]:
    """Return what judges the provider's replies, for jobs that send nothing."""
    return _entry(settings).judge


def check_model(settings: Settings, folder: str | None) -> None:
    """Raise `UsageError` where the provider or the account's folder is not known."""
    models_of(settings, folder).uri(settings.model)


def _entry(settings: Settings) -> _Entry:
    entry = _PROVIDERS.get(settings.provider)
    if entry is None:
        known = ", ".join(_PROVIDERS)
        near = nearest(settings.provider, _PROVIDERS)
        raise UsageError(f'There is no provider "{settings.provider}"{near}; there are: {known}.')
    return entry
