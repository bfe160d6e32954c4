"""All SQL, isolation and client tests once against a primary whose log is checked, and a standby that replays it.

`make test-replicated` runs it: with `wal_consistency_checking = all` a standby compares each page that it has replayed with the
primary's and stops at a difference. Afterwards the indexes that the tests have left are compared, byte for byte, and
what they answer. Some ten minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from clusters import LOGGED, Cluster, Standby  # noqa: E402

SETTINGS = ["wal_consistency_checking = 'all'", "max_wal_senders = 4", "hot_standby = on"]
SUITES = ["tests/run-sql", "tests/run-isolation", "tests/run-clients"]
# Temporary and unlogged indexes are not in the log.
INDEXES = """
    SELECT index.oid::regclass::text, pg_relation_filepath(index.oid) FROM pg_class index JOIN pg_am am ON am.oid = index.relam
    WHERE am.amname = 'mrl' AND index.relkind = 'i' AND index.relpersistence = 'p'
"""


def databases(connection):
    return [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()]


def compare(primary, standby):
    """How many indexes both have; the same in every byte, and sound."""
    with primary.connect() as connection:
        connection.execute("CHECKPOINT")
        names = databases(connection)
        position = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
    standby.wait_for(position, seconds=1200)
    with standby.connect() as connection:
        connection.execute("CHECKPOINT")
    compared = 0
    for name in names:
        with primary.connect(database=name) as ours, standby.connect(database=name) as theirs:
            for index, path in ours.execute(INDEXES).fetchall():
                # Pages that were added and never used are not in the log.
                read = "SELECT md5(rtrim(pg_read_binary_file(%s), '\\x00'))"
                assert ours.execute(read, (path,)).fetchone() == theirs.execute(read, (path,)).fetchone(), (name, index)
                assert theirs.execute("SELECT * FROM mrl_index_check(%s, true)", (index,)).fetchall() == [], (name, index)
                compared += 1
    return compared


def main():
    primary = Cluster("replicated", [*LOGGED, *SETTINGS])
    try:
        with primary.connect() as connection:
            # The standby falls behind: nothing that it has not seen may go.
            connection.execute("SELECT pg_create_physical_replication_slot('standby', true)")
        standby = Standby(primary, "primary_slot_name = 'standby'")
        standby.start()
        try:
            environment = os.environ | primary.environment
            for suite in SUITES:
                subprocess.run([ROOT / suite, "--inside"], check=True, cwd=ROOT, env=environment)
            print(f"{compare(primary, standby)} indexes are the same on the standby", flush=True)
            log = standby.log.read_text()
            assert not any(word in log for word in ["inconsistent page", "PANIC", "FATAL"]), log[-4000:]
        finally:
            standby.remove()
    finally:
        primary.stop()


main()
