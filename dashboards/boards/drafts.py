"""Draft pool: what guesses are worth, and whether they come in time."""

from dashboards.objectives import LATE_SHARE
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number, warn_from
from dashboards.promql import DEPLOYMENT, REPLICA, of_targets, quantile, rate, recorded

_ACCEPTED, _CHECKED = "llama4coder_draft_accepted_tokens_total", "llama4coder_draft_tokens_total"
_DRAFTS = "llama4coder_draft_proposals_total"
_LENGTH = "llama4coder_draft_length_tokens"
_LOOKUPS = "llama4coder_pool_lookups_total"
_SPEEDUP = of_targets("llama4coder_draft_speedup_ratio")

DRAFTS = Board(
    "llama4coder-drafts",
    "llama4coder: draft pool",
    "What guesses are worth, and whether they come in time. A late, dead or wrong drafter costs speed, never a token.",
    (
        Section(
            "Now",
            (
                number(
                    "Speed-up",
                    Unit.FACTOR,
                    f"avg ({_SPEEDUP})",
                    Threshold(0, Colour.WARNING),
                    Threshold(1, Colour.GOOD),
                ),
                number("Guesses that are right", Unit.SHARE, recorded("llama4coder:draft_acceptance:ratio5m")),
                number("Right tokens per draft", Unit.FACTOR, f"{rate(_ACCEPTED)} / {rate(_DRAFTS)}"),
                number("Found in time", Unit.SHARE, recorded("llama4coder:pool_hits:ratio5m")),
                number("Late", Unit.SHARE, recorded("llama4coder:pool_late:ratio5m"), *warn_from(0.1, LATE_SHARE)),
                number("Draft replicas ready", Unit.COUNT, recorded("llama4coder:replicas:ready", 'pool="draft"')),
            ),
        ),
        Section(
            "Guesses",
            (
                Panel(
                    "Right, by position",
                    Unit.SHARE,
                    (Query(f"{rate(_ACCEPTED, by='position')} / {rate(_CHECKED, by='position')}", "{{position}}"),),
                    note="Of the guesses that were checked at a place of their draft.",
                    highest=1,
                ),
                Panel(
                    "Drafts by source", Unit.PER_S, (Query(rate(_DRAFTS, by="source"), "{{source}}"),), is_stacked=True
                ),
                Panel(
                    "Rows without a draft",
                    Unit.PER_S,
                    (Query(rate("llama4coder_draft_fallbacks_total", by="reason"), "{{reason}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Guesses per draft",
                    Unit.FACTOR,
                    (
                        Query(quantile(0.5, _LENGTH), "p50"),
                        Query(quantile(0.95, _LENGTH), "p95"),
                        Query(
                            f"{rate(f'{_LENGTH}_sum')} / {rate(f'{_LENGTH}_count')}",
                            "mean",
                        ),
                    ),
                ),
                Panel(
                    "Tokens checked and right",
                    Unit.PER_S,
                    (Query(rate(_CHECKED), "checked"), Query(rate(_ACCEPTED), "right")),
                ),
                Panel(
                    "Speed-up, estimated",
                    Unit.FACTOR,
                    (Query(_SPEEDUP, "{{replica}}"),),
                    thresholds=(Threshold(1, Colour.GOOD),),
                ),
            ),
        ),
        Section(
            "Pool",
            (
                Panel(
                    "What rows found", Unit.PER_S, (Query(rate(_LOOKUPS, by="result"), "{{result}}"),), is_stacked=True
                ),
                Panel(
                    "Round trip, seen by targets",
                    Unit.SECONDS,
                    (
                        Query(quantile(0.5, "llama4coder_pool_round_trip_seconds"), "p50"),
                        Query(quantile(0.95, "llama4coder_pool_round_trip_seconds"), "p95"),
                        Query(quantile(0.5, "llama4coder_step_time_seconds"), "a step, p50"),
                    ),
                    note="Answers later than a step are late.",
                ),
                Panel(
                    "Round of a draft replica",
                    Unit.SECONDS,
                    (
                        Query(quantile(0.5, "llama4coder_pool_round_seconds"), "p50"),
                        Query(quantile(0.95, "llama4coder_pool_round_seconds"), "p95"),
                    ),
                ),
                Panel(
                    "Draft replicas",
                    Unit.COUNT,
                    (
                        Query(recorded("llama4coder:replicas:ready", 'pool="draft"'), "ready"),
                        Query(recorded("llama4coder:replicas:configured", 'pool="draft"'), "configured"),
                        Query(of_targets("llama4coder_pool_replicas"), "known to {{replica}}"),
                    ),
                ),
                Panel(
                    "Sequences by draft replica",
                    Unit.COUNT,
                    (
                        Query(
                            f"llama4coder_pool_sessions{{{DEPLOYMENT}, {REPLICA}}} and on (deployment, replica) "
                            'llama4coder_replica_ready{pool="draft"}',
                            "{{replica}}",
                        ),
                    ),
                    is_stacked=True,
                ),
                Panel(
                    "Frames that could not be read",
                    Unit.PER_S,
                    (Query(rate("llama4coder_pool_ignored_frames_total"), "frames"),),
                ),
            ),
        ),
    ),
)
