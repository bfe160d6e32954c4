"""The measures of writes: single rows beside each index, and an index that has grown instead of being built."""

from data import literal, nearest
from harness import pgbench, quantile
from peers import HNSW, MRL, columns, fill, made, prepare, size
from turns import Variant, run

FRESH = 50_000
SMALL = 20_000


def printed(label, figures, baseline=None):
    rate, times = figures
    ratio = f", {rate / baseline[0]:.2f} of HNSW's" if baseline else ""
    middle, slow = quantile(times, 0.5), quantile(times, 0.99)
    print(f"{label}: {rate:.0f} a second, p50 {middle:.2f} p99 {slow:.2f} ms{ratio}", flush=True)


def ratios(label, figures):
    """What each index reached; ours also as a multiple of HNSW's."""
    for name, reached in figures.items():
        printed(f"{label}, {name}", reached, figures.get(HNSW.name) if name == MRL.name else None)


def writes(connection, arguments, indexes, vectors, queries, cluster):
    """INSERT and UPDATE of single rows beside each index, and beside none."""
    count = min(FRESH, len(vectors) // 2)
    kept, fresh = vectors[:-count], vectors[-count:]
    made(connection, arguments, kept, cluster, indexes)
    # The rows come from a table of the server: the vectors do not pass through the client.
    for kind in {index.kind for index in indexes}:
        fill(connection, arguments, f"fresh_{kind}", kind, fresh, first=len(kept))
        connection.execute(f"ALTER TABLE fresh_{kind} ADD PRIMARY KEY (id)")
    connection.execute(f"CREATE TABLE bare {columns(arguments, vectors.shape[1], MRL.kind)}")
    targets = {"no index": ("bare", MRL.kind)} | {index.name: (index.name, index.kind) for index in indexes}
    for sessions in [1, 8]:
        figures = {}
        for name, (table, kind) in targets.items():
            connection.execute("CHECKPOINT")
            # No vector comes twice before each has come once: copies of a row are a case of their own.
            number = f"(:turn * {sessions} + :client_id) % {count}"
            script = f"""\\set id {len(kept)} + permute({number}, {count}, {sessions})
\\set turn :turn + 1
INSERT INTO {table} SELECT * FROM fresh_{kind} WHERE id = :id;
"""
            length = ("-T", str(arguments.seconds))
            figures[name] = pgbench(script, sessions, length, {"synchronous_commit": "off"}, {"turn": 0})
        ratios(f"INSERT, {sessions} session{'s'[: sessions - 1]}", figures)
    updates(connection, arguments, indexes, kept, cluster)
    update_growth(connection, arguments, indexes, kept[:SMALL], cluster)


def update_script(table, rows):
    return f"""\\set id random(0, {rows - 1})
UPDATE {table} SET touched = touched + 1 WHERE id = :id;
"""


def updates(connection, arguments, indexes, vectors, cluster):
    """UPDATE of a column that has an index, so that each makes a new entry in every index; on tables of their own, as
    those that rows were inserted into have ten times as many more where that is ten times as fast."""
    suffix = "_updated"
    made(connection, arguments, vectors, cluster, indexes, suffix)
    bare = f"bare{suffix}"
    connection.execute(f"CREATE TABLE {bare} {columns(arguments, vectors.shape[1], MRL.kind)}")
    connection.execute(f"INSERT INTO {bare} SELECT * FROM {MRL.name}{suffix}")
    targets = {"no index": bare} | {index.name: index.name + suffix for index in indexes}
    for table in targets.values():
        connection.execute(f"CREATE INDEX ON {table} (touched); CREATE INDEX ON {table} (id)")
    for sessions in [1, 8]:
        figures = {}
        for name, table in targets.items():
            connection.execute(f"VACUUM ANALYZE {table}")
            connection.execute("CHECKPOINT")
            script = update_script(table, len(vectors))
            length = ("-T", str(arguments.seconds))
            figures[name] = pgbench(script, sessions, length, {"synchronous_commit": "off"})
        ratios(f"UPDATE, {sessions} session{'s'[: sessions - 1]}", figures)


def update_growth(connection, arguments, indexes, vectors, cluster):
    """How an index grows when every row is updated once, in random order, and then again."""
    rows = len(vectors)
    made(connection, arguments, vectors, cluster, indexes, "_small")
    for index in indexes:
        table = f"{index.name}_small"
        connection.execute(f"CREATE INDEX ON {table} (touched); CREATE UNIQUE INDEX ON {table} (id)")
        parts = []
        for turn in [1, 2]:
            before = size(connection, table)
            # Each transaction's number in an order that has every number once.
            script = f"""\\set id permute(:turn, {rows}, {turn})
\\set turn :turn + 1
UPDATE {table} SET touched = touched + 1 WHERE id = :id;
"""
            pgbench(script, 1, ("-t", str(rows)), {"synchronous_commit": "off"}, {"turn": 0})
            if connection.execute(f"SELECT min(touched) FROM {table}").fetchone()[0] != turn:
                raise SystemExit(f"{table}: not every row was updated")
            grown = (size(connection, table) - before) / rows
            connection.execute(f"VACUUM {table}")
            parts.append(f"{grown:+.1f} bytes an update, {size(connection, table) / rows:.1f} a row after VACUUM")
        print(f"{table}, every row updated twice: {'; then '.join(parts)}", flush=True)


def grown(connection, arguments, indexes, vectors, queries, cluster):
    """Indexes on empty tables, filled by rows and by statements of many, against one built afresh."""
    rows, table = len(vectors), MRL.name
    made(connection, arguments, vectors, cluster, [MRL])
    connection.execute(f"CREATE UNIQUE INDEX ON {table} (id)")
    statements = {"fresh": prepare(connection, MRL, table)}
    # How many rows a statement has, and how many sessions: these share the ids.
    ways = {"grown_by_1": (1, 2), "grown_by_1_of_8": (1, 8), "grown_by_1000": (1000, 1), "grown_at_once": (rows, 1)}
    for name, (rows_a_statement, sessions) in ways.items():
        script = f"""\\set id (:turn * {sessions} + :client_id) * {rows_a_statement}
\\set turn :turn + 1
INSERT INTO {name} SELECT * FROM {table} WHERE id >= :id AND id < :id + {rows_a_statement};
"""
        connection.execute(f"CREATE TABLE {name} {columns(arguments, vectors.shape[1], MRL.kind)}")
        connection.execute(f"CREATE INDEX {name}_index ON {name} USING {MRL.using}")
        each = -(-rows // (rows_a_statement * sessions))
        rate, _ = pgbench(script, sessions, ("-t", str(each)), {"synchronous_commit": "off"}, {"turn": 0})
        connection.execute(f"ANALYZE {name}")
        count = connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        if count != rows:
            raise SystemExit(f"{name} has {count} rows of {rows}")
        print(f"{name}: {rate:.2f} statements a second, {size(connection, name) / rows:.1f} bytes a row", flush=True)
        statements[name] = prepare(connection, MRL, name)
    texts, truth = [literal(query) for query in queries], nearest(vectors, queries)
    compared = {}
    for label, settings in [("defaults", {}), ("probes 64", {"mrl.probes": "64"})]:
        for name, statement in statements.items():
            compared[name, label] = Variant(name, label, settings, statement, texts, truth)
    run(connection, list(compared.values()))
    for (name, label), variant in compared.items():
        fresh = compared["fresh", label]
        if name != "fresh":
            ratio = variant.p50() / fresh.p50()
            print(f"{name}, {label}: recall {variant.recall - fresh.recall:+.4f}, p50 {ratio:.2f} times the fresh")
    for name in list(statements)[1:]:
        print(name, connection.execute(f"SELECT * FROM mrl_index_info('{name}_index')").fetchone())
