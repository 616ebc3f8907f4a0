"""One attached broker: the way to it, what may be done there, and the lab that runs on it, if any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mqdash.errors import MqdashError, ReadOnly

if TYPE_CHECKING:
    from mqdash.brokers.base import Broker, Observer
    from mqdash.brokers.scoped import Scope
    from mqdash.brokers.supervise import Link
    from mqdash.brokers.url import BrokerUrl
    from mqdash.lab.lab import Lab
    from mqdash.model.topology import Topology


@dataclass(kw_only=True)
class Attachment:
    """What mqdash is attached to under a name. `topology` is the newest picture of it, kept by the monitor."""

    name: str
    url: BrokerUrl
    link: Link[Any]
    writable: bool
    production: bool = False
    lab: Lab | None = None
    scope: Scope | None = None
    topology: Topology | None = None

    @property
    def life(self) -> Observer:
        """The open connection.

        Raises:
            MqdashError: there is none now; the text says why.
        """
        if self.link.life is None:
            msg = f"{self.name} is not connected: {self.link.cause or self.link.state}"
            raise MqdashError(msg)
        return self.link.life  # type: ignore[no-any-return]

    @property
    def broker(self) -> Broker:
        """The open connection, for writing.

        Raises:
            ReadOnly: it was opened to be looked at.
            MqdashError: it is not connected.
        """
        if not self.writable:
            msg = f"{self.name} is open read-only; start mqdash with --write, or set writable = true in its profile"
            raise ReadOnly(msg)
        return self.life  # type: ignore[return-value]
