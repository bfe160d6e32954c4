"""What the benchmarks share: connections, paired timing, the table that is printed.

Figures are ratios of one run: what is compared runs alternately on the same server, and the median
of the rounds counts. Times are the server's own (EXPLAIN ANALYZE of a prepared statement, without
timing of nodes) unless a measure says that it is the client's.
"""

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

ROUNDS = 15
SETTINGS = {
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_generic_plan",
    "client_min_messages": "error",
}


@dataclass
class Result:
    measure: str
    ours: str
    other: str = ""
    ratio: str = ""
    bar: str = ""


def connect(**settings):
    connection = psycopg.connect(autocommit=True)
    for name, value in (SETTINGS | settings).items():
        connection.execute(f"SET {name} = {value}")
    return connection


def server_milliseconds(connection, statement):
    """The server's execution time of a statement, planning and protocol excluded."""
    plan = connection.execute(
        f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY ON, FORMAT JSON) {statement}"
    ).fetchone()[0]
    return plan[0]["Execution Time"]


def client_milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def paired(first, second, rounds=ROUNDS):
    """Medians of two measurements that take turns; the first round warms up and is dropped."""
    pairs = [(first(), second()) for _ in range(rounds + 1)][1:]
    return tuple(statistics.median(times) for times in zip(*pairs, strict=True))


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def options(settings):
    """Settings as PGOPTIONS takes them; values with spaces would want escapes."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def pgbench(script, sessions=1, length=("-T", "5"), settings=None, variables=None):
    """Transactions a second of a script, and the milliseconds that each took.

    A client in C, whose own work is small beside the server's; one made in Python would be measured itself.
    """
    here = Path(__file__).resolve().parent.parent / "build" / "server" / "bin" / "pgbench"
    program = shutil.which("pgbench") or here
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.sql"
        file.write_text(script)
        command = [program, "-n", "-M", "prepared", "-c", str(sessions), "-j", "2", *length, "-f", file]
        command += [f"-D{name}={value}" for name, value in (variables or {}).items()]
        command += ["--log", f"--log-prefix={folder}/times"]
        wanted = f"{os.environ.get('PGOPTIONS', '')} {options(SETTINGS | (settings or {}))}"
        environment = os.environ | {"PGOPTIONS": wanted}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"pgbench failed:\n{done.stderr}")
        # A line of its log is: client, transaction, microseconds, …
        logs = [line.split() for log in Path(folder).glob("times.*") for line in log.read_text().splitlines()]
    rate = float(re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE).group(1))
    return rate, [int(fields[2]) / 1000 for fields in logs]


def has_pgvector(connection):
    available = "SELECT count(*) FROM pg_available_extension_versions WHERE name = 'vector' AND version ~ '^[0-9]'"
    return connection.execute(available).fetchone()[0] > 0


def machine(connection):
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = set(re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.MULTILINE).group(1).split())
    kinds = ["avx2", "f16c", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16"]
    versions = connection.execute(
        "SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'"
    ).fetchone()[0]
    family = re.search(r"^cpu family\s*:\s*(\d+)\nmodel\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    return [
        f"processor: {model.group(1) if model else 'unknown'} (family {family.group(1)}, model {family.group(2)}), "
        f"{os.cpu_count()} cores; it has {', '.join(kind for kind in kinds if kind in flags)}",
        f"server: PostgreSQL {connection.info.parameter_status('server_version')}; {versions}",
        "settings: " + ", ".join(f"{name} = {value}" for name, value in SETTINGS.items()),
    ]


def print_results(header, results, markdown):
    columns = ["measure", "pg_mrl", "pgvector", "ratio", "bar"]
    rows = [[r.measure, r.ours, r.other, r.ratio, r.bar] for r in results]
    for line in header:
        print(line, end="\n\n" if markdown else "\n")
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip())


