"""Clusters of a test's own (pgrx-config/cluster), and copies of them that follow as standbys."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "pgrx-config" / "cluster"
LOGGED = ["full_page_writes = on", "max_wal_size = '4GB'", "wal_level = replica"]


def server_user():
    """PostgreSQL refuses to run as root: pgrx-config/cluster then starts it as this user."""
    return "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def as_server_user(*command):
    return [*(["runuser", "-u", server_user(), "--"] if os.getuid() == 0 else []), *command]


class Cluster:
    def __init__(self, name, settings):
        self.name = name
        subprocess.run([CLUSTER, "start", name, *settings], check=True)
        lines = subprocess.run([CLUSTER, "env", name], check=True, capture_output=True, text=True).stdout
        pairs = (line.removeprefix("export ").partition("=") for line in lines.splitlines())
        self.environment = {key: value.strip("'") for key, _, value in pairs}
        self.data = Path(self.environment["PGDATA"])
        self.log = Path(self.environment["PGMRL_LOG"])

    def connect(self, database="postgres", **options):
        where = {"host": self.environment["PGHOST"], "port": self.environment["PGPORT"], "user": "postgres"}
        return psycopg.connect(dbname=database, autocommit=True, **where, **options)

    def control(self, *arguments):
        subprocess.run([CLUSTER, "ctl", self.name, *arguments], check=True, stdout=subprocess.DEVNULL)

    def kill(self):
        """kill -9 of every process of the cluster."""
        main = int((self.data / "postmaster.pid").read_text().split()[0])
        # Stopped first, it can start nothing while its children are killed.
        os.kill(main, signal.SIGSTOP)
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in [*map(int, children), main]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        # A server that starts must not find the former one's process, dead or not.
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{process}").exists() for process in [*map(int, children), main]):
            assert time.monotonic() < deadline, "a killed process is still there"
            time.sleep(0.01)

    def stop(self):
        subprocess.run([CLUSTER, "stop", self.name], check=True)


class Standby:
    """A copy of a cluster that follows it, in a folder beside its data."""

    PORT = 5433

    def __init__(self, primary, *settings):
        self.host = primary.environment["PGHOST"]
        self.data = primary.data.parent / "standby"
        self.log = primary.data.parent / "standby.log"
        self.binaries = Path(primary.environment["PGMRL_BINDIR"])
        self.is_running = False
        backup = self.binaries / "pg_basebackup"
        where = ["-h", self.host, "-p", primary.environment["PGPORT"], "-U", "postgres"]
        subprocess.run(
            as_server_user(backup, *where, "-D", self.data, "-R", "-X", "stream", "-c", "fast"), check=True, cwd="/"
        )
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write("".join(f"{setting}\n" for setting in [f"port = {self.PORT}", *settings]))

    def start(self, binaries=None):
        self._control(binaries or self.binaries, "-l", self.log, "start")
        self.is_running = True

    def promote(self):
        """Ends its following: from now on it takes writes."""
        self._control(self.binaries, "promote")

    def remove(self):
        self.stop()
        shutil.rmtree(self.data)

    def stop(self):
        if self.is_running:
            self._control(self.binaries, "-m", "fast", "stop")
            self.is_running = False

    def _control(self, binaries, *arguments):
        command = as_server_user(binaries / "pg_ctl", "-D", self.data, "-w", *arguments)
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def connect(self, database="postgres", **options):
        return psycopg.connect(
            host=self.host, port=self.PORT, user="postgres", dbname=database, autocommit=True, **options
        )

    def wait_for(self, position, seconds=120):
        """Until the primary's log has been replayed up to there."""
        deadline = time.monotonic() + seconds
        with self.connect() as connection:
            ask = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            while not connection.execute(ask, (position,)).fetchone()[0]:
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.02)
