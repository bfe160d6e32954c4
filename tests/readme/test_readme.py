"""Runs every SQL statement of the README as printed, in its order, in a new database."""

import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
DATABASE = "readme"


def psql(script):
    """As a reader would: psql, each statement on its own, stopping at the first error."""
    command = [f"{os.environ['PGMRL_BINDIR']}/psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", DATABASE]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tour():
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    yield psql("\n".join(BLOCKS))
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def test_every_statement_runs(tour):
    assert len(BLOCKS) >= 8
    assert tour.returncode == 0, tour.stderr
    # One warning is announced in the text: a dimension that the small model was not trained for.
    warnings = [line for line in tour.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1 and "not trained to be cut to 64" in warnings[0]


def test_it_shows_what_the_text_says(tour):
    """The rows that a reader expects to see come first."""
    output = tour.stdout
    with_distance = output.split("distance", 1)[1]
    assert with_distance.split("\n")[2].split("|")[0].strip() == "Einstein"
    assert "Call the plumber about the sink." in output
    answers = re.findall(r"^ +title +\n-+\n +(\w+)", output, re.MULTILINE)
    assert answers == ["Einstein", "Cat", "Einstein", "Dog", "Dog"]
    # One forward pass for each text that the session embedded, the trigger's four included.
    assert re.search(r"all-MiniLM-L6-v2 \| +\d+ \| +6 \|", output)


def test_the_first_example_is_the_tours(tour):
    example = re.search(r"^```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE).group(1)
    assert tour.returncode == 0
    with psycopg.connect(dbname=DATABASE, autocommit=True) as connection:
        row = connection.execute(example).fetchone()
    assert row[1].startswith("Einstein")


def test_every_function_and_setting_is_in_the_reference(tour):
    with psycopg.connect(dbname=DATABASE, autocommit=True) as connection:
        connection.execute("LOAD 'pg_mrl'")
        settings = connection.execute("SELECT name FROM pg_settings WHERE name LIKE 'mrl.%'")
        for (name,) in settings.fetchall():
            assert f"`{name}`" in README
        functions = connection.execute("""
            SELECT DISTINCT proname FROM pg_proc, pg_depend, pg_extension
            WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND refobjid = pg_extension.oid
              AND extname = 'pg_mrl' AND deptype = 'e'
              AND proname NOT LIKE 'mrlvec%' AND proname <> 'array_to_mrlvec'
              AND NOT EXISTS (SELECT FROM pg_amproc WHERE amproc = pg_proc.oid) AND prorettype <> 'index_am_handler'::regtype
        """)
        for (name,) in functions.fetchall():
            assert name in README


def test_the_map_names_every_room():
    rooms = set(re.findall(r"^\| `([\w./-]+)` \|", README, re.MULTILINE))
    tracked = subprocess.run(
        # The checkout may be another user's than who runs the tests.
        ["git", "-c", "safe.directory=*", "ls-files"],
        cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in tracked:
        folder = file.split("/")[0]
        if "/" in file and not folder.startswith("."):
            assert any(file.startswith(room) or room.startswith(folder) for room in rooms), folder
    for room in rooms:
        if "." not in room or "/" in room:
            assert (ROOT / room).exists(), room
