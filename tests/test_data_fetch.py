"""Downloads against a server on the loopback interface: resume, mirrors, checksums, failures."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CONTENT = bytes(range(256)) * 1000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Server:
    """What the server offers, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"/a/digits.gz": CONTENT})
    cut_after: int | None = None  # bytes of a response after which the connection is closed
    cuts: int = 0  # how many responses are cut
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        state = self.server.state
        asked = self.headers.get("Range")
        state.asked.append((self.path, asked))
        content = state.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        for name, value in state.headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = content[start:]
        if state.cuts:
            state.cuts -= 1
            body = body[: state.cut_after]
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.state = Server(url=f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http.state
        http.shutdown()
        thread.join()


@pytest.fixture
def fetch(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    import fetch

    return fetch


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def remote(fetch, *urls: str, digest: str | None = MD5):
    return fetch.Remote("mnist/digits.gz", urls, digest, aliases=("MNIST/raw/digits.gz",))


def test_an_original_is_used_where_it_lies(fetch, tmp_path):
    for k, place in enumerate(("mnist", "MNIST/raw", ".")):
        original = tmp_path / str(k) / place / "digits.gz"
        original.parent.mkdir(parents=True)
        original.write_bytes(CONTENT)
        folders = [tmp_path / "empty", tmp_path / str(k)]
        assert fetch.obtain(remote(fetch), folders, tmp_path / "raw") == original
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x"], ids=["cut", "changed"])
def test_a_damaged_original_is_named_with_both_checksums(fetch, tmp_path, damage):
    (tmp_path / "digits.gz").write_bytes(damage)
    found = hashlib.md5(damage).hexdigest()
    with pytest.raises(ValueError, match="leave it out of --raw") as error:
        fetch.obtain(remote(fetch), [tmp_path], tmp_path / "raw")
    for part in (str(tmp_path / "digits.gz"), f"expected {MD5}", f"found md5:{found}"):
        assert part in str(error.value)


def test_a_download_is_complete_and_alone(fetch, server, tmp_path):
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz", digest=SHA256), [], tmp_path)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["mnist/digits.gz"]


def test_what_is_there_is_not_downloaded_again(fetch, server, tmp_path):
    for _ in range(2):
        fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert len(server.asked) == 1


def test_a_wrong_file_that_is_there_is_replaced(fetch, server, tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/digits.gz").write_bytes(CONTENT[:99])
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_cut_connection_is_continued_in_the_same_run(fetch, server, tmp_path):
    server.cut_after, server.cuts = 100_000, 2
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=200000-"]


def test_an_interrupted_download_says_what_it_keeps_and_the_next_run_continues(
    fetch, server, tmp_path
):
    wanted = remote(fetch, f"{server.url}/a/digits.gz")
    server.cut_after, server.cuts = 50_000, 3
    with pytest.raises(ConnectionError, match="150,000 bytes are kept in") as error:
        fetch.obtain(wanted, [], tmp_path)
    assert str(tmp_path / "mnist/digits.gz.part") in str(error.value)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["mnist/digits.gz.part"]
    assert fetch.obtain(wanted, [], tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=150000-"
    assert names(tmp_path) == ["mnist/digits.gz"]


def test_a_server_without_ranges_starts_over_and_nothing_is_doubled(fetch, server, tmp_path):
    server.ranges, server.cut_after, server.cuts = False, 50_000, 1
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 5])
def test_a_part_of_another_file_is_given_up(fetch, server, tmp_path, length):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/digits.gz.part").write_bytes(b"x" * length)
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["mnist/digits.gz"]


def test_the_second_mirror_serves_when_the_first_is_down_or_empty(
    fetch, server, tmp_path, closed_port
):
    down, empty = f"http://127.0.0.1:{closed_port}/digits.gz", f"{server.url}/b/digits.gz"
    path = fetch.obtain(remote(fetch, down, empty, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT


def test_the_second_mirror_continues_what_the_first_began(fetch, server, tmp_path):
    server.files["/b/digits.gz"] = CONTENT
    server.cut_after, server.cuts = 50_000, 3
    mirrors = (f"{server.url}/a/digits.gz", f"{server.url}/b/digits.gz")
    assert fetch.obtain(remote(fetch, *mirrors), [], tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/b/digits.gz", "bytes=150000-")


def test_a_mirror_with_another_file_is_passed_over(fetch, server, tmp_path):
    server.files["/b/digits.gz"] = CONTENT[::-1]
    mirrors = (f"{server.url}/b/digits.gz", f"{server.url}/a/digits.gz")
    assert fetch.obtain(remote(fetch, *mirrors), [], tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_everywhere_leaves_nothing_and_names_both(fetch, server, tmp_path):
    server.files["/a/digits.gz"] = CONTENT[::-1]
    found = hashlib.md5(CONTENT[::-1]).hexdigest()
    with pytest.raises(ConnectionError, match="nothing is kept") as error:
        fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    for part in ("digits.gz", f"expected {MD5}", f"found md5:{found}", "--raw"):
        assert part in str(error.value)
    assert names(tmp_path) == []


def test_no_mirror_at_all_says_why_and_the_way_out(fetch, server, tmp_path, closed_port):
    mirrors = (f"http://127.0.0.1:{closed_port}/x", f"{server.url}/b/digits.gz")
    with pytest.raises(ConnectionError, match="404 Not Found") as error:
        fetch.obtain(remote(fetch, *mirrors), [], tmp_path)
    assert "refused" in str(error.value)
    assert "name that with --raw" in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_are_kept_as_sent_even_if_the_server_calls_them_compressed(fetch, server, tmp_path):
    server.headers["Content-Encoding"] = "gzip"
    path = fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_file_without_known_checksum_is_taken_but_not_pieced_together(fetch, server, tmp_path):
    server.files["/b/digits.gz"] = CONTENT[::-1]
    server.cut_after, server.cuts = 50_000, 3
    mirrors = (f"{server.url}/a/digits.gz", f"{server.url}/b/digits.gz")
    path = fetch.obtain(remote(fetch, *mirrors, digest=None), [], tmp_path)
    assert path.read_bytes() == CONTENT[::-1]


def test_an_unwritable_folder_is_named(fetch, server, tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write .*digits\.gz.*another folder with --out"):
        fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path / "raw")


def test_a_full_disk_is_told_apart_from_a_broken_mirror(fetch, server, tmp_path, small_files_only):
    with pytest.raises(OSError, match="cannot write") as error:
        fetch.obtain(remote(fetch, f"{server.url}/a/digits.gz"), [], tmp_path)
    assert not isinstance(error.value, ConnectionError)
    assert "mnist/digits.gz" not in names(tmp_path)


@pytest.fixture
def small_files_only():
    """A limit on the size of files that this process writes stands in for a full disk."""
    resource = pytest.importorskip("resource", reason="the limit is POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        (ValueError("a\nb"), 2, "error: a b"),
        (OSError("disk"), 2, "error: disk"),
        (KeyboardInterrupt(), 130, "interrupted: "),
    ],
)
def test_a_failure_is_one_line_and_an_exit_status(root, monkeypatch, capsys, failure, status, line):
    monkeypatch.syspath_prepend(root / "data_scripts")
    import command

    def work() -> None:
        raise failure

    assert command.report(work) == status
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


def test_a_mistake_in_the_program_is_not_hidden(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    import command

    with pytest.raises(ZeroDivisionError):
        command.report(lambda: 1 // 0)


def test_the_four_files_of_mnist_are_known_with_mirrors_and_checksums(root):
    """In its own process: the import of torchvision may warn about its compiled half."""
    import subprocess

    program = (
        "from mnist import mnist_remotes; r = mnist_remotes(); "
        "print(len(r), min(len(x.urls) for x in r.values()), "
        "r['t10k-labels-idx1-ubyte.gz'].digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root / "data_scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["4", "2", "md5:ec29112dd5afa0611ce80d1b7f02629c"]


def test_without_torchvision_one_line_says_what_to_install(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "data_scripts")
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        monkeypatch.delitem(sys.modules, name)  # another test may have imported them
    monkeypatch.setitem(sys.modules, "torchvision", None)
    import torchvision_import

    with pytest.raises(ModuleNotFoundError, match="pip install"):
        torchvision_import.torchvision_datasets()
