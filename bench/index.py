"""The index through SQL: recall, times, size, against exact answers and against pgvector's HNSW.

`bench/index.py search --set a` and so on, against the cluster of the environment; the data are those of
bench/data.py. Times are the server's execution time of a prepared LIMIT 10 query; the indexes that are
compared take turns, query by query, on one server.
"""

import argparse
import statistics
import threading
import time

import numpy as np

from data import HOME, noisy_queries
from harness import connect, has_pgvector, machine, quantile, server_milliseconds

LIMIT = 10


def load(name, rows):
    """Vectors, queries, and each vector's cluster."""
    if name == "a":
        file = HOME / "minilm.npy"
        vectors = np.load(file if file.exists() else HOME / "minilm-partial.npy")
        queries, vectors = vectors[:1000], vectors[1000:][:rows]
        generator = np.random.default_rng(5)
        centres = vectors[generator.choice(len(vectors), 300, replace=False)].astype(np.float32)
        cluster = np.concatenate(
            [(block.astype(np.float32) @ centres.T).argmax(1) for block in np.array_split(vectors, 50)]
        )
    else:
        vectors = np.load(HOME / "synthetic.npy", mmap_mode="r")[:rows]
        cluster = np.load(HOME / "synthetic-clusters.npy")[:rows]
        queries = noisy_queries(vectors)
    return vectors, queries, cluster


def nearest(vectors, queries, dimensions=None, allowed=None, count=LIMIT):
    """The exact answer: ids of the rows with the greatest inner product, by the leading dimensions."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    ids = np.zeros((len(queries), count), np.int64)
    asked = queries[:, :dimensions].astype(np.float32)
    chosen = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    for start in range(0, len(chosen), 20_000):
        rows = chosen[start : start + 20_000]
        block = vectors[rows][:, :dimensions].astype(np.float32)
        if dimensions:
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        scores = np.concatenate([best, asked @ block.T], 1)
        numbers = np.concatenate([ids, np.broadcast_to(rows, (len(asked), len(rows)))], 1)
        order = np.argpartition(-scores, count - 1, 1)[:, :count]
        best, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
    return [set(row[np.isfinite(b)]) for row, b in zip(ids, best, strict=True)]


def literal(vector):
    return "[" + ",".join(map(str, vector.astype(np.float32))) + "]"


def binary_row(number, vector, cluster):
    value = np.array([len(vector), 0], ">u2").tobytes() + vector.astype(">f2").tobytes()
    fields = [number.to_bytes(4, "big"), int(cluster).to_bytes(4, "big"), (0).to_bytes(4, "big")]
    head = b"".join(b"\0\0\0\x04" + field for field in fields)
    return b"\0\x04" + head + len(value).to_bytes(4, "big") + value


def fill(connection, vectors, cluster, table, kind):
    """A table (id, cluster, touched, emb); the id is the row's number."""
    connection.execute(
        f"CREATE TABLE {table} (id int, cluster int, touched int, emb {kind}({vectors.shape[1]}))"
    )
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(vectors), 5000):
            block = np.asarray(vectors[start : start + 5000])
            copy.write(
                b"".join(binary_row(start + i, v, cluster[start + i]) for i, v in enumerate(block))
            )
        copy.write(b"\xff\xff")
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")


def prepare(connection, table, kind, condition="", name=None):
    name = name or table
    connection.execute(
        f"PREPARE {name}({kind}) AS SELECT id FROM {table} {condition} ORDER BY emb <#> $1 LIMIT {LIMIT}"
    )
    return name


def build(connection, table, method, options=""):
    options = f"WITH ({options})" if options else ""
    start = time.perf_counter()
    connection.execute(f"CREATE INDEX {table}_index ON {table} USING {method} {options}")
    seconds = time.perf_counter() - start
    size, rows = connection.execute(
        f"SELECT pg_relation_size('{table}_index'), count(*) FROM {table}"
    ).fetchone()
    return seconds, size / rows


def run(connection, variants, queries, truth):
    """Recall, p50 and p99 of each variant (label, settings, statement); they take turns."""
    found = {label: ([], []) for label, _, _ in variants}
    for query, expected in zip(queries, truth, strict=True):
        text = literal(query)
        for label, settings, statement in variants:
            for name, value in settings.items():
                connection.execute(f"SET {name} = {value}")
            rows = connection.execute(f"EXECUTE {statement}('{text}')").fetchall()
            times = found[label][1]
            times.append(server_milliseconds(connection, f"EXECUTE {statement}('{text}')"))
            found[label][0].append((len(expected & {row[0] for row in rows}), len(expected), len(rows)))
            for name in settings:
                connection.execute(f"RESET {name}")
    report = {}
    for label, (hits, times) in found.items():
        recall = sum(hit for hit, _, _ in hits) / max(1, sum(count for _, count, _ in hits))
        least = min(rows for _, _, rows in hits)
        report[label] = (recall, statistics.median(times), quantile(times, 0.99), least)
        print(
            f"{label:44} recall {recall:.4f}  p50 {report[label][1]:7.3f} ms  p99 {report[label][2]:7.3f} ms"
            f"  rows ≥ {least}",
            flush=True,
        )
    return report


def made(connection, arguments, vectors, cluster):
    """The tables and indexes that are there to be compared: (table, type)."""
    connection.execute("SET maintenance_work_mem = '1GB'")
    tables = []
    for table, kind, method in [
        ("ours", "mrlvec", "mrl (emb)"),
        ("theirs", "halfvec", "hnsw (emb halfvec_ip_ops)"),
    ]:
        if kind == "halfvec" and not (arguments.pgvector and has_pgvector(connection)):
            continue
        fill(connection, vectors, cluster, table, kind)
        options = arguments.options if kind == "mrlvec" else ""
        seconds, size = build(connection, table, method, options)
        print(f"{method.split()[0]}: built in {seconds:.1f} s, {size:.1f} bytes a row", flush=True)
        prepare(connection, table, kind)
        tables.append((table, kind))
    return tables


def search(connection, arguments, vectors, queries, cluster):
    tables = made(connection, arguments, vectors, cluster)
    truth = nearest(vectors, queries)
    variants = [("mrl, defaults", {}, "ours")]
    for probes in arguments.probes.split():
        for epsilon in arguments.epsilon.split():
            settings = {"mrl.probes": f"'{probes}'", "mrl.epsilon": f"'{epsilon}'"}
            variants.append((f"mrl, probes {probes}, epsilon {epsilon}", settings, "ours"))
        unfiltered = {"mrl.probes": f"'{probes}'", "mrl.funnel": "off"}
        variants.append((f"mrl, probes {probes}, without funnel", unfiltered, "ours"))
    if ("theirs", "halfvec") in tables:
        for width in arguments.ef.split():
            variants.append((f"hnsw, ef_search {width}", {"hnsw.ef_search": width}, "theirs"))
    run(connection, variants, queries, truth)
    clients(connection, queries)


def clients(_, queries):
    """Queries a second of 1 and 2 clients, with the defaults."""
    for count in [1, 2]:
        done = []

        def ask(seconds=4, done=done):
            own = connect()
            prepare(own, "ours", "mrlvec")
            texts = [literal(query) for query in queries[:200]]
            end, i = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                own.execute(f"EXECUTE ours('{texts[i % len(texts)]}')").fetchall()
                i += 1
            done.append(i / seconds)

        threads = [threading.Thread(target=ask) for _ in range(count)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(f"{count} clients: {sum(done):.0f} queries a second", flush=True)


def short(connection, arguments, vectors, queries, cluster):
    """A query of 64 dimensions against the index of all."""
    arguments.pgvector = False
    made(connection, arguments, vectors, cluster)
    for dimensions in [64, 128]:
        asked = queries[:, :dimensions].astype(np.float32)
        asked = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float16)
        print(f"{dimensions} dimensions")
        run(connection, [("mrl, defaults", {}, "ours")], asked, nearest(vectors, asked, dimensions))


def filters(connection, arguments, vectors, queries, cluster):
    """Conditions that hold for few rows, by chance or for whole clusters."""
    tables = made(connection, arguments, vectors, cluster)
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    order = np.random.default_rng(9).permutation(cluster.max() + 1)
    ranked = order[cluster]
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
            some = queries[: arguments.queries // 10]
            truth = nearest(vectors, some, allowed=allowed)
            variants = []
            for table, kind in tables:
                name = prepare(connection, table, kind, f"WHERE {condition}", f"{table}_{label}_{modulus}")
                settings = {"hnsw.iterative_scan": "relaxed_order"} if kind == "halfvec" else {}
                variants.append((f"{table}", settings, name))
            run(connection, variants, some, truth)


def written(statements, sessions, seconds=10):
    """Statements a second of some sessions, and the 99th percentile in milliseconds."""
    times, lock = [], threading.Lock()

    def work():
        own = connect(synchronous_commit="off")
        end, taken = time.perf_counter() + seconds, []
        while (now := time.perf_counter()) < end:
            with lock:
                statement = next(statements)
            own.execute(statement, prepare=False)
            taken.append(1000 * (time.perf_counter() - now))
        times.extend(taken)

    threads = [threading.Thread(target=work) for _ in range(sessions)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return len(times) / seconds, quantile(times, 0.99), len(times)


def writes(connection, arguments, vectors, queries, cluster):
    """INSERT and UPDATE of single rows beside each index."""
    kept, fresh = vectors[:-20_000], vectors[-20_000:]
    for table, kind in made(connection, arguments, kept, cluster):
        for sessions in [1, 8]:
            texts = (f"INSERT INTO {table} VALUES (0, 0, 0, '{literal(v)}')" for v in np.tile(fresh, (20, 1)))
            rate, slow, _ = written(texts, sessions)
            print(f"{table}: {sessions} sessions insert {rate:.0f} rows a second, p99 {slow:.1f} ms", flush=True)
        connection.execute(f"CREATE INDEX ON {table} (touched); CREATE INDEX ON {table} (id)")
        size = f"SELECT pg_relation_size('{table}_index')"
        before = connection.execute(size).fetchone()[0]
        numbers = iter(np.random.default_rng(3).permutation(len(kept)))
        texts = (f"UPDATE {table} SET touched = touched + 1 WHERE id = {n}" for n in numbers)
        rate, slow, count = written(texts, 1)
        after = connection.execute(size).fetchone()[0]
        print(
            f"{table}: {rate:.0f} updates a second, p99 {slow:.1f} ms, {(after - before) / count:.1f} bytes each",
            flush=True,
        )


def grown(connection, arguments, vectors, queries, cluster):
    """An index on an empty table that is filled, against one built afresh."""
    truth = nearest(vectors, queries)
    arguments.pgvector = False
    made(connection, arguments, vectors, cluster)
    width = vectors.shape[1]
    connection.execute("CREATE INDEX ON ours (id)")
    connection.execute(f"CREATE TABLE grown (id int, cluster int, touched int, emb mrlvec({width}))")
    connection.execute("CREATE INDEX grown_index ON grown USING mrl (emb)")
    # Many transactions, as tables grow: what a split leaves is used again once they have ended.
    for start in range(0, len(vectors), 1000):
        connection.execute(f"INSERT INTO grown SELECT * FROM ours WHERE id >= {start} AND id < {start + 1000}")
    connection.execute("ANALYZE grown")
    size = connection.execute("SELECT pg_relation_size('grown_index')").fetchone()[0] / len(vectors)
    print(f"grown: {size:.1f} bytes a row", flush=True)
    prepare(connection, "grown", "mrlvec")
    run(connection, [("fresh", {}, "ours"), ("grown", {}, "grown")], queries, truth)
    print(connection.execute("SELECT * FROM mrl_index_info('grown_index')").fetchone())


def main():
    measures = {f.__name__: f for f in [search, short, filters, writes, grown]}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=measures)
    parser.add_argument("--set", choices=["a", "b"], default="a")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--pgvector", action="store_true")
    parser.add_argument("--probes", default="")
    parser.add_argument("--epsilon", default="auto")
    parser.add_argument("--options", default="", help="storage parameters of our index")
    parser.add_argument("--ef", default="40 100 200 400")
    arguments = parser.parse_args()
    connection = connect()
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl")
    if arguments.pgvector and has_pgvector(connection):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    vectors, queries, cluster = load(arguments.set, arguments.rows)
    queries = queries[: arguments.queries]
    for line in machine(connection):
        print(line)
    print(f"{len(vectors):,} rows of {vectors.shape[1]} dimensions")
    connection.execute("DROP TABLE IF EXISTS ours, theirs, grown")
    measures[arguments.measure](connection, arguments, vectors, queries, cluster)


if __name__ == "__main__":
    main()
