"""What the tests through Python clients share: connections to the throw-away cluster.

tests/run-clients starts the cluster and names it in PGHOST, PGPORT and PGUSER.
"""

import psycopg
import pytest
from clusters import LOGGED, Cluster, Standby

DATABASE = "clients"


@pytest.fixture(scope="session", autouse=True)
def database():
    """One database for all tests, with the extension in its public schema."""
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(dbname=DATABASE, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_mrl")


@pytest.fixture
def new_connection():
    """Opens a session of its own; what a test leaves open is closed."""
    opened = []

    def connect(**options):
        connection = psycopg.connect(dbname=DATABASE, autocommit=True, **options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(new_connection):
    """A session that commits each statement."""
    return new_connection()


@pytest.fixture
def cluster(request):
    """Starts clusters with the settings given; they are stopped after the test."""
    made = []

    def start(*settings):
        name = f"{request.module.__name__.removeprefix('test_')}-{request.node.name}"
        name = "".join(c if c.isalnum() else "-" for c in name)[:50]
        made.append(Cluster(f"{name}-{len(made)}", [*LOGGED, *settings]))
        return made[-1]

    yield start
    for cluster in made:
        cluster.stop()


@pytest.fixture
def standby(cluster):
    """Makes standbys of clusters; they are removed before those."""
    made = []

    def copy(primary, *settings):
        made.append(Standby(primary, *settings))
        return made[-1]

    yield copy
    for standby in made:
        standby.remove()
