"""What a run would take, before it is paid for: rows, tokens, money, hours.

Three grades. *Offline*: from the texts alone, and from earlier answers where there are any. *Sampled*: some rows
are counted by the service's own tokenizer, which is free. *Pilot*: some rows are really sent, and bought once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from batch import auth
from batch.accounts import Accounts
from batch.budget import Sum
from batch.clock import Clock
from batch.events import News
from batch.journal import Records
from batch.parsing import RateLimit
from batch.plan.accounting import open_accounts
from batch.plan.estimation import piloting
from batch.plan.estimation.estimates import Asked, Estimate, Rows, own_mode
from batch.plan.estimation.learning import Learned, learn_from
from batch.plan.estimation.modes import Beginning, latency_basis, project_modes
from batch.plan.estimation.projecting import Basis, by_model, project_answers, project_caps, project_input
from batch.plan.estimation.sampling import Measured, RatioEstimate, Reservoirs, ratio_estimate
from batch.plan.estimation.schedule import Deadline, Earlier, rates_of, span_of
from batch.plan.estimation.surveying import Drawn, Pass, Survey
from batch.plan.estimation.tokenizing import count_exactly
from batch.plan.feeding import RowNames
from batch.plan.job import Ticker
from batch.plan.opening import Access, Input, Paths, find_access, open_input
from batch.pricing import MODES
from batch.providers import check_model, models_of
from batch.providers.yandex import CONCURRENT_GENERATIONS
from batch.records import Status
from batch.settings import Settings
from batch.storage import STANDARD_INPUT

# Fewer rows of a stratum than this say nothing of how far they differ.
_LEAST_OF_STRATUM = 2
# Requests of earlier runs are counted in slices of their window, of which there are so many.
_SLICES = 60


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an estimate may do and use besides reading the input; None for nothing of the kind."""

    exact: int | None = None
    pilot: int | None = None
    calibrate: Path | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    """What an estimate takes its time from, and what a pilot tells."""

    clock: Clock
    news: News
    tick: Ticker


def estimate(
    settings: Settings, inputs: Sequence[str], environment: Mapping[str, str], wishes: Wishes, outer: Outer
) -> Estimate:
    """Return what a run of these inputs would take.

    Reads the input once, a second time for a pilot. Needs credentials only for what it asks of the service.
    Raises `ChatbatchError` for settings, inputs and credentials that cannot be used, as the run would.
    """
    if wishes.pilot is not None:
        piloting.check_pilot(settings, inputs)
    access = _access(settings, environment, wishes, outer.clock)
    accounts = open_accounts(settings, models_of(settings, access.folder if access else None).identity)
    paths = Paths.of(settings) if settings.output is not None else None
    source = open_input(settings, inputs, None if STANDARD_INPUT in inputs else paths)
    work = _Work(settings, accounts, source, _journal(settings, paths), wishes, outer, access)
    pilot = work.pilot(inputs, environment) if wishes.pilot is not None else None
    return work.estimate(pilot)


def estimate_of_run(settings: Settings, accounts: Accounts, source: Input, paths: Paths, outer: Outer) -> Estimate:
    """Return the estimate of a run whose inputs are opened already; nothing is sent."""
    return _Work(settings, accounts, source, _journal(settings, paths), Wishes(), outer, None).estimate(None)


def _access(settings: Settings, environment: Mapping[str, str], wishes: Wishes, clock: Clock) -> Access | None:
    if wishes.exact is None and wishes.pilot is None:
        models_of(settings, settings.folder or auth.folder_from_environment(environment))
        return None
    access = find_access(settings, environment, clock)
    check_model(settings, access.folder)
    return access


def _journal(settings: Settings, paths: Paths | None) -> Path | None:
    return paths.journal if paths else settings.journal


@dataclass(slots=True)
class _Work:
    """One estimate being made."""

    settings: Settings
    accounts: Accounts
    source: Input
    journal: Path | None
    wishes: Wishes
    outer: Outer
    access: Access | None

    def _pass(self, learned: Learned, sample: Reservoirs[Drawn] | None) -> Pass:
        names = RowNames(self.accounts.identity, by_id=self.settings.id_column is not None)
        journal = self.journal if self.journal is not None and self.journal.exists() else None
        return Pass(self.settings, self.source, names, journal, learned, sample)

    def pilot(self, inputs: Sequence[str], environment: Mapping[str, str]) -> Asked:
        """Choose rows and send them; returns how many, and how many of them have no answer."""
        chosen = piloting.choose(self._pass(Learned(self.accounts.identity), None), self.wishes.pilot or 0)
        clock, news, began = self.outer.clock, self.outer.news, self.outer.clock.monotonic()
        if chosen:
            tick = self.outer.tick
            piloting.send(self.settings, inputs, environment, chosen, news=news, clock=clock, tick=tick)
        return Asked(len(chosen), len(chosen) - self._answered(chosen), clock.monotonic() - began)

    def _answered(self, keys: frozenset[str]) -> int:
        if self.journal is None or not self.journal.exists():
            return 0
        listed = sorted(keys)
        with closing(Records.open(self.journal)) as journal:
            states = [journal.states(listed[at : at + 500]) for at in range(0, len(listed), 500)]
        return sum(state.status is Status.OK for known in states for state in known.values())

    def estimate(self, pilot: Asked | None) -> Estimate:
        """Make one pass and put together what it found."""
        learned = Learned(self.accounts.identity)
        if self.wishes.calibrate is not None:
            learn_from(self.wishes.calibrate, self.settings, learned)
        taught = learned.rows
        sample: Reservoirs[Drawn] | None = Reservoirs(self.wishes.exact) if self.wishes.exact else None
        survey = self._pass(learned, sample).survey()
        if learned.rows > taught and self.journal is not None:
            learned.sources.append(str(self.journal))
        exact, ratios = self._exactly(sample, learned) if sample is not None else (None, {})
        basis = Basis(
            self.settings,
            self.accounts,
            learned,
            ratios,
            self.wishes.answer_tokens,
            pilot.rows - pilot.failed if pilot else 0,
            self.wishes.calibrate is not None,
        )
        return self._together(survey, basis, exact, pilot)

    def _exactly(
        self, sample: Reservoirs[Drawn], learned: Learned
    ) -> tuple[Asked | None, dict[str, RatioEstimate]]:
        """Have the sample counted; returns by model how many times the offline estimate the truth is."""
        if self.access is None:
            return None, {}
        strata = sample.drawn(_LEAST_OF_STRATUM)
        requests = [request for stratum in strata.values() for _, request in stratum.items]
        began = self.outer.clock.monotonic()
        counts = iter(count_exactly(self.access, requests, self.outer.clock))
        measured: dict[str, list[Measured]] = {}
        failed = 0
        for (model, _), stratum in strata.items():
            estimator = learned.estimator(self.accounts.identity(model))
            found = [(estimator.input_tokens(request), next(counts)) for _, request in stratum.items]
            pairs = [(expected, float(count)) for expected, count in found if count is not None]
            failed += len(found) - len(pairs)
            measured.setdefault(model, []).append(Measured(stratum.rows, pairs))
        ratios = {
            model: ratio_estimate(known)
            for model, known in measured.items()
            if any(stratum.pairs for stratum in known)
        }
        return Asked(len(requests), failed, self.outer.clock.monotonic() - began), ratios

    def _together(self, survey: Survey, basis: Basis, exact: Asked | None, pilot: Asked | None) -> Estimate:
        now = self.outer.clock.time()
        spans_in, given = project_input(survey, basis)
        spans_out, taken = project_answers(survey, basis)
        models = by_model(survey, spans_in, spans_out)
        deadline = Deadline.of(self.settings, now)
        beginning = Beginning(now, deadline, CONCURRENT_GENERATIONS, self._earlier(now))
        modes = project_modes(models, basis, beginning)
        own = own_mode(modes, self.settings.mode)
        caps = project_caps(models, own, self.accounts, self._spent())
        return Estimate(
            [item.name for item in self.source.files],
            self.settings.mode,
            basis.learned.emulated or (self.settings.emulate and (exact is not None or basis.learned.rows > 0)),
            _rows(survey),
            given,
            taken,
            models,
            modes,
            caps,
            latency_basis(models, basis),
            exact,
            pilot,
        )

    def _earlier(self, now: float) -> dict[str, Earlier]:
        """Return by mode what earlier runs sent that its windows still hold, as the run would find it."""
        if self.journal is None or not self.journal.exists():
            return {}
        with closing(Records.open(self.journal)) as journal:
            return {mode: _sent(journal, mode, rates_of(self.settings, mode), now) for mode in MODES}

    def _spent(self) -> Sum:
        if not self.accounts.caps.any or self.journal is None or not self.journal.exists():
            return Sum()
        with closing(Records.open(self.journal)) as journal:
            return self.accounts.earlier(journal.spending())


def _sent(journal: Records, mode: str, rates: Sequence[RateLimit], now: float) -> Earlier:
    """Return what was sent in a mode; what its windows of a second hold is over before anything is sent."""
    sent = {}
    for rate in rates:
        if rate.seconds > 1:
            found = journal.sent_since(now - span_of(rate), rate.seconds / _SLICES, mode)
            sent[rate.seconds] = [(max(0.0, now - at), count) for at, count in found]
    return sent


def _rows(survey: Survey) -> Rows:
    return Rows(
        survey.rows,
        survey.rows - survey.invalid,
        survey.invalid,
        survey.answered,
        survey.duplicates,
        survey.held_back,
        survey.to_send,
    )
