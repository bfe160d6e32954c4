"""Indexes through dump and restore, copies of databases, pg_upgrade, and the extension's own removal."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import psycopg
import pytest
from clusters import as_server_user, server_user
from rows import EXACT, clustered, fill, literal, problems

BIN = os.environ["PGMRL_BINDIR"]
# Every class and option, partial, on expressions, partitioned, of a table kept elsewhere, in another schema.
TABLES = """
    CREATE SCHEMA embedding;
    CREATE EXTENSION pg_mrl SCHEMA embedding;
    SET search_path = public, embedding;
    CREATE TABLE kept (id int PRIMARY KEY, n int, emb mrlvec(32));
    CREATE TABLE parted (id int, n int, emb mrlvec(32)) PARTITION BY RANGE (id);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (1000);
    CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (1000) TO (MAXVALUE);
    CREATE UNLOGGED TABLE unlogged (id int, n int, emb mrlvec(32));
    CREATE MATERIALIZED VIEW averages AS SELECT n, embedding.avg(emb) AS emb FROM kept GROUP BY n WITH NO DATA;
"""
INDEXES = """
    CREATE INDEX kept_ip ON kept USING mrl (emb);
    CREATE INDEX kept_cosine ON kept USING mrl (emb mrlvec_cosine_ops) WITH (lists = 5, probes = 3, epsilon = 1.5);
    CREATE INDEX kept_l2 ON kept USING mrl (emb mrlvec_l2_ops) WITH (coarse_dims = 16, rerank = index, probes = all);
    CREATE INDEX kept_partial ON kept USING mrl (emb mrlvec_cosine_ops) WITH (epsilon = exact) WHERE n = 3;
    CREATE INDEX kept_expression ON kept USING mrl ((emb::mrlvec(8)) mrlvec_l2_ops);
    CREATE INDEX parted_emb ON parted USING mrl (emb) WITH (lists = 2);
    CREATE INDEX unlogged_emb ON unlogged USING mrl (emb);
    CREATE INDEX averages_emb ON averages USING mrl ((emb::mrlvec(32)));
"""
INDEX = "FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND amname = 'mrl'"
OURS = f"SELECT c.oid::regclass::text {INDEX} WHERE relkind = 'i' ORDER BY 1"
FILES = f"SELECT pg_relation_filepath(c.oid) {INDEX} WHERE relkind = 'i'"
DEFINITIONS = f"SELECT pg_get_indexdef(c.oid), reloptions, obj_description(c.oid) {INDEX} ORDER BY 1"


def run(program, *arguments, stdin=None):
    return subprocess.run([f"{BIN}/{program}", *arguments], input=stdin, capture_output=True, check=True).stdout


def make(connection):
    connection.execute(TABLES)
    vectors = clustered(3000, 32, 1)
    vectors[5::500] = 0
    for table in ["kept", "parted", "unlogged"]:
        fill(connection, table, id=np.arange(3000), n=np.arange(3000) % 10, emb=vectors)
        connection.execute(f"UPDATE {table} SET emb = NULL WHERE id % 700 = 7")
    connection.execute(INDEXES)
    connection.execute("COMMENT ON INDEX kept_ip IS 'nearest'")
    # The index has grown after it was built: lists have split, references and freed places are in it.
    fill(connection, "kept", id=np.arange(5000, 14_000), n=np.full(9000, 3), emb=clustered(9000, 32, 2))
    connection.execute("UPDATE kept SET n = n + 10 WHERE id % 3 = 0; DELETE FROM kept WHERE id % 11 = 0")
    connection.execute("VACUUM kept")
    connection.execute("UPDATE kept SET id = -id WHERE id % 7 = 0; REFRESH MATERIALIZED VIEW averages; ANALYZE")


def answers(connection):
    """What each index answers, exactly; the plans are looked at."""
    connection.execute(f"SET search_path = public, embedding; {EXACT}; SET enable_seqscan = off; SET enable_sort = off")
    found = {}
    for table, operator, column, condition, index in [
        ("kept", "<#>", "emb", "", "kept_ip"),
        ("kept", "<=>", "emb", "", "kept_cosine"),
        ("kept", "<->", "emb", "", "kept_l2"),
        ("kept", "<=>", "emb", "WHERE n = 3", "kept_partial"),
        ("kept", "<->", "emb::mrlvec(8)", "", "kept_expression"),
        ("parted", "<#>", "emb", "", "parted_high_emb_idx"),
        ("unlogged", "<#>", "emb", "", "unlogged_emb"),
        ("averages", "<#>", "emb::mrlvec(32)", "", "averages_emb"),
    ]:
        query = literal(clustered(1, 8 if "8" in column else 32, 3)[0])
        distance = f"{column} {operator} '{query}'"
        statement = f"SELECT n, {distance} AS d FROM {table} {condition} ORDER BY {distance} LIMIT 60"
        shown = str(connection.execute(f"EXPLAIN {statement}").fetchall())
        assert index in shown, shown
        found[index] = connection.execute(statement).fetchall()
        assert len(found[index]) >= 10
    connection.execute("RESET enable_seqscan; RESET enable_sort")
    return found


def check(connection, expected):
    """The same definitions and answers as before; sound; and it goes on working."""
    definitions, given = expected
    connection.execute("SET search_path = public, embedding")
    assert connection.execute(DEFINITIONS).fetchall() == definitions
    indexes = [name for (name,) in connection.execute(OURS).fetchall()]
    assert len(indexes) == 9
    for index in indexes:
        assert problems(connection, index) == [], index
    assert answers(connection) == given
    # The settings of an index are in force, not only written down.
    connection.execute("RESET mrl.probes; RESET mrl.epsilon; SET enable_seqscan = off; SET enable_sort = off")
    connection.execute("SELECT id FROM kept ORDER BY emb <=> (SELECT emb FROM kept WHERE id = 5001) LIMIT 1")
    probed = "SELECT index::text, lists_probed, rounds FROM mrl_scan_stats()"
    assert connection.execute(probed).fetchone() == ("kept_cosine", 3, 1)
    fill(connection, "kept", id=np.arange(50_000, 56_000), n=np.full(6000, 3), emb=clustered(6000, 32, 4))
    connection.execute("UPDATE kept SET n = n + 1 WHERE id > 52000; DELETE FROM kept WHERE id % 4 = 0")
    connection.execute("VACUUM kept, parted")
    for index in indexes:
        assert problems(connection, index) == [], index


@pytest.fixture
def databases(connection):
    """A database with indexes of all kinds, what it answers, and the name of one that is not there yet."""
    names = ["indexed", "indexed_again"]
    for name in names:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    connection.execute(f"CREATE DATABASE {names[0]} TEMPLATE template0")
    with psycopg.connect(dbname=names[0], autocommit=True) as source:
        make(source)
        expected = source.execute(DEFINITIONS).fetchall(), answers(source)
    yield *names, expected
    for name in names:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_restored_indexes_are_what_was_dumped(connection, databases, form):
    source, target, expected = databases
    connection.execute(f"CREATE DATABASE {target} TEMPLATE template0")
    if form == "plain":
        run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", target, stdin=run("pg_dump", source))
    else:
        run("pg_restore", "--exit-on-error", "-d", target, stdin=run("pg_dump", "-Fc", source))
    with psycopg.connect(dbname=target, autocommit=True) as restored:
        check(restored, expected)


def test_a_copied_database_has_indexes_of_its_own(connection, databases):
    """CREATE DATABASE copies the pages as they are; the two then go different ways."""
    source, target, expected = databases
    connection.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
    with psycopg.connect(dbname=target, autocommit=True) as copied:
        check(copied, expected)
    with psycopg.connect(dbname=source, autocommit=True) as original:
        check(original, expected)


def test_the_extension_goes_only_with_its_indexes(connection, databases):
    with psycopg.connect(dbname=databases[0], autocommit=True) as session:
        session.execute("SET search_path = public, embedding")
        for statement in [
            "DROP EXTENSION pg_mrl",
            "DROP ACCESS METHOD mrl",
            "DROP ACCESS METHOD mrl CASCADE",
            "DROP FUNCTION mrl_handler",
            "DROP OPERATOR CLASS mrlvec_cosine_ops USING mrl",
            "DROP OPERATOR FAMILY mrlvec_ip_ops USING mrl CASCADE",
            "DROP OPERATOR <#> (mrlvec, mrlvec)",
        ]:
            with pytest.raises(psycopg.errors.DependentObjectsStillExist):
                session.execute(statement)
        assert len(session.execute(OURS).fetchall()) == 9
        # What a session has read of an index is not used for one of the same name that comes after it.
        session.execute("SET enable_seqscan = off")
        nearest = "SELECT id FROM unlogged ORDER BY emb <#> (SELECT emb FROM unlogged WHERE id = 1) LIMIT 1"
        found = session.execute(nearest).fetchone()
        session.execute("DROP INDEX unlogged_emb; CREATE INDEX unlogged_emb ON unlogged USING mrl (emb)")
        assert session.execute(nearest).fetchone() == found
        files = [path for (path,) in session.execute(FILES).fetchall()]
        assert len(files) == 9
        session.execute("DROP EXTENSION pg_mrl CASCADE")
        assert session.execute("SELECT count(*) FROM pg_am WHERE amname = 'mrl'").fetchone() == (0,)
        left = "SELECT count(*) FROM pg_class WHERE relname ~ '^kept_(ip|cosine|l2|partial|expression)'"
        assert session.execute(left).fetchone() == (0,)
        assert session.execute("SELECT count(*) FROM kept").fetchone()[0] > 0
        session.execute("CHECKPOINT")
        folder = Path(session.execute("SHOW data_directory").fetchone()[0])
        # Of a file that was dropped an empty one stays till the checkpoint, and then none.
        assert [path for path in files if (folder / path).exists()] == []
        session.execute("CREATE EXTENSION pg_mrl SCHEMA embedding")


@pytest.mark.skipif(not Path(BIN, "pg_upgrade").exists(), reason="this server's package has no pg_upgrade")
def test_pg_upgrade_keeps_indexes_without_reindex(cluster):
    """Into a new cluster of the same release: files are taken over as they are, so are transaction numbers."""
    old = cluster()
    with old.connect() as session:
        make(session)
        expected = session.execute(DEFINITIONS).fetchall(), answers(session)
        nodes = session.execute("SELECT relname, relfilenode FROM pg_class WHERE relname ~ '^kept_' ORDER BY 1").fetchall()
    new = cluster()
    for server in [old, new]:
        server.control("stop", "-m", "fast")
    folder = new.data.parent / "upgrade"
    folder.mkdir()
    shutil.chown(folder, server_user())
    done = subprocess.run(
        as_server_user(
            f"{BIN}/pg_upgrade", "-b", BIN, "-B", BIN, "-d", old.data, "-D", new.data, "-U", "postgres", "-s", folder, "-N"
        ),
        cwd=folder, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    new.control("start")
    with new.connect() as session:
        now = session.execute("SELECT relname, relfilenode FROM pg_class WHERE relname ~ '^kept_' ORDER BY 1").fetchall()
        # Before release 15 files got new names.
        assert now == nodes or session.info.server_version < 150000
        session.execute("ANALYZE")
        check(session, expected)
    # An unlogged index begins anew from the fork that the upgrade has made, not taken over.
    new.kill()
    new.control("start")
    with new.connect() as session:
        session.execute("SET search_path = public, embedding")
        assert session.execute("SELECT count(*) FROM unlogged").fetchone() == (0,)
        fill(session, "unlogged", id=np.arange(4000), n=np.arange(4000), emb=clustered(4000, 32, 6))
        assert problems(session, "unlogged_emb") == []
        assert problems(session, "kept_ip") == []
