"""The measures of queries: against the peers, with short queries, filters, without the funnel, in growth."""

import statistics

import numpy as np

from data import literal, nearest, noisy_queries
from harness import pgbench
from peers import HNSW, MRL, VCHORD, fill, indexed, made, nearest_rows, prepare
from turns import Variant, compare, fastest, reset_all, run, set_all

# The recall at which clients ask for queries a second.
CLIENTS_AT = 0.98


def asked(queries):
    return [literal(query) for query in queries]


def sweep(arguments, index):
    """The settings of an index that are tried, each with a label."""
    if index is MRL:
        settings = {"defaults": {}}
        for probes in arguments.probes.split():
            for epsilon in arguments.epsilon.split():
                label = f"probes {probes}" + ("" if epsilon == "auto" else f", epsilon {epsilon}")
                settings[label] = {"mrl.probes": probes, "mrl.epsilon": epsilon}
        return settings
    if index is HNSW:
        return {f"ef_search {width}": {"hnsw.ef_search": width} for width in arguments.ef.split()}
    return {
        f"probes {probes}, epsilon {epsilon}": {"vchordrq.probes": probes, "vchordrq.epsilon": epsilon}
        for probes in arguments.vchord_probes.split()
        for epsilon in arguments.vchord_epsilon.split()
    }


def variants_of(arguments, index, statement, texts, truth, group=None):
    return [
        Variant(group or index.name, label, settings, statement, texts, truth)
        for label, settings in sweep(arguments, index).items()
    ]


def search(connection, arguments, indexes, vectors, queries, cluster):
    """Recall, times, queries a second, builds and sizes of all indexes."""
    made(connection, arguments, vectors, cluster, indexes)
    texts, truth = asked(queries), nearest(vectors, queries)
    variants = []
    for index in indexes:
        statement = prepare(connection, index, index.name)
        variants += variants_of(arguments, index, statement, texts, truth)
    run(connection, variants)
    compare(variants)
    clients(connection, arguments, indexes, queries, variants)


def clients(connection, arguments, indexes, queries, variants):
    """Queries a second of 1 and 2 clients, each index with the variant that is fastest at one recall."""
    for index in indexes:
        best = fastest(variants, index.name, CLIENTS_AT)
        if best is None:
            continue
        table = f"{index.name}_queries"
        fill(connection, arguments, table, index.kind, queries)
        connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
        query = nearest_rows(index.name, f"(SELECT emb FROM {table} WHERE id = :id)")
        set_all(connection, best.settings)
        indexed(connection, query.replace(":id", "1"), index.name)
        reset_all(connection, best.settings)
        script = f"\\set id random(0, {len(queries) - 1})\n{query};\n"
        rates = []
        for count in [1, 2]:
            pgbench(script, count, ("-T", "1"), best.settings)
            rate, _ = pgbench(script, count, ("-T", "4"), best.settings)
            rates.append(f"{rate:.0f}")
        print(f"{index.name}, {best.label}: {' and '.join(rates)} queries a second of 1 and 2 clients", flush=True)


def short(connection, arguments, indexes, vectors, queries, cluster):
    """Queries of the leading 64 dimensions against the index of all, beside the full queries, the peers' among them."""
    made(connection, arguments, vectors, cluster, indexes)
    statement = prepare(connection, MRL, MRL.name)
    leading = queries[:, :64].astype(np.float32)
    leading = (leading / np.linalg.norm(leading, axis=1, keepdims=True)).astype(np.float16)
    variants = variants_of(arguments, MRL, statement, asked(leading), nearest(vectors, leading, 64), "64 dimensions")
    texts, truth = asked(queries), nearest(vectors, queries)
    variants += variants_of(arguments, MRL, statement, texts, truth, "all dimensions")
    for index in indexes:
        if index is not MRL:
            variants += variants_of(arguments, index, prepare(connection, index, index.name), texts, truth)
    run(connection, variants)
    compare(variants)
    defaults = next(variant for variant in variants if variant.label == "defaults")
    full = fastest(variants, "all dimensions", 0.99)
    if full:
        ratio = defaults.p50() / full.p50()
        print(f"64 dimensions with the defaults ({defaults.recall:.3f}) against all at .99: ratio {ratio:.2f}")


def funnel(connection, arguments, indexes, vectors, queries, cluster):
    """What the funnel saves and loses at equal probes."""
    made(connection, arguments, vectors, cluster, [MRL])
    statement = prepare(connection, MRL, MRL.name)
    texts, truth = asked(queries), nearest(vectors, queries)
    pairs = []
    for label, settings in sweep(arguments, MRL).items():
        pairs.append([
            Variant(f"funnel {state}", label, settings | {"mrl.funnel": state}, statement, texts, truth)
            for state in ["on", "off"]
        ])
    run(connection, [variant for pair in pairs for variant in pair])
    for on, off in pairs:
        print(f"{on.label}: time {on.p50() / off.p50():.2f} of that without, recall {on.recall - off.recall:+.4f}")


def filter_settings(index, rows):
    """HNSW's scan goes on after its first rows, as far as it does by default, and until it has enough."""
    if index is not HNSW:
        return {"": {}}
    goes_on = {"hnsw.iterative_scan": "relaxed_order"}
    without_limits = {"hnsw.max_scan_tuples": str(rows), "hnsw.scan_mem_multiplier": "100"}
    return {"": goes_on, ", without limits": goes_on | without_limits}


def filters(connection, arguments, indexes, vectors, queries, cluster):
    """Conditions that hold for few rows, by chance or for whole clusters."""
    indexes = [index for index in indexes if index is not VCHORD]
    made(connection, arguments, vectors, cluster, indexes)
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    order = np.random.default_rng(9).permutation(cluster.max() + 1)
    ranked = order[cluster]
    some = queries[: max(20, arguments.queries // 10)]
    for share in [0.1, 0.01, 0.001]:
        modulus = round(1 / share)
        sizes = np.bincount(ranked)
        enough = int(np.searchsorted(np.cumsum(sizes), share * len(vectors))) + 1
        names = ", ".join(map(str, np.flatnonzero(np.isin(order, np.arange(enough)))))
        for label, condition, allowed in [
            ("independent", f"id % {modulus} = 0", np.arange(len(vectors)) % modulus == 0),
            ("correlated", f"cluster IN ({names})", np.isin(ranked, np.arange(enough))),
        ]:
            print(f"{label}, {100 * allowed.mean():.2f} % of the rows")
            texts, truth = asked(some), nearest(vectors, some, allowed=allowed)
            variants = []
            for index in indexes:
                name = f"{index.name}_{label}_{modulus}"
                prepare(connection, index, index.name, f"WHERE {condition}", name)
                for limits, settings in filter_settings(index, len(vectors)).items():
                    variants.append(Variant(index.name, label + limits, settings, name, texts, truth))
            run(connection, variants)
            for other in variants[1:]:
                print(f"ratio {variants[0].p50() / other.p50():.2f} of {other.group}, {other.label}")


def growth(connection, arguments, indexes, vectors, queries, cluster):
    """The time at a recall of .95 for a set and for one of ten times its rows."""
    tables = {}
    for rows in [len(vectors) // 10, len(vectors)]:
        part, table = vectors[:rows], f"{MRL.name}_{rows}"
        made(connection, arguments, part, cluster[:rows], [MRL], f"_{rows}")
        # Queries near rows of the part itself: a query's neighbours are as near in both.
        own = noisy_queries(part)[: len(queries)] if arguments.set == "b" else queries
        statement = prepare(connection, MRL, table)
        tables[rows] = variants_of(arguments, MRL, statement, asked(own), nearest(part, own), f"{rows:,} rows")
    run(connection, [variant for variants in tables.values() for variant in variants])
    small, large = tables.values()
    print(f"defaults: {large[0].p50() / small[0].p50():.2f} times the time for ten times the rows")
    chosen = [
        next((variant for variant in variants[1:] if variant.recall >= 0.95), None) for variants in (small, large)
    ]
    if all(chosen):
        times = [f"{best.group}, {best.label} ({best.recall:.3f}) {best.p50():.3f} ms" for best in chosen]
        print(f"recall ≥ 0.95: {' | '.join(times)}, {chosen[1].p50() / chosen[0].p50():.2f} times")
