"""The two kinds of replicas."""

from enum import StrEnum


class Pool(StrEnum):
    """Target replicas and draft replicas, which are counted and scaled apart."""

    TARGET = "target"
    DRAFT = "draft"
