"""A call that is cancelled, times out or whose session is terminated."""

import os
import threading
import time
from pathlib import Path

import psycopg
import pytest

# Some seconds of work for one core: 100 texts of the most tokens that the model reads.
LONG_WORK = "SELECT mrl_embed((SELECT array_agg(i || repeat(' word', 250)) FROM generate_series(1, {n}) i), NULL)"
# Far more than the 250 ms that the design promises: machines that run tests are busy.
DEADLINE_SECONDS = 5


def works(connection):
    return connection.execute("SELECT vector_dims(mrl_embed('still alive', NULL))").fetchone() == (384,)


@pytest.mark.parametrize("timeout", [1, 5, 20, 80, 150, 300, 600])
def test_statement_timeout_at_any_moment(new_connection, timeout):
    """The first call of a session loads the model: short time-outs fall into that."""
    with new_connection() as connection:
        connection.execute(f"SET statement_timeout = {timeout}")
        start = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            connection.execute(LONG_WORK.format(n=2000))
        assert time.monotonic() - start < timeout / 1000 + DEADLINE_SECONDS
        connection.execute("RESET statement_timeout")
        assert works(connection)
        assert connection.execute("SELECT count(*) FROM mrl_status()").fetchone() == (1,)


def test_timeout_in_the_tokenizer(new_connection):
    with new_connection() as connection:
        assert works(connection)
        connection.execute("SET statement_timeout = 50")
        start = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT mrl_tokens(repeat('lorem ipsum dolor ', 10000000), NULL)")
        assert time.monotonic() - start < DEADLINE_SECONDS
        connection.execute("RESET statement_timeout")
        assert works(connection)


def in_background(connection, statement):
    """Runs a statement in a thread; the result is a list of the error, if any."""
    errors = []

    def run():
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def wait_until_active(connection, pid):
    deadline = time.monotonic() + 30
    statement = "SELECT state, query LIKE %s FROM pg_stat_activity WHERE pid = %s"
    while connection.execute(statement, ("%array_agg%", pid)).fetchone() != ("active", True):
        assert time.monotonic() < deadline


def test_cancel(new_connection, connection):
    with new_connection() as busy:
        assert works(busy)
        for _ in range(5):
            thread, errors = in_background(busy, LONG_WORK.format(n=2000))
            wait_until_active(connection, busy.info.backend_pid)
            connection.execute("SELECT pg_cancel_backend(%s)", (busy.info.backend_pid,))
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()
            assert [error.sqlstate for error in errors] == ["57014"]
            assert works(busy)


def test_cancel_inside_a_transaction_and_a_subtransaction(new_connection):
    with new_connection() as connection, connection.transaction():
        connection.execute("CREATE TEMPORARY TABLE kept AS SELECT 1 AS one")
        with pytest.raises(psycopg.errors.QueryCanceled), connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 100")
            connection.execute(LONG_WORK.format(n=2000))
        assert works(connection)
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_terminate(new_connection, connection):
    busy = new_connection()
    thread, errors = in_background(busy, LONG_WORK.format(n=2000))
    wait_until_active(connection, busy.info.backend_pid)
    connection.execute("SELECT pg_terminate_backend(%s)", (busy.info.backend_pid,))
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert [error.sqlstate for error in errors] == ["57P01"]
    # Nobody else noticed.
    assert works(connection)
    log = Path(os.environ["PGMRL_LOG"]).read_bytes()
    assert b"terminating any other active server processes" not in log
