"""The dashboards that come along, one module each."""

from collections.abc import Sequence

from dashboards.boards.capacity import CAPACITY
from dashboards.boards.drafts import DRAFTS
from dashboards.boards.fleet import FLEET
from dashboards.boards.kv import KV
from dashboards.boards.life import LIFE
from dashboards.boards.router import ROUTER
from dashboards.panels import Board

BOARDS: Sequence[Board] = (FLEET, KV, DRAFTS, ROUTER, CAPACITY, LIFE)
