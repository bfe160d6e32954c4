"""Databases in other encodings than UTF-8: the text is converted, not misread."""

import psycopg
import pytest

TEXT = "Où Einstein est-il né ? À Ulm, en forêt."
EMBED = "SELECT mrl_embed(%s, 'search_query')::text"


@pytest.fixture(params=["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"])
def foreign(request, connection):
    name = f"in_{request.param.lower()}"
    connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}' LOCALE 'C'")
    with psycopg.connect(dbname=name, autocommit=True, client_encoding="UTF8") as other:
        other.execute("CREATE EXTENSION pg_mrl")
        yield request.param, other
    connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_same_text_has_the_same_embedding(connection, foreign):
    encoding, other = foreign
    text = "アインシュタインはどこで生まれましたか。" if encoding == "EUC_JP" else TEXT
    assert other.execute(EMBED, (text,)).fetchone() == connection.execute(EMBED, (text,)).fetchone()
    array = "SELECT mrl_embed(ARRAY[%s], 'search_query')::text"
    assert other.execute(array, (text,)).fetchone() == connection.execute(array, (text,)).fetchone()
    tokens = "SELECT mrl_tokens(%s, NULL)"
    assert other.execute(tokens, (text,)).fetchone() == connection.execute(tokens, (text,)).fetchone()


def test_the_trigger(connection, foreign):
    encoding, other = foreign
    text = "東京" if encoding == "EUC_JP" else "é"
    other.execute(f"""
        CREATE TABLE note ("{text}" text, emb mrlvec(384));
        CREATE TRIGGER embed BEFORE INSERT ON note FOR EACH ROW
            EXECUTE FUNCTION mrl_embed_trigger('emb', 'clustering', '{text}: {{{text}}}');
    """)
    other.execute(f'INSERT INTO note ("{text}") VALUES (%s)', (text,))
    found = other.execute("SELECT emb::text FROM note").fetchone()
    assert found == connection.execute(EMBED, (f"{text}: {text}",)).fetchone()


def test_messages_survive_any_encoding(foreign):
    encoding, other = foreign
    for statement in [
        "SELECT '[é]'::mrlvec",
        "SELECT mrl_embed('a', 'é')",
        "SELECT mrl_embed('a', NULL, NULL, 'é')",
        "SET mrl.default_model = 'é'; SELECT mrl_embed('a', NULL)",
    ]:
        if encoding == "EUC_JP":
            statement = statement.replace("é", "語")
        with pytest.raises(psycopg.Error) as caught:
            other.execute(statement)
        assert caught.value.sqlstate in ("22P02", "22023")
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_bytes_that_are_no_text(connection):
    """A SQL_ASCII database keeps any bytes; what is not UTF-8 cannot be embedded."""
    connection.execute("DROP DATABASE IF EXISTS any_bytes WITH (FORCE)")
    connection.execute("CREATE DATABASE any_bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with psycopg.connect(dbname="any_bytes", autocommit=True, client_encoding="SQL_ASCII") as other:
        other.execute("CREATE EXTENSION pg_mrl")
        for statement in [
            r"SELECT mrl_embed(E'caf\xe9', NULL)",
            r"SELECT mrl_embed(ARRAY[E'\xff\xfe'], NULL)",
            r"SELECT mrl_tokens(E'\xe9', NULL)",
            r"SELECT mrl_embed('a', E'\xe9')",
            r"SELECT mrl_embed('a', NULL, NULL, E'\xe9')",
        ]:
            with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
                other.execute(statement)
            assert other.execute("SELECT vector_dims(mrl_embed('fine', NULL))").fetchone() == (384,)
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            other.execute(r"SELECT E'[\xe9]'::mrlvec")
    connection.execute("DROP DATABASE any_bytes WITH (FORCE)")
