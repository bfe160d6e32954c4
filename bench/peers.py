"""The indexes that are compared, and their tables: each index has one of its own, named after it.

Ours is always there. pgvector's HNSW and VectorChord take part where the server has them; VectorChord works
only where the cluster preloads it.
"""

import time
from dataclasses import dataclass

import numpy as np

from harness import has_pgvector

LIMIT = 10
TEXT_BYTES = 1024
SCHEMA = "index_bench"


@dataclass(frozen=True)
class Index:
    name: str
    kind: str
    extension: str
    using: str


MRL = Index("mrl", "mrlvec", "pg_mrl", "mrl (emb)")
HNSW = Index("hnsw", "halfvec", "vector", "hnsw (emb halfvec_ip_ops) WITH (m = 16, ef_construction = 64)")
VCHORD = Index("vchordrq", "halfvec", "vchord", "vchordrq (emb halfvec_ip_ops)")

# A list for 500 rows, as VectorChord's manual has it for sets of this size.
VCHORD_OPTIONS = """WITH (options = $$
residual_quantization = true
build.internal.lists = [{lists}]
build.internal.spherical_centroids = true
build.internal.build_threads = 2
$$)"""


def present(connection, wanted):
    """The indexes among the wanted ones that the server has; their extensions are made."""
    preloaded, available = connection.execute(
        "SELECT current_setting('shared_preload_libraries'), EXISTS"
        " (SELECT FROM pg_available_extensions WHERE name = 'vchord')"
    ).fetchone()
    there = {
        MRL: True,
        HNSW: has_pgvector(connection),
        VCHORD: available and "vchord" in preloaded and has_pgvector(connection),
    }
    found = [index for index, usable in there.items() if usable and index.name in wanted]
    for index in found:
        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {index.extension} SCHEMA public CASCADE")
    return found


def columns(arguments, width, kind):
    text = ", body text" if arguments.text else ""
    return f"(id int, cluster int, touched int, emb {kind}({width}){text})"


def binary_row(number, vector, cluster, text):
    value = np.array([len(vector), 0], ">u2").tobytes() + vector.astype(">f2").tobytes()
    fields = [number.to_bytes(4, "big"), int(cluster).to_bytes(4, "big"), (0).to_bytes(4, "big"), value]
    fields += [text] if text else []
    return len(fields).to_bytes(2, "big") + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def pieces():
    """Texts of a kilobyte that differ; they compress little, as prose of that size does."""
    generator = np.random.default_rng(17)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz     ", np.uint8)
    pool = letters[generator.integers(0, len(letters), 4_000_000)].tobytes()
    while True:
        for start in generator.integers(0, len(pool) - TEXT_BYTES, 10_000).tolist():
            yield pool[start : start + TEXT_BYTES]


def fill(connection, arguments, table, kind, vectors, cluster=None, first=0):
    """A table of the vectors; the id is the row's number, counted from `first`."""
    cluster = np.zeros(len(vectors), int) if cluster is None else cluster
    texts = pieces() if arguments.text else iter(lambda: b"", None)
    connection.execute(f"CREATE TABLE {table} {columns(arguments, vectors.shape[1], kind)}")
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(vectors), 5000):
            block = np.asarray(vectors[start : start + 5000])
            rows = enumerate(zip(block, texts, strict=False), start)
            copy.write(b"".join(binary_row(first + i, v, cluster[i], text) for i, (v, text) in rows))
        copy.write(b"\xff\xff")
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")


def build(connection, arguments, index, table):
    """Builds the index of a table: seconds, and bytes a row."""
    using = index.using
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    if index is VCHORD:
        using += VCHORD_OPTIONS.format(lists=max(1, rows // 500))
    elif index is MRL and arguments.options:
        using += f" WITH ({arguments.options})"
    start = time.perf_counter()
    connection.execute(f"CREATE INDEX {table}_index ON {table} USING {using}")
    seconds = time.perf_counter() - start
    # VectorChord's build says that the table has no rows, and the planner would believe it.
    connection.execute(f"ANALYZE {table}")
    return seconds, size(connection, table) / max(1, rows)


def size(connection, table):
    return connection.execute(f"SELECT pg_relation_size('{table}_index')").fetchone()[0]


def made(connection, arguments, vectors, cluster, indexes, suffix=""):
    """A table and its index for each of the indexes; prints what the builds took."""
    copies = {}
    for index in indexes:
        table = index.name + suffix
        if index.kind in copies:
            connection.execute(f"CREATE TABLE {table} {columns(arguments, vectors.shape[1], index.kind)}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM {copies[index.kind]}")
            connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
        else:
            fill(connection, arguments, table, index.kind, vectors, cluster)
            copies[index.kind] = table
        seconds, each = build(connection, arguments, index, table)
        print(f"{table}: {len(vectors):,} rows built in {seconds:.1f} s, {each:.1f} bytes a row", flush=True)
    warm(connection, [index.name + suffix for index in indexes])


def warm(connection, tables):
    """Reads tables and their indexes into shared buffers: a load or a build passes large ones by them."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm SCHEMA public")
    relations = [relation for table in tables for relation in [table, f"{table}_index"]]
    blocks = sum(connection.execute("SELECT pg_prewarm(%s)", (relation,)).fetchone()[0] for relation in relations)
    buffers = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'shared_buffers'").fetchone()[0]
    if blocks > 0.95 * buffers:
        raise SystemExit(f"{blocks} pages of tables and indexes do not fit {buffers} shared buffers")


def nearest_rows(table, question, condition=""):
    return f"SELECT id FROM {table} {condition} ORDER BY emb <#> {question} LIMIT {LIMIT}"


def prepare(connection, index, table, condition="", name=None):
    """Prepares the query of the nearest rows, and sees to it that its plan uses the index."""
    name = name or f"nearest_{table}"
    connection.execute(f"PREPARE {name}({index.kind}) AS {nearest_rows(table, '$1', condition)}")
    if index is VCHORD:
        # Its planning already wants probes; what a query uses is what is set when it runs.
        connection.execute("SET vchordrq.probes = '10'")
    indexed(connection, f"EXECUTE {name}(NULL)", table)
    return name


def indexed(connection, statement, table):
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {statement}"))
    if f"Index Scan using {table}_index" not in plan:
        raise SystemExit(f"no use of {table}'s index:\n{plan}")
