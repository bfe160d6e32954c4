"""What the tests of an index at work share: a table, sessions that change it, threads whose errors count."""

import threading

import numpy as np
from rows import clustered, fill

DEADLINE = 120
TABLE = """
    CREATE EXTENSION pg_mrl;
    CREATE TABLE t (id int PRIMARY KEY, n int, emb mrlvec(32));
    CREATE INDEX t_n ON t (n);
    CREATE INDEX t_emb ON t USING mrl (emb);
"""


def run_all(over, *workers):
    """Each worker in a thread, till all have ended. The first error of one makes the others end, and is raised."""
    errors = []

    def guarded(worker):
        try:
            worker()
        except BaseException as error:
            errors.append(error)
            over.set()

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def churn(connection, seed, first, rows, is_over):
    """Rows of one's own come, change their vector or something else, and go."""
    generator = np.random.default_rng(seed)
    pool = clustered(rows, 32, seed)
    fill(connection, "t", id=np.arange(first, first + rows), n=np.zeros(rows, int), emb=pool)
    while not is_over():
        part = generator.integers(10)
        mine = f"id >= {first} AND id < {first + rows} AND id % 10 = {part}"
        connection.execute(f"UPDATE t SET n = n + 1 WHERE {mine}")
        connection.execute(f"UPDATE t SET emb = (SELECT emb FROM t WHERE id = 0) WHERE {mine} AND id % 3 = 0")
        ids = np.array([i for i in range(first, first + rows) if i % 10 == part])
        with connection.transaction():
            connection.execute(f"DELETE FROM t WHERE {mine}")
            fill(connection, "t", id=ids, n=np.zeros(len(ids), int), emb=pool[ids - first])


def queries_of(seed):
    """Without end."""
    while True:
        yield from clustered(1000, 32, seed)
        seed += 1000
