"""The index after kill -9 of the whole cluster under writers, and filled by many sessions at once.

CYCLES in the environment makes the first longer: `make torture CYCLES=200`.
"""

import os
import random
import threading
import time

import numpy as np
import psycopg
from rows import BY_INDEX, clustered, fill, literal, problems

DIMENSIONS = 64
# Exact distances from the table and from copies, every class; rows come into the last and leave it.
INDEXES = {
    "t_emb": ("<#>", "mrl (emb)"),
    "t_copies": ("<=>", "mrl (emb mrlvec_cosine_ops) WITH (rerank = index)"),
    "t_part": ("<->", "mrl (emb mrlvec_l2_ops) WHERE n < 3"),
}
WRITERS, ROWS_OF_A_WRITER = 3, 2000
# Ids of the writers' rows begin here, those of each at a multiple.
FIRST_WRITTEN = 10_000_000


def make_table(connection, rows):
    connection.execute(f"CREATE EXTENSION pg_mrl; CREATE TABLE t (id int PRIMARY KEY, n int, emb mrlvec({DIMENSIONS}))")
    connection.execute("CREATE INDEX t_n ON t (n)")
    for name, (_, definition) in INDEXES.items():
        connection.execute(f"CREATE INDEX {name} ON t USING {definition}")
    fill(connection, "t", id=np.arange(rows), n=np.zeros(rows, int), emb=clustered(rows, DIMENSIONS, 1))


class Writer:
    """Inserts, updates and deletes rows of its own until told to stop or the server is gone."""

    def __init__(self, number, seed):
        self.first = FIRST_WRITTEN * number
        self.generator = random.Random(seed)
        self.pool = [literal(vector) for vector in clustered(300, DIMENSIONS, seed)]
        # The vectors of rows that the server has acknowledged, None of those that are deleted.
        self.acknowledged = {}
        # The row that a statement under way is about: it may take effect or not.
        self.under_way = None
        self.statements = 0

    def run(self, cluster, stop, failures):
        def work():
            with cluster.connect() as connection:
                while not stop.is_set():
                    self.step(connection)
                    self.statements += 1

        until_it_ends(work, failures)

    def step(self, connection):
        row = self.first + self.generator.randrange(ROWS_OF_A_WRITER)
        vector = self.generator.choice(self.pool)
        match self.generator.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                statement = """
                    INSERT INTO t VALUES (%(row)s, 0, %(vector)s::text::mrlvec) ON CONFLICT (id) DO UPDATE SET emb = excluded.emb
                """
                self.write(connection, statement, row, vector, vector)
            case 5 | 6 | 7:
                statement = "UPDATE t SET n = (n + 1) %% 6 WHERE id = %(row)s"
                self.write(connection, statement, row, None, self.acknowledged.get(row))
            case 8:
                self.write(connection, "DELETE FROM t WHERE id = %(row)s", row, None, None)
            case 9:
                connection.execute("SELECT id FROM t ORDER BY emb <#> %s::text::mrlvec LIMIT 5", (vector,))

    def write(self, connection, statement, row, vector, left):
        self.under_way = row
        connection.execute(statement, {"row": row, "vector": vector})
        self.acknowledged[row] = left
        self.under_way = None


def until_it_ends(work, failures):
    """Works until the server is gone; whatever else ends the work is a failure."""
    try:
        work()
    except psycopg.Error as error:
        # Without a state: the connection was cut, or not made any more.
        if error.sqlstate is not None and not error.sqlstate.startswith("57P"):
            failures.append(error)


def vacuum(cluster, stop, failures, done):
    def work():
        with cluster.connect() as connection:
            while not stop.is_set():
                connection.execute("VACUUM t")
                done.append(1)

    until_it_ends(work, failures)


def sound(connection):
    """Nothing wrong with an index; each has all of its rows."""
    connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
    for name, (operator, definition) in INDEXES.items():
        assert problems(connection, name) == []
        condition = definition.partition(" WHERE ")[2] or "true"
        nearest = f"SELECT id FROM t WHERE {condition} ORDER BY emb {operator} '{literal(np.ones(DIMENSIONS))}' LIMIT 1000000"
        plan = connection.execute(f"EXPLAIN {nearest}").fetchall()
        assert any(f"using {name}" in line for (line,) in plan), plan
        found = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM ({nearest}) s").fetchone()
        count = connection.execute(f"SELECT count(*) FROM t WHERE {condition}").fetchone()[0]
        assert found == (count, count), name
    connection.execute("RESET enable_seqscan; RESET enable_sort; RESET enable_bitmapscan")


def test_killed_under_writers(cluster):
    """Each time the indexes are sound, and every row that was acknowledged is there with its vector."""
    cycles = int(os.environ.get("CYCLES", "20"))
    server = cluster("synchronous_commit = on", "fsync = off", "autovacuum = off")
    with server.connect() as connection:
        make_table(connection, 3000)
    expected, failures, vacuums, statements = {}, [], [], 0
    for cycle in range(cycles):
        stop = threading.Event()
        writers = [Writer(number + 1, cycle * 10 + number) for number in range(WRITERS)]
        for writer in writers:
            mine = range(writer.first, writer.first + ROWS_OF_A_WRITER)
            writer.acknowledged = {row: vector for row, vector in expected.items() if row in mine}
        threads = [threading.Thread(target=writer.run, args=(server, stop, failures)) for writer in writers]
        threads.append(threading.Thread(target=vacuum, args=(server, stop, failures, vacuums)))
        for thread in threads:
            thread.start()
        time.sleep(random.Random(cycle).uniform(0.3, 1.2))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        statements += sum(writer.statements for writer in writers)
        server.control("start")
        with server.connect() as connection:
            stored = dict(connection.execute("SELECT id, emb FROM t WHERE id >= %s", (FIRST_WRITTEN,)).fetchall())
            for writer in writers:
                expected |= writer.acknowledged
                if writer.under_way is not None:
                    expected[writer.under_way] = stored.get(writer.under_way)
            compare(stored, expected, cycle)
            sound(connection)
    with server.connect() as connection:
        splits = connection.execute("SELECT lists_made - 3 FROM mrl_index_info('t_emb')").fetchone()[0]
        print(f"{cycles} cycles, {statements} statements, {len(vacuums)} vacuums, {splits} lists made")
        # It was not idle: in each cycle some writes, in most a vacuum, and lists have been split.
        assert statements > 50 * cycles and len(vacuums) > cycles // 2 and splits > 0


def compare(stored, expected, cycle):
    for row, vector in expected.items():
        assert (row in stored) == (vector is not None), f"row {row} in cycle {cycle}"
        if vector is not None:
            difference = np.array(eval(stored[row])) - np.array(eval(vector))
            assert np.abs(difference).max() < 1e-3, f"row {row} in cycle {cycle}"
    written = {row for row, vector in expected.items() if vector is not None}
    assert set(stored) == written, f"cycle {cycle}"


def test_an_unlogged_index_after_a_crash(cluster):
    """Nothing was written before the server ended but the log: the index is empty, and goes on."""
    server = cluster("checkpoint_timeout = '1h'", "synchronous_commit = on")
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_mrl; CREATE UNLOGGED TABLE u (id int, emb mrlvec(32))")
        connection.execute("CREATE INDEX u_emb ON u USING mrl (emb)")
        connection.execute("CREATE INDEX u_copies ON u USING mrl (emb mrlvec_cosine_ops) WITH (rerank = index)")
        fill(connection, "u", id=np.arange(5000), emb=clustered(5000, 32, 1))
    server.kill()
    server.control("start")
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM u").fetchone() == (0,)
        connection.execute(BY_INDEX)
        ask = f"SELECT id FROM u ORDER BY emb <#> '{literal(np.ones(32))}' LIMIT 10"
        assert connection.execute(ask).fetchall() == []
        fill(connection, "u", id=np.arange(3000), emb=clustered(3000, 32, 2))
        assert len(connection.execute(ask).fetchall()) == 10
        assert problems(connection, "u_emb") == problems(connection, "u_copies") == []


def test_a_transaction_that_logs_little(cluster):
    """With wal_level minimal what a transaction has made is not logged: after a crash its indexes are whole."""
    server = cluster("wal_level = minimal", "max_wal_senders = 0", "synchronous_commit = on")
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_mrl")
        for threshold in ["0", "1GB"]:
            name = f"t_{threshold}".lower()
            connection.execute(f"SET wal_skip_threshold = '{threshold}'")
            with connection.transaction():
                connection.execute(f"CREATE TABLE {name} (id int, emb mrlvec(32)); CREATE INDEX {name}_grown ON {name} USING mrl (emb)")
                fill(connection, name, id=np.arange(6000), emb=clustered(6000, 32, 1))
                connection.execute(f"CREATE INDEX {name}_built ON {name} USING mrl (emb mrlvec_l2_ops) WITH (rerank = index)")
            fill(connection, name, id=np.arange(6000, 6100), emb=clustered(100, 32, 2))
    server.kill()
    server.control("start")
    with server.connect() as connection:
        for name in ["t_0", "t_1gb"]:
            assert connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (6100,)
            for index in ["grown", "built"]:
                assert problems(connection, f"{name}_{index}") == []
                (rows,) = connection.execute(f"SELECT rows + null_rows FROM mrl_index_info('{name}_{index}')").fetchone()
                assert rows == 6100


def test_many_sessions_fill_an_index(cluster):
    """Eight sessions at once, and vacuum: lists split, nothing is lost."""
    server = cluster()
    with server.connect() as connection:
        make_table(connection, 0)
    stop, failures = threading.Event(), []

    def add(worker):
        with server.connect() as connection:
            for part in range(4):
                first = worker * 100_000 + part * 1000
                vectors = clustered(1000, DIMENSIONS, worker * 10 + part)
                fill(connection, "t", id=np.arange(first, first + 1000), n=np.arange(1000) % 6, emb=vectors)

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(8)]
    cleaner = threading.Thread(target=vacuum, args=(server, stop, failures, []))
    for thread in [*threads, cleaner]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    cleaner.join()
    assert failures == []
    with server.connect() as connection:
        sound(connection)
        assert connection.execute("SELECT lists > 8, rows FROM mrl_index_info('t_emb')").fetchone() == (True, 32_000)
