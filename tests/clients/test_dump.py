"""pg_dump and restore of all that a table can have to do with the extension."""

import os
import subprocess

import psycopg
import pytest

BIN = os.environ["PGMRL_BINDIR"]
# The extension has a schema of its own, and nobody's search_path names it.
OBJECTS = """
    CREATE SCHEMA embedding;
    CREATE EXTENSION pg_mrl SCHEMA embedding;
    CREATE TABLE note (
        id int PRIMARY KEY,
        body text,
        generated embedding.mrlvec(384) GENERATED ALWAYS AS
            (embedding.mrl_embed(body, 'search_document', 384, 'all-MiniLM-L6-v2')) STORED,
        filled embedding.mrlvec(384),
        any_length embedding.mrlvec DEFAULT '[1,2,3]'::embedding.mrlvec,
        CHECK (filled OPERATOR(embedding.<=>) generated < 0.001)
    );
    CREATE INDEX note_expression ON note (embedding.mrl_embed(body, 'clustering', 64, 'all-MiniLM-L6-v2'));
    CREATE INDEX note_cast ON note ((any_length::embedding.mrlvec(2)));
    CREATE INDEX note_hash ON note USING hash (filled);
    CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON note FOR EACH ROW EXECUTE FUNCTION
        embedding.mrl_embed_trigger('filled', 'search_document', 'body', 'dim=384', 'model=all-MiniLM-L6-v2');
    CREATE VIEW nearest AS SELECT id, filled OPERATOR(embedding.<#>)
        embedding.mrl_embed('dogs', 'search_query', 64, 'all-MiniLM-L6-v2') AS distance FROM note;
    CREATE MATERIALIZED VIEW average AS SELECT embedding.avg(filled) AS emb FROM note;
    CREATE FUNCTION ask(query text) RETURNS SETOF int LANGUAGE sql STABLE
        BEGIN ATOMIC SELECT id FROM note ORDER BY filled OPERATOR(embedding.<#>) embedding.mrl_embed(query, 'search_query'); END;
    INSERT INTO note (id, body) VALUES (1, 'A dog barks.'), (2, 'A cat purrs.'), (3, NULL), (4, 'Zürich, 北京 🙂');
    REFRESH MATERIALIZED VIEW average;
"""
CONTENT = """
    SELECT (SELECT json_agg(note ORDER BY id)::text FROM note),
           (SELECT json_agg(nearest ORDER BY id)::text FROM nearest),
           (SELECT emb::text FROM average), (SELECT json_agg(ask)::text FROM ask('a pet'))
"""
CATALOG = """
    SELECT json_agg(line ORDER BY line)::text FROM (
        SELECT pg_get_indexdef(indexrelid) AS line FROM pg_index WHERE indrelid = 'public.note'::regclass
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'public.note'::regclass
        UNION ALL SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'public.note'::regclass
        UNION ALL SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'public.note'::regclass
        UNION ALL SELECT nspname || ' ' || extname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    ) lines
"""


def run(program, *arguments, stdin=None):
    return subprocess.run(
        [f"{BIN}/{program}", *arguments], input=stdin, capture_output=True, check=True, text=False
    )


@pytest.fixture
def databases(connection):
    """Two empty databases, dropped after the test."""
    names = ["dumped", "restored"]
    for name in names:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield names
    for name in names:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("form", ["plain", "custom", "directory in parallel"])
def test_restored_is_what_was_dumped(databases, form, tmp_path):
    source, target = databases
    with psycopg.connect(dbname=source, autocommit=True) as connection:
        connection.execute(OBJECTS)
        content = connection.execute(CONTENT).fetchone()
        catalog = connection.execute(CATALOG).fetchone()
    if form == "plain":
        dump = run("pg_dump", source).stdout
        run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", target, stdin=dump)
    elif form == "custom":
        dump = run("pg_dump", "-Fc", source).stdout
        run("pg_restore", "--exit-on-error", "-d", target, stdin=dump)
    else:
        folder = tmp_path / "dump"
        run("pg_dump", "-Fd", "-j", "2", "-f", str(folder), source)
        run("pg_restore", "--exit-on-error", "-j", "2", "-d", target, str(folder))
    with psycopg.connect(dbname=target, autocommit=True) as connection:
        assert connection.execute(CONTENT).fetchone() == content
        assert connection.execute(CATALOG).fetchone() == catalog
        # The trigger and the generated column go on working.
        connection.execute("INSERT INTO note (id, body) VALUES (5, 'new')")
        same = "SELECT filled::text = generated::text FROM note WHERE id = 5"
        assert connection.execute(same).fetchone() == (True,)
        # The extension's own objects were not dumped one by one.
        members = "SELECT count(*) FROM pg_proc WHERE proname ~ '^mrlvec' AND pronamespace = 'public'::regnamespace"
        assert connection.execute(members).fetchone() == (0,)


def test_moved_to_another_schema_and_dropped(databases):
    with psycopg.connect(dbname=databases[0], autocommit=True) as connection:
        connection.execute(OBJECTS)
        connection.execute("CREATE SCHEMA elsewhere; ALTER EXTENSION pg_mrl SET SCHEMA elsewhere")
        connection.execute("INSERT INTO note (id, body) VALUES (6, 'after the move')")
        filled = "SELECT filled::text = generated::text FROM note WHERE id = 6"
        assert connection.execute(filled).fetchone() == (True,)
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            connection.execute("DROP EXTENSION pg_mrl")
        connection.execute("DROP EXTENSION pg_mrl CASCADE")
        left = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'note'::regclass AND attnum > 0 AND NOT attisdropped"
        assert connection.execute(left).fetchone() == (2,)
        connection.execute("CREATE EXTENSION pg_mrl")
