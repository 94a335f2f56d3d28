"""From the text of an operator to a configuration; shared by the CLI and the Serve application."""

from collections.abc import Mapping

from pydantic import ValidationError

from llama4coder.config import DeploymentConfig
from llama4coder.errors import ConfigError


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
