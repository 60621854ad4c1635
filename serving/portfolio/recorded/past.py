"""What the audit log says of the accounts of a portfolio, as the endpoint looks it up."""

from __future__ import annotations

from features.statements import Statements
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.reader import Reader
from serving.auth.caller import LOOPBACK
from serving.decision.policy.prior import up_to_date
from serving.decision.policy.since_last import Earlier
from serving.portfolio.block import Past
from serving.portfolio.recorded.failures import name_failures
from serving.reviews.past_decision import OtherProductError, earlier_by_account, other_products
from serving.storage.database import COMMAND_SECONDS, open_database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

_ACCOUNTS_A_QUERY = 512


class RecordedPast:
    """Reads the audit log of these settings, for the accounts of one lender; writes nothing.

    ``id_key`` keys the ids of its decisions, ``secrets`` are all its keys.

    Raises:
        StorageError: There is none, or it cannot be read.
    """

    def __init__(self, settings: StorageSettings, tenant: str) -> None:
        if settings.file is not None and not settings.file.exists():
            raise StorageError(
                f"there is no audit log at {settings.file}; CLEARLINE_RECORD says where it is"
            )
        self._database = open_database(settings, COMMAND_SECONDS)
        secrets = open_secrets(self._database, settings, create=False)
        self._reader = Reader(self._database, secrets)
        self._tenant = tenant
        self.secrets = secrets
        self.id_key = secrets.id_key

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def check_tenant(self) -> None:
        """Raise :class:`StorageError` if the audit log has other lenders and not this one.

        A new audit log has none, and a service without API keys decides for one of its own.
        """
        with name_failures(self._database):
            if self._tenant == LOOPBACK.tenant or self._reader.knows(self._tenant):
                return
            known = self._reader.tenants()
        if known:
            raise StorageError(
                f"--tenant: expected a tenant of the audit log, one of {known}, got "
                f"{self._tenant!r}; `python -m serving keys new` makes another"
            )

    def of(self, statements: Statements) -> Past:
        """The priors and the latest decisions, without those of accounts that are not recorded.

        Raises:
            StorageError: The audit log cannot be read.
            OtherProductError: Accounts have another product than their earlier decisions.
        """
        with name_failures(self._database):
            return self._of(statements)

    def _of(self, statements: Statements) -> Past:
        names = statements.account_ids
        limits = statements.window.now("credit_limit").tolist()
        latest_statement = dict(zip(names, zip(statements.as_of, limits, strict=True), strict=True))
        products = dict(zip(names, statements.products, strict=True))
        recorded: dict[str, str] = {}
        decisions: dict[str, Earlier] = {}
        priors, newest, ended = {}, {}, set()
        for first in range(0, len(names), _ACCOUNTS_A_QUERY):
            some = names[first : first + _ACCOUNTS_A_QUERY]
            memories, latest = self._reader.memories_and_latest(self._tenant, some)
            own = {name: products[name] for name in some}
            recorded |= other_products(own, memories, latest)
            for name, memory in memories.items():
                newest[name] = memory.newest_event
                prior = up_to_date(memory.prior, *latest_statement[name])
                if prior is not None:
                    priors[name] = prior
                had_cut = memory.prior is not None and memory.prior.cuts
                if had_cut and (prior is None or not prior.cuts):
                    ended.add(name)
            decisions |= earlier_by_account(products, latest)
        if recorded:
            raise OtherProductError(products, recorded)
        return Past(priors, decisions, newest, ended)
