"""The catalogue of data sets: what there is, where it lies on this machine, and how to get it from its owner.

The table is catalog.toml beside this file. A data folder holds one folder a data set; two are looked at, the
one that ELMAN_DATA names and the user's own ($XDG_DATA_HOME or ~/.local/share, then elman). Nothing is
downloaded but by `get`, over https only, from the address in the catalogue, and kept only if its bytes are
the right ones.
"""

import difflib
import errno
import hashlib
import http.client
import os
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from elman.errors import ConfigError, DataError

VARIABLE = "ELMAN_DATA"
TABLE = "catalog.toml"
TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""

MAXIMUM_SIZE = 4 * 2**30
"""Bytes that are accepted of a file whose size is not known."""

_BLOCK = 1 << 16

Progress = Callable[[int, int | None], None]
"""Told the bytes downloaded so far and those expected in all, None where that is not known."""


@dataclass(frozen=True)
class File:
    """An original: its path in the folder and, where known, its address, size in bytes and SHA-256."""

    path: str
    url: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """A data set. `prepared`: files of another form that stand for the originals; see catalog.toml."""

    name: str
    title: str
    tasks: tuple[str, ...]
    licence: str
    source: str
    """The address of the owner's page."""
    notes: str
    folder: str
    files: tuple[File, ...] = ()
    prepared: tuple[str, ...] = ()


@cache
def entries() -> tuple[Entry, ...]:
    """The whole catalogue, in the order of the table."""
    table = tomllib.loads(resources.files("elman.data").joinpath(TABLE).read_text(encoding="utf-8"))
    return tuple(_entry(**row) for row in table["entry"])


def _entry(
    *,
    name: str,
    tasks: list[str],
    files: Sequence[dict[str, Any]] = (),
    prepared: Sequence[str] = (),
    folder: str | None = None,
    **words: str,
) -> Entry:
    kept = tuple(File(**row) for row in files)
    return Entry(
        name=name, tasks=tuple(tasks), files=kept, prepared=tuple(prepared), folder=folder or name, **words
    )


def find(name: str) -> Entry:
    """The entry of that name; raises DataError with the names most like it where there is none."""
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return known[name]
    like = [other for other in known if name and name.lower() in other]
    like = like or difflib.get_close_matches(name.lower(), known)
    advice = f"did you mean {' or '.join(like[:3])}?" if like else f"known are {', '.join(known)}"
    raise DataError(f"{name!r}: no such data set in the catalogue; {advice}")


def locate(name: str, folder: str | Path | None = None) -> Path | None:
    """The folder of a data set that is on this machine, or None.

    folder: the data folder to look in, by default both. A data set is there when all its originals are, or
    all its prepared files. Raises ConfigError where ELMAN_DATA names no folder.
    """
    entry = find(name)
    for root in [Path(folder)] if folder is not None else _data_folders():
        place = root / entry.folder
        originals = [file.path for file in entry.files]
        for paths in (originals, entry.prepared):
            if paths and all(os.path.isfile(place / path) for path in paths):
                return place
    return None


def get(
    name: str,
    destination: str | Path | None = None,
    progress: Progress | None = None,
    *,
    accept_unverified: bool = False,
    handlers: Sequence[urllib.request.BaseHandler] = (),
) -> Path:
    """The folder of a data set: the one on this machine, else downloaded into the data folder `destination`.

    destination: by default both data folders are looked at, and the user's own takes what is downloaded.
    Originals are compared with the catalogue's sizes and sums, found ones too. A file whose official sum is
    not known is refused with the sum it has, unless accept_unverified is true, which also lets found files be
    what they are. handlers: further urllib handlers, such as a proxy's.

    Raises DataError, naming the file or the address and what to do, where there is no address, the download
    fails, is too big, too short or of other bytes than expected, or cannot be written; of such a file nothing
    is left behind.
    """
    entry = find(name)
    found = locate(name, destination)
    if found is not None:
        for file in entry.files:
            if os.path.isfile(found / file.path) and not accept_unverified:
                _check_found(file, found / file.path)
        return found
    place = (Path(destination) if destination is not None else user_folder()) / entry.folder
    missing = [file.path for file in entry.files if file.url is None] if entry.files else entry.prepared
    if missing:
        raise DataError(
            f"{entry.name}: elman has no address to download it from. {entry.notes} See {entry.source}; put "
            f"{', '.join(missing)} into {place}"
        )
    opener = urllib.request.build_opener(_HttpsOnly(), *handlers)
    sizes = [file.size for file in entry.files if file.size is not None]
    total = sum(sizes) if len(sizes) == len(entry.files) else None
    done = 0
    for file in entry.files:
        target = place / file.path
        if os.path.isfile(target):  # of an earlier call that was interrupted
            _check_found(file, target)
        else:
            blocks = _blocks(entry, file, target, opener)
            _keep(entry, file, target, accept_unverified, _counted(blocks, done, total, progress))
        done += target.stat().st_size
    return place


def user_folder() -> Path:
    """Where downloads go: $XDG_DATA_HOME/elman, by default ~/.local/share/elman."""
    home = os.environ.get("XDG_DATA_HOME", "")
    # A relative path is to be ignored: XDG Base Directory Specification 0.8.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share") / "elman"


def markdown() -> str:
    """The table in docs/data.md."""
    rows = [("name", "what", "for", "licence", "originals"), ("---",) * 5]
    for entry in entries():
        rows.append(
            (
                f"`{entry.name}`",
                f"[{entry.title}]({entry.source})",
                ", ".join(entry.tasks),
                entry.licence,
                _originals(entry),
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _originals(entry: Entry) -> str:
    if not entry.files:
        return "see the page"
    if any(file.url is None for file in entry.files):
        return "no free address; checked by SHA-256"
    sizes = [file.size for file in entry.files if file.size is not None]
    size = f"{sum(sizes) / 1000:,.0f} kB" if len(sizes) == len(entry.files) else "size unknown"
    count = f"{len(entry.files)} file{'s' if len(entry.files) != 1 else ''}"
    sums = "SHA-256" if all(file.sha256 for file in entry.files) else "unverified"
    return f"{count}, {size}, {sums}"


def _data_folders() -> Iterator[Path]:
    named = os.environ.get(VARIABLE)
    if named:
        if not os.path.isdir(named):
            raise ConfigError(f"{VARIABLE}={named}: no such folder; correct the variable, or unset it")
        yield Path(named)
    yield user_folder()


def _check_found(file: File, path: Path) -> None:
    """Raises DataError where a file that is there already is not the one of the catalogue."""
    with _told_of_disk(path, file):
        if file.sha256 is None:
            return
        size = path.stat().st_size
        if size == file.size:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if digest == file.sha256:
                return
            came = f"the SHA-256 {digest}"
        else:
            came = f"{size:,} bytes"
    raise DataError(
        f"{path}: not the file of the catalogue: expected {file.size:,} bytes with the SHA-256 "
        f"{file.sha256}, got {came}; move it away to download the right one, or accept it with "
        f"--accept-unverified"
    )


def _keep(
    entry: Entry, file: File, target: Path, accept_unverified: bool, blocks: Generator[bytes, None, None]
) -> None:
    """Writes the blocks beside `target` and renames them to it if they are right; else nothing is left."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    new = [folder for folder in target.parents if not os.path.lexists(folder)]
    digest, count = hashlib.sha256(), 0
    try:
        with _told_of_disk(target, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as out, closing(blocks):
                for block in blocks:
                    out.write(block)
                    digest.update(block)
                    count += len(block)
        _check_bytes(entry, file, count, digest.hexdigest(), accept_unverified)
        with _told_of_disk(target, file):
            temporary.replace(target)
    except BaseException:
        # Also where the user interrupts: what is there under the right name is always whole.
        with suppress(OSError):
            temporary.unlink()
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _check_bytes(entry: Entry, file: File, count: int, digest: str, accept_unverified: bool) -> None:
    if file.sha256 is not None and digest != file.sha256:
        raise DataError(
            f"{file.url}: expected {file.size:,} bytes with the SHA-256 {file.sha256}, got {count:,} "
            f"with {digest}; the file has been damaged on its way or has changed: try again, then see "
            f"{entry.source}"
        )
    if file.sha256 is None and not accept_unverified:
        raise DataError(
            f"{file.url}: the official SHA-256 of {file.path} is not known to elman; got {count:,} bytes "
            f"with the SHA-256 {digest}; compare that with what {entry.source} says, and keep the file with "
            f"--accept-unverified (accept_unverified=True)"
        )


def _blocks(
    entry: Entry, file: File, target: Path, opener: urllib.request.OpenerDirector
) -> Generator[bytes, None, None]:
    """The bytes behind an address; raises DataError where they cannot be had, are too few or too many."""
    assert file.url is not None
    if not file.url.startswith("https://"):
        raise DataError(f"{file.url}: expected an https address; elman downloads from no other")
    with _told_of_network(entry, file, target):
        request = urllib.request.Request(file.url, headers=_headers(file.url))  # noqa: S310  https, see above
        response = opener.open(request, timeout=TIMEOUT)
    with response:
        announced = response.headers.get("Content-Length")
        limit = MAXIMUM_SIZE if file.size is None else file.size
        least = file.size if file.size is not None else int(announced or 0)
        count = int(announced or 0)
        if count <= limit:
            count = 0
            while block := _read(response, entry, file, target):
                count += len(block)
                if count > limit:
                    break
                yield block
        if count > limit:
            raise DataError(
                f"{file.url}: expected at most {limit:,} bytes, got {count:,} or more; see {entry.source}"
            )
        if count < least:
            raise DataError(
                f"{file.url}: expected {least:,} bytes, got {count:,}: the connection ended early; try again"
            )


def _read(response: http.client.HTTPResponse, entry: Entry, file: File, target: Path) -> bytes:
    with _told_of_network(entry, file, target):
        return response.read(_BLOCK)


def _counted(
    blocks: Generator[bytes, None, None], done: int, total: int | None, progress: Progress | None
) -> Generator[bytes, None, None]:
    with closing(blocks):
        for block in blocks:
            yield block
            done += len(block)
            if progress is not None:
                progress(done, total)


def _headers(url: str) -> dict[str, str]:
    headers = {"User-Agent": "elman", "Accept-Encoding": "identity"}
    if url.startswith("https://api.github.com/"):
        headers["Accept"] = "application/vnd.github.raw+json"  # the object itself, not a description of it
    return headers


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https://"):
            fp.close()
            raise urllib.error.URLError(f"redirected to {newurl}, which is not an https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _told_of_network(entry: Entry, file: File, target: Path) -> Iterator[None]:
    otherwise = f"or get it yourself, see {entry.source}, and put it at {target}"
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(
            f"{file.url}: the server answered {error.code} {error.reason}; try again later, {otherwise}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{file.url}: cannot be downloaded: {str(reason) or type(error).__name__}; check the network and "
            f"try again, {otherwise}"
        ) from error


@contextmanager
def _told_of_disk(path: Path, file: File) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        needed = f" ({file.size:,} bytes are needed)" if file.size and error.errno == errno.ENOSPC else ""
        raise DataError(
            f"{path}: {error.strerror or error}{needed}; make room or rights there, or choose another folder"
        ) from error
