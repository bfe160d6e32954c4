"""The index through SQL: recall, times, size, against exact answers and against other indexes.

`bench/index.py search --set a` and so on, against the cluster of the environment; the data are those of
bench/data.py. Indexes that are compared: ours, pgvector's HNSW and VectorChord, those of them that the
server has (bench/peers.py). Times are of prepared LIMIT 10 queries that take turns on one server, its own
execution time and the client's (bench/turns.py); writes come from pgbench.
"""

import argparse
import os

from data import load
from harness import connect, machine, options
from index_search import filters, funnel, growth, search, short
from index_writes import grown, writes
from peers import SCHEMA, present

SHOWN = [
    "shared_buffers",
    "shared_preload_libraries",
    "maintenance_work_mem",
    "max_wal_size",
    "fsync",
    "full_page_writes",
]


def main():
    measures = {f.__name__: f for f in [search, short, funnel, filters, growth, writes, grown]}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=measures)
    parser.add_argument("--set", choices=["a", "b"], default="a")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--indexes", default="mrl hnsw vchordrq", help="of those that the server has")
    parser.add_argument("--text", action="store_true", help="a text of 1 kB beside each vector")
    parser.add_argument("--options", default="", help="storage parameters of our index")
    parser.add_argument("--probes", help="of ours: numbers with spaces between them, as all of these")
    parser.add_argument("--epsilon", default="auto")
    parser.add_argument("--ef", default="20 30 40 60 80 120 200 400")
    parser.add_argument("--vchord-probes", default="10 20 30 40 50 80 160")
    parser.add_argument("--vchord-epsilon", default="1.4 1.9")
    parser.add_argument("--memory", default="1GB", help="maintenance_work_mem of the builds")
    parser.add_argument("--seconds", type=int, default=8, help="of each measure of writes")
    arguments = parser.parse_args()
    if arguments.probes is None:
        arguments.probes = "2 4 8 12 16 24 32 48" if arguments.measure == "growth" else "16 24 32 48 64 96 128"
    os.environ["PGOPTIONS"] = options({"search_path": f"{SCHEMA},public"})
    connection = connect()
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl SCHEMA public")
    indexes = present(connection, arguments.indexes.split())
    vectors, queries, cluster = load(arguments.set, arguments.rows)
    queries = queries[: arguments.queries]
    connection.execute(f"SET maintenance_work_mem = '{arguments.memory}'")
    for line in machine(connection):
        print(line)
    print("cluster: " + ", ".join(f"{name} = {connection.execute(f'SHOW {name}').fetchone()[0]}" for name in SHOWN))
    print(f"{len(vectors):,} rows of {vectors.shape[1]} dimensions, {len(queries)} queries", flush=True)
    measures[arguments.measure](connection, arguments, indexes, vectors, queries, cluster)


if __name__ == "__main__":
    main()
