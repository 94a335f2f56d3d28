"""The process of one rank: a Ray actor that loads its share of the model and serves the rank channel."""

import tempfile
from pathlib import Path

from cluster.channel.endpoint import Endpoint, bind_private
from cluster.channel.rank_server import RankServer
from llama4coder.config import ResolvedConfig
from llama4coder.progress import NullProgress


class RankActor:
    """Made a Ray actor by its replica, which holds the only handle: when the replica goes, so does the rank.

    `load`, then `serve`, which returns only when no more steps will be executed.
    """

    def __init__(self) -> None:
        self._server: RankServer | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="rank-")  # mode 0700

    def load(self, config: ResolvedConfig) -> Endpoint:
        """Load the weights and begin to serve; returns the rank channel's address."""
        from llama4coder.engine.runner import ModelRunner  # torch: slow to import, and of no use to the replica

        runner = ModelRunner.load(config, NullProgress())
        folder = Path(self._folder.name)
        self._server = RankServer(runner.execute, lambda socket: bind_private(socket, folder, "rank.sock"))
        return self._server.start()

    def serve(self) -> None:
        """Wait until the rank has failed or was stopped."""
        assert self._server is not None, "serve before load"
        self._server.join()
