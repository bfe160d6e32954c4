"""The index under writers, crashes, cancels, a standby and damage.

Each test has a cluster of its own (pgrx-config/cluster). CYCLES in the environment makes the crash test
longer: `make torture CYCLES=200`.
"""

import os
import random
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import psycopg
import pytest

DIMENSIONS = 64


def vectors(count, seed):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((20, DIMENSIONS))
    rows = centres[generator.integers(20, size=count)] + 0.7 * generator.standard_normal((count, DIMENSIONS))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def literal(vector):
    return "[" + ",".join(f"{x:.4f}" for x in vector) + "]"


def problems(connection, index="t_emb"):
    return [row[0] for row in connection.execute(f"SELECT * FROM mrl_index_check('{index}', true)").fetchall()]


def make_table(connection, rows, seed=1):
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl")
    connection.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, n int, emb mrlvec({DIMENSIONS}))")
    connection.execute("CREATE INDEX t_n ON t (n)")
    connection.execute("CREATE INDEX t_emb ON t USING mrl (emb)")
    insert(connection, range(rows), seed)


def insert(connection, ids, seed):
    ids = list(ids)
    with connection.cursor().copy("COPY t FROM STDIN") as copy:
        for number, vector in zip(ids, vectors(len(ids), seed), strict=True):
            copy.write_row((number, number % 100, literal(vector)))


def write(cluster, worker, stop, acknowledged, seed):
    """Inserts, updates and deletes rows of this worker until told to stop or the server is gone."""
    generator = random.Random(seed)
    pool = [literal(vector) for vector in vectors(300, seed)]
    try:
        with cluster.connect() as connection:
            while not stop.is_set():
                number = worker * 10_000_000 + generator.randrange(2000)
                vector = generator.choice(pool)
                match generator.randrange(10):
                    case 0 | 1 | 2 | 3 | 4:
                        acknowledged["?", number] = True
                        connection.execute(
                            "INSERT INTO t VALUES (%s, 0, %s::text::mrlvec) ON CONFLICT (id) DO UPDATE SET emb = excluded.emb",
                            (number, vector),
                        )
                        acknowledged.pop(("?", number))
                        acknowledged[number] = vector
                    case 5 | 6 | 7:
                        connection.execute("UPDATE t SET n = n + 1 WHERE id = %s", (number,))
                    case 8:
                        acknowledged["?", number] = True
                        connection.execute("DELETE FROM t WHERE id = %s", (number,))
                        acknowledged.pop(("?", number))
                        acknowledged[number] = None
                    case 9:
                        connection.execute("SELECT id FROM t ORDER BY emb <#> %s::text::mrlvec LIMIT 5", (vector,))
    except psycopg.OperationalError:
        pass


def vacuum(cluster, stop):
    try:
        with cluster.connect() as connection:
            while not stop.is_set():
                connection.execute("VACUUM t")
    except psycopg.OperationalError:
        pass


def test_killed_under_writers(cluster):
    """After kill -9 the index is sound, and every row that was acknowledged is there with its vector."""
    cycles = int(os.environ.get("CYCLES", "20"))
    server = cluster("synchronous_commit = on", "fsync = off", "autovacuum = off")
    with server.connect() as connection:
        make_table(connection, 3000)
    expected = {}
    for cycle in range(cycles):
        stop = threading.Event()
        known = [{} for _ in range(3)]
        threads = [
            threading.Thread(target=write, args=(server, i + 1, stop, known[i], cycle * 10 + i)) for i in range(3)
        ]
        threads.append(threading.Thread(target=vacuum, args=(server, stop)))
        for thread in threads:
            thread.start()
        time.sleep(random.Random(cycle).uniform(0.3, 1.2))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.control("start")
        with server.connect() as connection:
            assert problems(connection) == []
            stored = dict(connection.execute("SELECT id, emb FROM t WHERE id >= 10000000").fetchall())
            for some in known:
                # What was under way may have happened or not.
                unknown = {key[1] for key in some if isinstance(key, tuple)}
                expected |= {number: vector for number, vector in some.items() if isinstance(number, int)}
                for number in unknown:
                    expected[number] = stored.get(number)
            for number, vector in expected.items():
                assert (number in stored) == (vector is not None), f"row {number} in cycle {cycle}"
                if vector is not None:
                    difference = np.array(eval(stored[number])) - np.array(eval(vector))
                    assert np.abs(difference).max() < 1e-3
            found = connection.execute(
                "SET enable_seqscan = off; SET enable_sort = off; "
                f"SELECT count(*) FROM (SELECT id FROM t ORDER BY emb <#> '{literal(vectors(1, 5)[0])}') s"
            )
            found.nextset()
            found.nextset()
            all_rows = connection.execute("SELECT count(*) FROM t").fetchone()[0]
            assert found.fetchone()[0] == all_rows


def test_many_sessions_fill_an_index(cluster):
    """Eight sessions at once, and vacuum: lists split, nothing is lost."""
    server = cluster()
    with server.connect() as connection:
        make_table(connection, 0)
    stop = threading.Event()

    def fill(worker):
        with server.connect() as connection:
            for part in range(4):
                start = worker * 100_000 + part * 1000
                insert(connection, range(start, start + 1000), worker * 10 + part)

    threads = [threading.Thread(target=fill, args=(worker,)) for worker in range(8)]
    cleaner = threading.Thread(target=vacuum, args=(server, stop))
    for thread in [*threads, cleaner]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    cleaner.join()
    with server.connect() as connection:
        assert problems(connection) == []
        lists, rows = connection.execute("SELECT lists, rows FROM mrl_index_info('t_emb')").fetchone()
        assert rows == 32_000
        assert lists > 8


def test_standby_has_the_same_pages_and_answers(cluster):
    """All of a server's changes replayed with their consistency checked, by a server that needs no library."""
    server = cluster("wal_consistency_checking = 'all'", "max_wal_senders = 4", "hot_standby = on")
    data = Path(server.environment["PGDATA"])
    binaries = Path(server.environment["PGMRL_BINDIR"])
    copy = data.parent / "standby"
    owner = data.owner()
    run = [] if os.getuid() == data.stat().st_uid else ["runuser", "-u", owner, "--"]
    with server.connect() as connection:
        make_table(connection, 3000)
        connection.execute("CHECKPOINT")
        subprocess.run(
            [*run, binaries / "pg_basebackup", "-h", server.environment["PGHOST"], "-U", "postgres", "-D", copy, "-R", "-X", "stream"],
            check=True, cwd="/",
        )
        with (copy / "postgresql.auto.conf").open("a") as settings:
            settings.write("port = 5433\n")
        subprocess.run(
            [*run, binaries / "pg_ctl", "-D", copy, "-l", data.parent / "standby.log", "-w", "start"],
            check=True, cwd="/", stdout=subprocess.DEVNULL,
        )
        try:
            insert(connection, range(10_000, 25_000), 7)
            connection.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0")
            connection.execute("DELETE FROM t WHERE id % 5 = 0")
            connection.execute("VACUUM t")
            insert(connection, range(50_000, 60_000), 8)
            connection.execute("INSERT INTO t VALUES (99, 1, NULL) ON CONFLICT (id) DO UPDATE SET emb = NULL")
            connection.execute("CREATE INDEX second ON t USING mrl (emb mrlvec_cosine_ops)")
            connection.execute("VACUUM t")
            target = connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
            where = {"host": server.environment["PGHOST"], "port": 5433, "user": "postgres", "dbname": "postgres"}
            with psycopg.connect(autocommit=True, **where) as standby:
                deadline = time.monotonic() + 120
                while not standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (target,)).fetchone()[0]:
                    assert time.monotonic() < deadline, (data.parent / "standby.log").read_text()[-2000:]
                    time.sleep(0.05)
                ask = "SELECT array_agg(id) FROM (SELECT id FROM t ORDER BY emb <#> %s::text::mrlvec LIMIT 20) s"
                for vector in vectors(50, 9):
                    asked = (literal(vector),)
                    for session in [connection, standby]:
                        session.execute("SET enable_seqscan = off")
                    assert connection.execute(ask, asked).fetchone() == standby.execute(ask, asked).fetchone()
                assert problems(standby) == []
            log = (data.parent / "standby.log").read_text()
            assert "inconsistent page" not in log
        finally:
            subprocess.run(
                [*run, binaries / "pg_ctl", "-D", copy, "-m", "fast", "-w", "stop"], cwd="/", stdout=subprocess.DEVNULL
            )


def test_cancels_take_effect_soon(cluster):
    """Within 250 ms, wherever they arrive; the index stays sound."""
    server = cluster()
    with server.connect() as connection:
        make_table(connection, 20_000)
        statements = [
            "CREATE INDEX other ON t USING mrl (emb)",
            "REINDEX INDEX t_emb",
            "INSERT INTO t SELECT id + 1000000 + (random() * 1e12)::bigint, n, emb FROM t",
            "SET enable_seqscan = off; SET enable_sort = off; SELECT count(*) FROM (SELECT id FROM t ORDER BY emb <#> (SELECT emb FROM t LIMIT 1)) s",
            "DELETE FROM t WHERE id > 1000000",
            "VACUUM (INDEX_CLEANUP on) t",
        ]
        generator = random.Random(2)
        slowest, cancelled = 0, set()
        for round_number in range(36):
            statement = statements[round_number % len(statements)]
            begun = threading.Event()

            def cancel():
                begun.wait()
                time.sleep(generator.uniform(0.001, 0.15))
                cancel.at = time.monotonic()
                connection.cancel()

            cancel.at = None
            thread = threading.Thread(target=cancel)
            thread.start()
            begun.set()
            try:
                connection.execute(statement)
                thread.join()
            except psycopg.errors.QueryCanceled:
                slowest = max(slowest, time.monotonic() - cancel.at)
                cancelled.add(statement)
                thread.join()
            connection.execute("DROP INDEX IF EXISTS other")
        assert problems(connection) == []
        assert slowest <= 0.25, f"a cancel took {slowest:.3f} s"
        # Some may end before they are cancelled, but not most.
        assert len(cancelled) >= 3, cancelled


DAMAGE = ("XX001", "XX002", "58P01", "22000")
# Bytes of a page that the server's log relies on: where its free space begins and ends.
PAGE_BYTES, LOWER, UPPER_END = 8192, 12, 16


@pytest.mark.parametrize(
    "operator, options", [("<#>", "mrlvec_ip_ops"), ("<=>", "mrlvec_cosine_ops) WITH (rerank = index")], ids=["ip", "copies"]
)
def test_damaged_pages_are_errors_or_go_unnoticed(cluster, operator, options):
    """Random bytes of the index's file flipped: an error, or rows that are there; never a crash, never a hang."""
    server = cluster("autovacuum = off")
    data = Path(server.environment["PGDATA"])
    generator = random.Random(4)
    with server.connect() as connection:
        make_table(connection, 6000)
        connection.execute(f"DROP INDEX t_emb; CREATE INDEX t_emb ON t USING mrl (emb {options}); CHECKPOINT")
        path, size = connection.execute("SELECT pg_relation_filepath('t_emb'), pg_relation_size('t_emb')").fetchone()
    server.control("stop", "-m", "fast")
    sound = (data / path).read_bytes()
    flips, rounds, added, errors = 1000, 10, 0, 0
    for _ in range(rounds):
        broken = bytearray(sound)
        places = [generator.randrange(size) for _ in range(flips // rounds)]
        # And some where chance seldom leads.
        pages = [generator.randrange(size // PAGE_BYTES) for _ in range(5)]
        places += [page * PAGE_BYTES + generator.randrange(LOWER, UPPER_END) for page in pages]
        for place in places:
            broken[place] ^= 1 << generator.randrange(8)
        # Stopped in order: recovery would put the pages of the log over the damage.
        with (data / path).open("r+b") as file:
            file.write(broken)
            file.truncate(size)
        server.control("start")
        with server.connect() as connection:
            connection.execute("SET statement_timeout = '30s'; SET enable_seqscan = off; SET enable_sort = off")

            def attempt(statement):
                nonlocal errors
                try:
                    result = connection.execute(statement)
                    return result.fetchall() if result.description else None
                except psycopg.errors.QueryCanceled:
                    raise
                except psycopg.DatabaseError as error:
                    assert error.sqlstate in DAMAGE, error
                    errors += 1

            for vector in vectors(20, generator.randrange(1000)):
                asked = literal(vector)
                found = attempt(f"SELECT id, emb {operator} '{asked}' FROM t ORDER BY emb {operator} '{asked}' LIMIT 100") or []
                ids = [number for number, _ in found]
                true = connection.execute(f"SELECT id, emb {operator} '{asked}' FROM t WHERE id = ANY(%s)", (ids,)).fetchall()
                assert dict(true) == dict(found)
                added += 1
                attempt(f"INSERT INTO t VALUES ({1_000_000 + added}, 0, '{asked}')")
                attempt(f"UPDATE t SET n = n + 1 WHERE id = {generator.randrange(6000)}")
            attempt("VACUUM t")
            attempt("SELECT * FROM mrl_index_check('t_emb')")
        server.control("stop", "-m", "fast")
    assert "terminated by signal" not in server.log.read_text()
    assert errors > 0, "no damage was met"
