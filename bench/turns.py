"""Variants of a query in turns: recall, and times at the server and at the client.

All executions of all variants and queries come in one order, drawn once: whatever runs just before, which
leaves caches warm or cold, is by chance the same for each variant. An execution is repeated at once; the
first shows what a query costs among others, the second what it costs with everything at hand.
"""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from harness import quantile, server_milliseconds

TARGETS = [0.95, 0.98, 0.99]


@dataclass
class Variant:
    group: str
    label: str
    settings: dict
    statement: str
    # The texts of the queries, and the ids of the exact answer to each.
    queries: list
    truth: list
    recall: float = 0.0
    least: int = 0
    # Milliseconds: first and second executions.
    server: tuple = field(default_factory=lambda: ([], []))
    client: tuple = field(default_factory=lambda: ([], []))

    def p50(self):
        return statistics.median(self.server[0])


def run(connection, variants):
    """Fills in what the variants took, and prints it."""
    connection.prepare_threshold = None
    hits = [[0, 0] for _ in variants]
    for variant in variants:
        variant.least = len(max(variant.truth, key=len))
    count = len(variants[0].queries)
    generator = np.random.default_rng(13)
    # The first round, of a few queries, only warms up.
    rounds = [(False, True, min(20, count)), (True, True, count), (True, False, count)]
    for measured, server_first, queries in rounds:
        for turn in generator.permutation(queries * len(variants)).tolist():
            number, chosen = divmod(turn, len(variants))
            variant = variants[chosen]
            set_all(connection, variant.settings)
            statement = f"EXECUTE {variant.statement}('{variant.queries[number]}')"
            kinds = [at_server, at_client] if server_first else [at_client, at_server]
            taken = [kind(connection, statement) for kind in kinds]
            reset_all(connection, variant.settings)
            if not measured:
                continue
            for repeated, (kind, (milliseconds, ids)) in enumerate(zip(kinds, taken, strict=True)):
                (variant.server if kind is at_server else variant.client)[repeated].append(milliseconds)
                if ids is not None and server_first:
                    hits[chosen][0] += len(variant.truth[number] & ids)
                    hits[chosen][1] += len(variant.truth[number])
                    variant.least = min(variant.least, len(ids))
    print(f"{'milliseconds; first / repeated':40}  recall  server: p50         p99    client: p50         p99   rows ≥")
    for variant, (hit, wanted) in zip(variants, hits, strict=True):
        variant.recall = hit / max(1, wanted)
        parts = [f"{variant.group}, {variant.label}".ljust(40), f"{variant.recall:.4f}"]
        for first, repeated in [variant.server, variant.client]:
            middle = f"{statistics.median(first):.3f} / {statistics.median(repeated):.3f}"
            parts.append(f"{middle:>17} {quantile(first, 0.99):7.3f}")
        print("  ".join(parts), f"{variant.least:6}", flush=True)


def at_server(connection, statement):
    return server_milliseconds(connection, statement), None


def at_client(connection, statement):
    """Through the protocol alone: what the driver makes of the rows isn't counted."""
    wire, encoded = connection.pgconn, statement.encode()
    start = time.perf_counter()
    result = wire.exec_(encoded)
    milliseconds = 1000 * (time.perf_counter() - start)
    if result.error_message:
        raise SystemExit(result.error_message.decode())
    return milliseconds, {int(result.get_value(row, 0)) for row in range(result.ntuples)}


def set_all(connection, settings):
    if settings:
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))


def reset_all(connection, settings):
    if settings:
        connection.execute("; ".join(f"RESET {name}" for name in settings))


def fastest(variants, group, target):
    """The fastest variant of a group that reaches a recall."""
    reaching = [variant for variant in variants if variant.group == group and variant.recall >= target]
    return min(reaching, key=Variant.p50, default=None)


def compare(variants, targets=TARGETS):
    """For each recall the fastest variants that reach it, and the first group's p50 against the others'."""
    groups = list(dict.fromkeys(variant.group for variant in variants))
    for target in targets:
        ours, parts = None, []
        for group in groups:
            best = fastest(variants, group, target)
            if best is None:
                parts.append(f"{group} does not reach it")
                continue
            text = f"{group}, {best.label} ({best.recall:.3f}) {best.p50():.3f} ms"
            client = statistics.median(best.client[0])
            text += f", client {client:.3f}"
            if group == groups[0]:
                ours = best
            elif ours:
                at_client = statistics.median(ours.client[0]) / client
                text += f", ratio {ours.p50() / best.p50():.2f}, client {at_client:.2f}"
            parts.append(text)
        print(f"recall ≥ {target}: " + " | ".join(parts), flush=True)
