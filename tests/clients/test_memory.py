"""What a session costs: nothing before the first embedding, no thread ever, no growth."""

from pathlib import Path

KILOBYTE = 1024


def private_bytes(pid):
    """Memory that is the process's own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["RssAnon"].split()[0]) * KILOBYTE


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def open_files(pid):
    files = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            files.append(str(descriptor.readlink()))
        except FileNotFoundError:
            pass
    return files


def test_a_session_that_never_embeds_loads_nothing(new_connection):
    with new_connection() as connection:
        pid = connection.info.backend_pid
        connection.execute("LOAD 'pg_mrl'")
        before = private_bytes(pid)
        connection.execute("SELECT '[1,2,3]'::mrlvec <#> '[1,2,3]'")
        connection.execute("SELECT count(*) FROM mrl_status()")
        assert connection.execute("SELECT count(*) FROM mrl_status()").fetchone() == (0,)
        # Caches of the catalog, some statements' memory; a model has 90 MB, a tokenizer 10.
        assert private_bytes(pid) - before < 1024 * KILOBYTE
        assert threads(pid) == 1


def test_an_embedding_starts_no_thread_and_keeps_no_file_open(new_connection):
    with new_connection() as connection:
        pid = connection.info.backend_pid
        connection.execute("SELECT mrl_embed(repeat('word ', 200), 'search_document')")
        loaded = connection.execute("SELECT bytes FROM mrl_status()").fetchone()[0]
        assert private_bytes(pid) > loaded
        assert threads(pid) == 1
        assert not [file for file in open_files(pid) if "safetensors" in file]


def growth(connection, statement, warm_up, count):
    """How much a session grew in `count` rounds of a statement, after `warm_up` rounds."""
    for _ in range(warm_up):
        connection.execute(statement)
    before = private_bytes(connection.info.backend_pid)
    for _ in range(count):
        connection.execute(statement)
    return private_bytes(connection.info.backend_pid) - before


def test_no_call_leaks(new_connection):
    statements = [
        # Embeddings without a cache, cache hits, errors, operators on values that are detoasted.
        "SET mrl.cache_size = 0; SELECT count(mrl_embed('text ' || i, NULL)) FROM generate_series(1, 20) i",
        "SET mrl.cache_size = 64; SELECT count(mrl_embed('one text', NULL)) FROM generate_series(1, 2000) i",
        "DO $$ BEGIN PERFORM mrl_embed('a', 'no such prefix'); EXCEPTION WHEN OTHERS THEN NULL; END $$",
        "DO $$ BEGIN PERFORM '[1,'::mrlvec; EXCEPTION WHEN OTHERS THEN NULL; END $$",
        "SELECT count(emb <#> '[1,2,3]'), count(emb + emb), avg(emb), count(emb::text), max(emb::mrlvec(64)::text) FROM big",
        "SELECT count(mrl_tokens('some text ' || i, NULL)) FROM generate_series(1, 500) i",
    ]
    with new_connection() as connection:
        connection.execute("CREATE TEMPORARY TABLE big (emb mrlvec)")
        connection.execute("ALTER TABLE big ALTER emb SET STORAGE extended")
        connection.execute(
            "INSERT INTO big SELECT array_agg(i % 100)::mrlvec FROM generate_series(1, 4000) i, generate_series(1, 200) row GROUP BY row"
        )
        for statement in statements:
            assert growth(connection, statement, 10, 20) < 1024 * KILOBYTE, statement
