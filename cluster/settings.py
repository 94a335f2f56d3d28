"""From the text of an operator to a configuration that can run; shared by the CLI and the Serve application."""

from collections.abc import Mapping

from pydantic import ValidationError

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.config import DeploymentConfig
from llama4coder.env import cache_dir
from llama4coder.errors import ConfigError
from llama4coder.machine import Machine
from llama4coder.progress import Progress
from llama4coder.resolve_folder import resolve_folder
from llama4coder.resolved import ResolvedConfig


def parse_args(args: Mapping[str, object] | DeploymentConfig) -> DeploymentConfig:
    """Validate the `args` of the application; `ConfigError` names every field that is wrong, in one line."""
    if isinstance(args, DeploymentConfig):
        return args
    try:
        return DeploymentConfig.model_validate(args)
    except ValidationError as error:
        raise ConfigError(f"the configuration is wrong: {describe(error)}") from None


def describe(error: ValidationError) -> str:
    """pydantic's findings in one line."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


def resolve_on(machine: Machine, config: DeploymentConfig, progress: Progress) -> ResolvedConfig:
    """Find the checkpoint, converting it if need be, and derive every `auto` for ranks on such machines."""
    return resolve_folder(config, find_checkpoint(config.model.path, cache_dir(), progress), machine)
