"""elman.data.catalog: the table, looking for data sets, and downloading from a server on the loopback."""

import gzip
import hashlib
import http.client
import http.server
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from elman.data import catalog
from elman.data.catalog import Entry, File
from elman.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


# -- the table


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.name)
def test_every_entry_is_sound(entry: Entry) -> None:
    assert entry.files or entry.prepared
    assert entry.tasks
    assert all((entry.title, entry.licence, entry.notes))
    assert entry.source.startswith(("https://", "http://"))
    for path in (entry.folder, *(file.path for file in entry.files), *entry.prepared):
        parts = PurePosixPath(path).parts
        assert parts, entry.name
        assert not PurePosixPath(path).is_absolute()
        assert ".." not in parts
    for file in entry.files:
        assert file.url is None or file.url.startswith("https://")
        assert file.size is None or file.size > 0
        if file.sha256 is not None:
            assert file.size is not None, "a known sum is that of a known size"
            assert len(file.sha256) == 64
            assert set(file.sha256) <= set("0123456789abcdef")


def test_names_are_given_once() -> None:
    names = [entry.name for entry in catalog.entries()]
    assert len(set(names)) == len(names) > 20


def test_addresses_are_the_owners() -> None:
    hosts = {file.url.split("/")[2] for entry in catalog.entries() for file in entry.files if file.url}
    assert hosts <= {
        "ai.stanford.edu", "api.github.com", "archive.ics.uci.edu", "github.com", "mattmahoney.net",
        "nlp.stanford.edu", "physionet.org", "raw.githubusercontent.com", "www.clips.uantwerpen.be",
        "www.cs.cornell.edu", "www.timeseriesclassification.com", "zenodo.org",
    }  # fmt: skip


def test_what_changes_with_time_is_named_by_its_content() -> None:
    """A git object's name is the SHA-1 of its content; its size stands in both."""
    for name in ("ud_en_ewt", "ud_cs_cltt"):
        for file in catalog.find(name).files:
            assert file.url is not None
            assert len(file.url.rsplit("/", 1)[1]) == 40


def test_the_sums_are_those_of_the_files(data_folder: Path) -> None:
    """Of originals as they are, and of those that the data folder keeps packed."""
    seen = 0
    for entry in catalog.entries():
        for file in entry.files:
            path = data_folder / entry.folder / file.path
            packed = path.with_name(path.name + ".gz")
            if file.sha256 is None or not (path.exists() or packed.exists()):
                continue
            content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256), path
            if file.url is not None and "/git/blobs/" in file.url:
                git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
                assert file.url.endswith("/" + git.hexdigest())
            seen += 1
    if not seen:
        pytest.skip(f"needs data sets of the catalogue, none is in ELMAN_DATA={data_folder}")


def test_a_data_folder_is_recognised(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_DATA", str(data_folder))
    for entry in catalog.entries():
        if (data_folder / entry.folder).is_dir():
            assert catalog.locate(entry.name) == data_folder / entry.folder
            assert catalog.get(entry.name) == data_folder / entry.folder


def test_the_page_shows_the_catalogue() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    table = page[page.index("| name |") :]
    assert table == catalog.markdown(), "put what catalog.markdown() gives into docs/data.md"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tinyshakespear", "did you mean tinyshakespeare"),
        ("ud", "did you mean ud_en_ewt or ud_cs_cltt"),
        ("PTB", "did you mean ptb"),
        ("shakespeare", "did you mean tinyshakespeare"),
        ("zzzzzz", "known are tinyshakespeare, ptb"),
        ("", "known are"),
    ],
)
def test_an_unknown_name_is_told_with_those_like_it(name: str, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        catalog.find(name)
    assert repr(name) in str(caught.value)


# -- looking for data sets


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data folder that does not exist yet, and no ELMAN_DATA."""
    monkeypatch.delenv("ELMAN_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "elman"


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def catalogue(
    monkeypatch: pytest.MonkeyPatch, *files: File, folder: str = "set", prepared: tuple[str, ...] = ()
) -> None:
    """A catalogue of the one data set "set"."""
    entry = Entry(
        name="set", title="A set", tasks=("test",), licence="none", source="https://owner.example/page",
        notes="Ask the owner.", folder=folder, files=files, prepared=prepared,
    )  # fmt: skip
    monkeypatch.setattr(catalog, "entries", lambda: (entry,))


def test_the_named_folder_comes_before_the_users(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue(monkeypatch, File("a"), File("b"))
    assert catalog.locate("set") is None
    put(home / "set", a=b"1")
    assert catalog.locate("set") is None, "b is missing"
    put(home / "set", b=b"2")
    assert catalog.locate("set") == home / "set"
    monkeypatch.setenv("ELMAN_DATA", str(tmp_path / "mine"))
    put(tmp_path / "mine" / "set", a=b"1")
    assert catalog.locate("set") == home / "set"
    put(tmp_path / "mine" / "set", b=b"2")
    assert catalog.locate("set") == tmp_path / "mine" / "set"
    assert catalog.locate("set", tmp_path / "other") is None
    assert catalog.locate("set", home) == home / "set"


def test_prepared_files_stand_for_the_originals(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(monkeypatch, File("a", size=9, sha256=SUM), prepared=("a.gz", "index"), folder="elsewhere")
    put(home / "elsewhere", **{"a.gz": b""})
    assert catalog.locate("set") is None
    put(home / "elsewhere", index=b"")
    assert catalog.locate("set") == catalog.get("set") == home / "elsewhere"


def test_a_named_folder_that_is_none_is_a_mistake(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_DATA", "/no/such/folder")
    with pytest.raises(ConfigError, match="ELMAN_DATA=/no/such/folder: no such folder"):
        catalog.locate("ptb")


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_without_a_usable_xdg_folder_it_is_the_one_in_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalog.user_folder() == tmp_path / ".local" / "share" / "elman"


def test_found_files_are_compared_with_the_catalogue(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(monkeypatch, File("a", size=len(CONTENT), sha256=SUM))
    put(home / "set", a=CONTENT)
    assert catalog.get("set") == home / "set"
    put(home / "set", a=CONTENT[:-1])
    with pytest.raises(
        DataError, match=r"set/a: not the file of the catalogue.*256,000 bytes.*got 255,999 bytes"
    ):
        catalog.get("set")
    put(home / "set", a=CONTENT[::-1])
    with pytest.raises(
        DataError, match=f"{SUM}, got the SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}"
    ):
        catalog.get("set")
    assert catalog.get("set", accept_unverified=True) == home / "set"
    assert (home / "set" / "a").read_bytes() == CONTENT[::-1], "a found file is never touched"


@pytest.mark.parametrize(
    "entry", [e for e in catalog.entries() if not any(f.url for f in e.files)], ids=lambda e: e.name
)
def test_without_an_address_it_is_said_how_to_come_by_it(home: Path, entry: Entry) -> None:
    with pytest.raises(DataError) as caught:
        catalog.get(entry.name)
    for part in (entry.name, entry.notes, entry.source, str(home / entry.folder)):
        assert part in str(caught.value)
    assert not home.exists()


# -- downloading


class Server(http.server.ThreadingHTTPServer):
    """Answers each path with a function of the request; `requests` keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Callable[[Handler], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str) -> str:
        """An https address; the opener of these tests speaks plain HTTP to it."""
        return f"https://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.pages.get(self.path[1:], lambda handler: handler.send_error(404))(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing; pytest would show it."""


def answer(content: bytes, announced: int | None = None) -> Callable[[Handler], None]:
    """Sends `content`, announcing its own length, or another, or with -1 none."""

    def send(handler: Handler) -> None:
        handler.send_response(200)
        if announced != -1:
            handler.send_header("Content-Length", str(len(content) if announced is None else announced))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def move(url: str) -> Callable[[Handler], None]:
    def send(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return send


class PlainHttp(urllib.request.HTTPSHandler):
    """Opens https addresses without TLS."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(http.client.HTTPConnection, req)


HANDLERS = (PlainHttp(), urllib.request.ProxyHandler({}))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def refused(told: str, home: Path, **options: Any) -> str:
    """The message of a download that must fail, and must leave nothing behind."""
    before = listing(home.parent) if home.parent.exists() else []
    with pytest.raises(DataError, match=told) as caught:
        catalog.get("set", handlers=HANDLERS, **options)
    assert (listing(home.parent) if home.parent.exists() else []) == before
    return str(caught.value)


def test_a_download_comes_whole_and_once(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages |= {"a": answer(CONTENT), "b": answer(b"two", announced=-1)}
    catalogue(
        monkeypatch,
        File("a.bin", server.url("a"), len(CONTENT), SUM),
        File("deep/b.txt", server.url("b"), 3, hashlib.sha256(b"two").hexdigest()),
    )
    told: list[tuple[int, int | None]] = []
    folder = catalog.get("set", progress=lambda done, total: told.append((done, total)), handlers=HANDLERS)
    assert folder == home / "set"
    assert listing(home) == ["set", "set/a.bin", "set/deep", "set/deep/b.txt"]
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert (folder / "deep/b.txt").read_bytes() == b"two"
    assert told[-1] == (len(CONTENT) + 3, len(CONTENT) + 3)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert catalog.get("set") == folder
    assert [path for path, _ in server.requests] == ["/a", "/b"], "what is here is not asked for again"
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_a_destination_is_where_it_goes(
    home: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = answer(CONTENT)
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))
    assert catalog.get("set", tmp_path / "there", handlers=HANDLERS) == tmp_path / "there" / "set"
    assert not home.exists()


def test_an_interrupted_set_goes_on_with_what_is_missing(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages |= {"a": answer(CONTENT), "b": answer(b"short", announced=99)}
    a = File("a", server.url("a"), len(CONTENT), SUM)
    b = File("b", server.url("b"), 99, hashlib.sha256(b"z" * 99).hexdigest())
    catalogue(monkeypatch, a, b)
    with pytest.raises(DataError, match="/b: expected 99 bytes, got 5: the connection ended early"):
        catalog.get("set", handlers=HANDLERS)
    assert listing(home) == ["set", "set/a"]
    server.pages["b"] = answer(b"z" * 99)
    catalog.get("set", handlers=HANDLERS)
    assert [path for path, _ in server.requests] == ["/a", "/b", "/b"]


def test_a_truncated_download_is_refused(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["a"] = answer(CONTENT[:100_000], announced=len(CONTENT))
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))
    refused("/a: expected 256,000 bytes, got 100,000: the connection ended early; try again", home)
    catalogue(monkeypatch, File("a", server.url("a")))
    refused("/a: expected 256,000 bytes, got 100,000", home, accept_unverified=True)


@pytest.mark.parametrize("accept", [False, True])
def test_wrong_bytes_are_refused_with_both_sums(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, accept: bool
) -> None:
    server.pages["a"] = answer(CONTENT[::-1])
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))
    message = refused("/a: expected 256,000 bytes with the SHA-256", home, accept_unverified=accept)
    for part in (SUM, hashlib.sha256(CONTENT[::-1]).hexdigest(), "https://owner.example/page"):
        assert part in message


@pytest.mark.parametrize("announced", [None, -1])
def test_what_is_too_big_is_refused(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, announced: int | None
) -> None:
    server.pages["a"] = answer(CONTENT + b"more", announced)
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))
    refused("/a: expected at most 256,000 bytes, got 256,004 or more", home)
    monkeypatch.setattr(catalog, "MAXIMUM_SIZE", 1000)
    catalogue(monkeypatch, File("a", server.url("a")))
    refused("/a: expected at most 1,000 bytes", home, accept_unverified=True)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_an_unknown_sum_must_be_accepted(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    server.pages["a"] = answer(CONTENT)
    catalogue(monkeypatch, File("a", server.url("a"), size))
    message = refused("the official SHA-256 of a is not known to elman", home)
    for part in (SUM, "256,000 bytes", "--accept-unverified", "https://owner.example/page"):
        assert part in message
    told: list[int | None] = []
    catalog.get(
        "set", accept_unverified=True, handlers=HANDLERS, progress=lambda done, total: told.append(total)
    )
    assert (home / "set" / "a").read_bytes() == CONTENT
    assert set(told) == {size}


def test_a_missing_page_is_named(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(monkeypatch, File("a", server.url("gone"), 5, SUM))
    message = refused("/gone: the server answered 404", home)
    assert "https://owner.example/page" in message
    assert str(home / "set" / "a") in message


def test_without_a_network_it_is_said(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as closed:
        url = closed.url("a")
    catalogue(monkeypatch, File("a", url, 5, SUM))
    refused("/a: cannot be downloaded: .*refused.*check the network", home)


def test_a_broken_answer_is_told(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(handler: Handler) -> None:
        handler.wfile.write(b"nonsense\r\n\r\n")

    server.pages["a"] = send
    catalogue(monkeypatch, File("a", server.url("a"), 5, SUM))
    refused("/a: cannot be downloaded: nonsense", home)


@pytest.mark.parametrize("url", ["http://127.0.0.1/a", "file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_nothing_but_https_is_opened(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    catalogue(monkeypatch, File("a", url, 5, SUM))
    refused("expected an https address", home)


def test_a_redirection_is_followed_within_https_only(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages |= {"a": answer(CONTENT), "plain": move(server.url("a").replace("https", "http"))}
    catalogue(monkeypatch, File("a", server.url("plain"), len(CONTENT), SUM))
    refused("redirected to http://127.0.0.1:.*not an https address", home)
    server.pages["moved"] = move(server.url("a"))
    catalogue(monkeypatch, File("a", server.url("moved"), len(CONTENT), SUM))
    assert (catalog.get("set", handlers=HANDLERS) / "a").read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_named(
    home: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = answer(CONTENT)
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))
    put(tmp_path, file=b"in the way")
    message = refused(r"file/set/a: .*choose another folder", home, destination=tmp_path / "file")
    assert "Not a directory" in message or "File exists" in message


def test_a_full_disk_is_told_with_the_room_needed(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = answer(CONTENT)
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    refused(r"set/a: No space left on device \(256,000 bytes are needed\)", home)


def test_an_interruption_by_the_user_leaves_nothing(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = answer(CONTENT)
    catalogue(monkeypatch, File("a", server.url("a"), len(CONTENT), SUM))

    def interrupt(done: int, total: int | None) -> None:
        assert listing(home)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.get("set", progress=interrupt, handlers=HANDLERS)
    assert not home.parent.exists()


def test_objects_of_github_are_asked_for_raw() -> None:
    url = catalog.find("ud_en_ewt").files[0].url
    assert url is not None
    assert catalog._headers(url)["Accept"] == "application/vnd.github.raw+json"
    assert "Accept" not in catalog._headers("https://raw.githubusercontent.com/a/b/master/c")
