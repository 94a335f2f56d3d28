"""The ingress replica: the HTTP server in front of the cluster."""

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from ray import serve
from ray.serve.handle import DeploymentHandle

from cluster.backend import ClusterBackend, Recovery
from cluster.channel.token_receiver import TokenReceiver
from cluster.draining import Draining
from cluster.metrics_hub import MetricsPusher
from cluster.node import node_address
from cluster.placement import uses_pool
from cluster.routing import LiveReports, Routing, await_own_model
from llama4coder.errors import DeadlineExceeded
from llama4coder.obs.metrics import Metrics
from llama4coder.resolve_folder import on_this_machine
from llama4coder.resolved import ResolvedConfig
from llama4coder.router.build import build_policy
from llama4coder.router.router import Router
from llama4coder.server.app import create_app
from llama4coder.server.observe import Tell
from llama4coder.shape import ModelShape, read_shape
from llama4coder.telemetry.build import build_telemetry
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Fingerprint, ModelDetails, ServedModel


class Ingress:
    """Tokenises, detokenises and speaks HTTP; made a deployment with an ASGI app by `cluster.app`."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        config: ResolvedConfig,
        target: DeploymentHandle[Any],
        hub: DeploymentHandle[Any],
        fingerprint: Fingerprint,
    ) -> None:
        config = await asyncio.to_thread(on_this_machine, config)
        metrics = Metrics(CollectorRegistry())
        _show_intent(metrics, config)
        process = serve.get_replica_context().replica_id.unique_id
        self._telemetry = build_telemetry(config.telemetry, process, metrics.telemetry_dropped)
        self._pusher = MetricsPusher(hub, process, metrics.render)
        self._receiver = TokenReceiver(node_address())
        router = Router(build_policy(config.router.policy), config.engine.block_size, fingerprint)
        routing = Routing(router, metrics, fingerprint)
        self._reports = LiveReports(target, node_address(), routing, router)
        recovery = Recovery(config.server.recovery_timeout_s, metrics.recovered_requests.inc, metrics.on_migrated)
        backend = ClusterBackend(target, self._receiver, self._pusher, routing, recovery)
        folder = Path(config.model.path)
        tokenizer = Tokenizer.from_folder(folder)
        self._app: FastAPI = create_app(
            backend=backend,
            model=served_model(config, tokenizer.eos_token_ids),
            tokenizer=tokenizer,
            chat_template=ChatTemplate.from_folder(folder),
            config=config.server,
            metrics=metrics,
        )
        if self._telemetry is not None:
            self._app.add_middleware(Tell, observer=self._telemetry)
        self._draining = Draining(config.server.drain_timeout_s, self._cut_off)
        await await_own_model(routing, self._reports)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve after `__init__`."""
        return self._app

    def _cut_off(self) -> None:
        """What still streams when the time is over would be cut off without a word soon."""
        self._receiver.fail(DeadlineExceeded("the endpoint was restarted, and the answer took too long to wait for"))

    async def __del__(self) -> None:
        """Called by Serve when the replica is stopped."""
        if hasattr(self, "_draining"):
            await self._draining.stop()
        if hasattr(self, "_reports"):
            await self._reports.stop()
            await self._receiver.close()
            await self._pusher.stop()
            if self._telemetry is not None:
                await asyncio.to_thread(self._telemetry.close)


def _show_intent(metrics: Metrics, config: ResolvedConfig) -> None:
    """What the operator wants, beside which the other metrics stand."""
    metrics.show_configured(config.target_replicas, config.speculation.pool.min_replicas if uses_pool(config) else 0)
    if config.plan is not None:
        metrics.show_plan(config.plan)


def served_model(config: ResolvedConfig, eos_token_ids: frozenset[int]) -> ServedModel:
    """What the endpoint says of its model."""
    folder = Path(config.model.path)
    shape = read_shape(folder)
    return ServedModel(
        name=config.model.name,
        aliases=config.model.aliases,
        context_length=config.model.context_length,
        vocab_size=shape.vocab_size,
        eos_token_ids=eos_token_ids,
        created_unix_s=int((folder / "config.json").stat().st_mtime),
        details=model_details(config, shape),
        block_bounds=config.engine.block_bounds,
        top_blocks=config.engine.top_blocks,
    )


def model_details(config: ResolvedConfig, shape: ModelShape) -> ModelDetails:
    """What Ollama's clients ask for."""
    folder, quant = Path(config.model.path), config.model.quant
    return ModelDetails(
        architecture=json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"],
        num_parameters=shape.num_parameters,
        weight_format=config.model.dtype if quant == "none" else quant,
        num_file_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    )
