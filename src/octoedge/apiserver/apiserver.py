"""The wiring of the API server: settings → every part, put together once, run by one supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.apiserver.access.audit import Audited, AuditLog, Level
from octoedge.apiserver.access.authentication import Authenticator
from octoedge.apiserver.access.authorization import FirstYes, Masters
from octoedge.apiserver.access.credentials import Credentials
from octoedge.apiserver.access.rbac.guards import Guards
from octoedge.apiserver.access.rbac.nodes import NodeAuthorizer
from octoedge.apiserver.access.rbac.policy import Policy
from octoedge.apiserver.access.renewal import Renewal
from octoedge.apiserver.access.reviews import Reviews
from octoedge.apiserver.access.tokens import Tokens
from octoedge.apiserver.api import Api
from octoedge.apiserver.behaviours.subresources import Subresources, choose_container
from octoedge.apiserver.controllers.apiservice import CLUSTER_IP, ApiService
from octoedge.apiserver.controllers.bootstrap import Bootstrap
from octoedge.apiserver.controllers.definitions import DefinitionController
from octoedge.apiserver.controllers.namespaces import NamespaceController
from octoedge.apiserver.controllers.node_lifecycle import NodeLifecycle
from octoedge.apiserver.controllers.sweeper import Sweeper
from octoedge.apiserver.controllers.turn import Hands
from octoedge.apiserver.controllers.workloads import workload_controllers
from octoedge.apiserver.crd.registry import Registry
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.nodes.kubelet import ByNode, Direct, Kubelet, Way
from octoedge.apiserver.nodes.metrics import Metrics
from octoedge.apiserver.nodes.nodepages import NodePages, NodeProxy
from octoedge.apiserver.nodes.podlogs import KubeletLogs
from octoedge.apiserver.nodes.streams import Streams
from octoedge.apiserver.scheduling.scheduler import Scheduler
from octoedge.apiserver.schema.bodies import Bodies
from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.serving.health import Health
from octoedge.apiserver.serving.server import Server
from octoedge.apiserver.store.backend import Backend
from octoedge.apiserver.store.restoration import PATH, Restoration
from octoedge.apiserver.writing.deletion import Deletion
from octoedge.apiserver.writing.rest import Rest
from octoedge.runtime.clock import Clock, SystemClock
from octoedge.runtime.supervisor import Module, Supervisor
from octoedge.store.lock import Lock


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set; the command's help says what each is."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 6443
    advertise: tuple[str, ...] = ("127.0.0.1",)
    kubelet_endpoint: str = "https://127.0.0.1:10003"
    """Empty: each node's own address, as a kube-apiserver does it."""
    kubelet_ca: Path | None = None
    audit: Level = Level.ACTIONS
    node_grace: float = 40.0
    """Seconds that a node may be silent."""
    node_period: float = 5.0
    """Seconds between two looks at the nodes."""


class ApiServer:
    """One API server: `run()` serves until `stop()`."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._lock = Lock(settings.data_dir / "lock")
        self._lock.take()
        names = (*settings.advertise, "127.0.0.1", "::1", "localhost", CLUSTER_IP)
        self.credentials = Credentials(settings.data_dir, names, settings.port, clock.now())
        kinds, bodies = Kinds(), Bodies(Schema.load())
        self.backend = Backend(settings.data_dir / "state.db", kinds.fields_of)
        Registry(kinds, bodies.schema, self.backend)
        rest, deletion = Rest(self.backend, bodies, clock), Deletion(self.backend, clock)
        tokens = Tokens(self.credentials.token_key.read_bytes())
        policy = Policy(self.backend)
        authorizer = FirstYes((Masters(), NodeAuthorizer(self.backend), policy))
        authenticator = Authenticator(tokens, self.backend, clock, authorizer)
        route = Direct(settings.kubelet_endpoint) if settings.kubelet_endpoint else ByNode(self.backend)
        way = Way(route, self.credentials.kubelet_client, settings.kubelet_ca)
        pages = NodePages(way)
        self._logs = KubeletLogs(way)
        streams = Streams(self.backend, Kubelet(way), choose_container)
        proxy = NodeProxy(self.backend, pages)
        api = Api(
            backend=self.backend,
            kinds=kinds,
            bodies=bodies,
            rest=rest,
            deletion=deletion,
            subresources=Subresources(rest, deletion, bodies, kinds, tokens, self._logs, clock, streams, proxy),
            metrics=Metrics(self.backend, pages),
            reviews=Reviews(authenticator, authorizer, clock),
            authorizer=authorizer,
            guards=Guards(policy, authorizer),
            tokens=tokens,
            clock=clock,
            address=self.credentials.server_url.removeprefix("https://"),
            actions={PATH: Restoration(self.backend, settings.data_dir).answer},
            health=Health(lambda: [module.name for module in modules], lambda: self._supervisor.failed),
        )
        hands = Hands(rest, deletion, kinds, clock)
        answers = Audited(api, AuditLog(settings.data_dir / "audit.log"), settings.audit, clock)
        bootstrap = Bootstrap(rest, kinds, lambda: self.credentials.ca_pem, clock)
        server = Server(settings.host, settings.port, self.credentials, authenticator, answers)

        async def take_up() -> None:
            server.show()
            way.show()
            await bootstrap.publish()

        modules: Sequence[Module] = (
            self.backend,
            bootstrap,
            ApiService(hands, settings.advertise, settings.port),
            DefinitionController(rest, deletion, kinds),
            server,
            Renewal(self.credentials, clock, take_up),
            NamespaceController(rest, deletion, kinds),
            NodeLifecycle(self.backend, clock, grace=settings.node_grace, period=settings.node_period),
            Scheduler(hands),
            Sweeper(self.backend, clock),
            *workload_controllers(hands),
        )
        self._supervisor = Supervisor(modules)

    async def run(self) -> None:
        """Serve until `stop()`; raises `ModuleFailed` when a part failed."""
        try:
            await self._supervisor.run()
        finally:
            await self._logs.close()
            self.backend.close()
            self._lock.release()

    async def ready(self) -> None:
        """Return when everything serves."""
        await self._supervisor.all_ready()

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._supervisor.stop()
