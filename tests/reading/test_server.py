"""The server against those who should not be served, by plain HTTP on a live process."""

import gzip
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from starlette.testclient import TestClient

import ctbone as ct
from ctbone.errors import ReadingError
from ctbone.nifti import write_nifti
from ctbone.reading import add_reader
from ctbone.reading.content import Content
from ctbone.reading.database import Database
from ctbone.reading.frozen import frozen_plan
from ctbone.reading.guard import Throttle
from ctbone.reading.serve import host_names, is_loopback
from ctbone.reading.server import application
from ctbone.study import file_hash, record_of, write_json
from tests.reading.small_study import AFFINE, SHAPE, LiveServer, make_study


class Client:
    """One reader's browser, without a browser."""

    def __init__(self, server, token=None):
        self.server = server
        self.cookie = None
        if token is not None:
            status, headers, _ = self.ask("POST", "/api/login", {"token": token})
            assert status == 204
            self.cookie = headers["set-cookie"].split(";")[0]
            self.set_cookie = headers["set-cookie"]

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie and "cookie" not in headers:
            headers["cookie"] = self.cookie
        data = body
        if isinstance(body, dict | list):
            data = json.dumps(body)
            headers.setdefault("content-type", "application/json")
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.headers.items()) | lower(response), content

    def get(self, path, **headers):
        status, _, content = self.ask("GET", path, **headers)
        return status, content

    def post(self, path, body, **headers):
        status, _, content = self.ask("POST", path, body, **headers)
        return status, json.loads(content) if content else None

    def items(self):
        return [entry["item"] for entry in json.loads(self.get("/api/state")[1])["items"]]


def lower(response):
    return {name.lower(): value for name, value in response.headers.items()}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("served") / "study")
    table = study.cohort_csv.read_text().splitlines()
    table[1] = table[1].replace(",30,", ",<script>alert(1)</script>,")
    study.cohort_csv.write_text("\n".join(table) + "\n")
    return study


@pytest.fixture(scope="module")
def server(study):
    with LiveServer(study) as server:
        yield server


@pytest.fixture(scope="module")
def readers(server, study):
    """Two readers in session one."""
    database = Database(study.reading_db)
    clients = []
    for name in ("r1", "r2"):
        client = Client(server, add_reader(database, name, "mid"))
        assert client.post("/api/start", {"round": 1})[0] == 204
        clients.append(client)
    return clients


def score(session="unaided", value=7, request="request-0001"):
    return {"session": session, "score": value, "seconds": 1, "request": request}


def test_pages_and_answers_carry_the_headers_of_security(server, readers):
    for path in ("/", "/owner", "/static/reading.js", "/api/state", "/nothing"):
        _, headers, _ = readers[0].ask("GET", path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_no_page_has_inline_scripts_or_styles(server):
    for path in ("/", "/owner"):
        text = Client(server).get(path)[1].decode()
        assert "<style" not in text
        assert " style=" not in text
        assert " on" not in text.replace(" one", "").replace(" only", "")
        assert text.count("<script") == text.count('<script type="module" src=')


def test_the_cookie_is_for_this_site_and_no_script(readers):
    assert "httponly" in readers[0].set_cookie.lower()
    assert "samesite=strict" in readers[0].set_cookie.lower()


ADDRESSES = (
    ("GET", "/api/state"),
    ("POST", "/api/start"),
    ("POST", "/api/finish"),
    ("POST", "/api/log"),
    ("POST", "/api/logout"),
    ("GET", "/api/cases/{item}"),
    ("POST", "/api/cases/{item}/score"),
    ("POST", "/api/cases/{item}/time"),
    ("GET", "/api/cases/{item}/image/0"),
    ("GET", "/api/owner/progress"),
    ("GET", "/api/owner/scores"),
)


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_nothing_is_served_without_a_login(server, readers, method, path):
    path = path.format(item=readers[0].items()[0])
    body = {} if method == "POST" else None
    for cookie in ("", "ctbone_reading=", "ctbone_reading=wrong", "ctbone_reading=%00"):
        status, _, content = Client(server).ask(method, path, body, cookie=cookie)
        assert status in (401, 429)
        assert json.loads(content)["error"] in ("logged_out", "wrong_link", "too_many")


def test_another_readers_cases_and_scores_are_not_there(readers):
    mine, other = readers
    item = mine.items()[0]
    assert mine.get(f"/api/cases/{item}")[0] == 200
    for path in (f"/api/cases/{item}", f"/api/cases/{item}/image/0"):
        assert other.get(path)[0] == 404
    assert other.post(f"/api/cases/{item}/score", score())[0] == 404
    assert other.post("/api/log", {"act": "back", "item": item})[0] == 404


def test_session_one_shows_neither_model_nor_label_nor_case(readers):
    client = readers[0]
    item = client.items()[0]
    seen = [client.get(path)[1] for path in ("/api/state", f"/api/cases/{item}")]
    content = json.loads(seen[1])
    assert "model" not in content
    assert "truth" not in content
    for text in seen:
        for secret in (b"malignant_", b"benign_", b"P0", b"centre2", b"nifti", b"label"):
            assert secret not in text, secret
    assert client.get(f"/api/cases/{item}/heat/0")[0] == 404


def test_the_slices_are_the_volumes(readers):
    client = readers[0]
    item = client.items()[0]
    image = json.loads(client.get(f"/api/cases/{item}")[1])["image"]
    status, headers, content = client.ask("GET", f"/api/cases/{item}/image/0")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    voxels = np.frombuffer(gzip.decompress(content), "<i2").reshape(image["shape"][::-1])
    assert 900 <= voxels.max() < 920
    assert image["spacing"] == pytest.approx([0.7, 0.7, 5.0])
    assert client.get(f"/api/cases/{item}/image/1")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../study.yaml",
        "/static/../study.yaml",
        "/static/..%2f..%2fcohort.csv",
        "/static/%2e%2e/%2e%2e/cohort.csv",
        "/static/....//cohort.csv",
        "/static//etc/passwd",
        "/static/reading.js%00.html",
        "/api/cases/..%2f..%2fcohort.csv",
        "/api/cases/malignant_01",
        "/api/cases/malignant_01/image/0",
        "/api/cases/x/image/-1",
        "/api/cases/x/image/99999999999999999999999",
        "/api/cases/x'%20OR%201=1--",
        "/reading.db",
        "/reading/reading.db",
    ],
)
def test_no_path_leads_into_the_study_or_out_of_it(readers, path):
    status, content = readers[0].get(path)
    assert status in (400, 404)
    assert b"case_id" not in content
    assert b"root:" not in content


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:{port}", "", "evil:{port}"]
)
def test_other_hosts_are_refused_against_dns_rebinding(server, readers, host):
    status, content = readers[0].get("/api/state", host=host.format(port=server.port))
    assert status in (400, 421)
    assert b"r1" not in content


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_type": "application/json", "origin": "http://evil.example"},
        {"content_type": "application/json", "origin": "null"},
        {"content_type": "application/json", "sec_fetch_site": "cross-site"},
        {"content_type": "application/json", "sec_fetch_site": "same-site"},
    ],
)
def test_posts_of_other_sites_are_refused(readers, headers):
    item = readers[0].items()[0]
    body = json.dumps(score())
    status, answer = readers[0].post(f"/api/cases/{item}/score", body, **headers)
    assert (status, answer["error"]) == (403, "cross_site")


def test_the_own_site_may_post(server, readers):
    item = readers[0].items()[0]
    origin = f"http://127.0.0.1:{server.port}"
    body = {"session": "unaided", "seconds": 0}
    path = f"/api/cases/{item}/time"
    assert readers[0].post(path, body, origin=origin, sec_fetch_site="same-origin")[0] == 204


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '"x"', "[" * 10000, '{"score": NaN}', "\xff\xfe", "{}"],
)
def test_bodies_that_are_no_object_are_refused(readers, body):
    item = readers[0].items()[0]
    status, _ = readers[0].post(
        f"/api/cases/{item}/score", body.encode("latin-1"), content_type="application/json"
    )
    assert status in (400, 422)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(readers, method):
    assert readers[0].ask(method, "/api/state")[0] == 405


def test_a_body_of_10_mb_is_refused(server, readers):
    try:
        status, answer = readers[0].post("/api/log", {"act": "x" * 10_000_000})
        assert (status, answer["error"]) == (413, "too_large")
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed before it was all sent
    with socket.create_connection(("127.0.0.1", server.port)) as raw:  # without a length
        head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        raw.sendall((head + "Content-Type: application/json\r\n").encode())
        raw.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        answer = b""
        for _ in range(20):
            try:
                raw.sendall(chunk)
            except OSError:
                break
        raw.settimeout(10)
        answer = raw.recv(4096)
    assert b"413" in answer.split(b"\r\n")[0]
    assert readers[0].get("/api/state")[0] == 200


def test_1000_requests_at_once_are_answered(readers):
    client = readers[0]
    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(lambda _: client.get("/api/state")[0], range(1000)))
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 900
    assert client.get("/api/state")[0] == 200


def test_slow_clients_do_not_hold_the_server(server, readers):
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    for one in slow:
        one.sendall(b"GET / HT")
    started = time.monotonic()
    assert readers[0].get("/api/state")[0] == 200
    assert time.monotonic() - started < 4  # before the slow ones are cut off
    for one in slow:
        one.close()


def test_a_slow_header_and_a_slow_body_are_cut_off(server, monkeypatch):
    head = socket.create_connection(("127.0.0.1", server.port))
    body = socket.create_connection(("127.0.0.1", server.port))
    head.sendall(b"GET / HT")
    start = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    start += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    body.sendall(start.encode())
    for one, most, answer in ((body, 8, b"408"), (head, 8, b"")):
        one.settimeout(most)
        assert answer in one.recv(4096)
        one.close()


def test_guessing_links_is_slowed_down_and_locks_nobody_out(server, study):
    client = Client(server)
    answers = [client.post("/api/login", {"token": f"guess{number}"}) for number in range(30)]
    assert {status for status, _ in answers} <= {401, 429}
    assert answers[-1][0] == 429
    for number in range(12):
        status, _ = client.get("/api/owner/progress", authorization=f"Bearer guess{number}")
        assert status in (401, 429)
    Client(server, add_reader(Database(study.reading_db), "r3", "mid"))  # asserts 204


def test_the_throttle_forgets(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    throttle = Throttle(most=3, seconds=60)
    assert [throttle.failed() for _ in range(4)] == [False, False, False, True]
    now = 61.0
    assert not throttle.failed()


def test_the_owner_sees_progress_and_no_scores_before_a_session_is_finished(server, study):
    token = server.owner.split("#")[1]
    reader = Client(server, add_reader(Database(study.reading_db), "r9", "junior"))
    reader.post("/api/start", {"round": 1})
    items = reader.items()
    owner = Client(server)
    ask = lambda path: owner.get(path, authorization=f"Bearer {token}")  # noqa: E731
    for number, item in enumerate(items):
        assert reader.post(f"/api/cases/{item}/score", score(request=f"r9-request-{number}")) == (
            204,
            None,
        )
    status, content = ask("/api/owner/progress")
    (row,) = [row for row in json.loads(content) if row["reader_id"] == "r9"]
    assert (status, row["read"], row["state"]) == (200, len(items), "running")
    assert "score" not in row
    assert ask("/api/owner/scores")[1].decode().count("r9") == 0
    assert reader.post("/api/finish", {"round": 1})[0] == 204
    assert ask("/api/owner/scores")[1].decode().count("r9") == len(items)
    assert reader.get("/api/owner/scores")[0] in (401, 429)  # a reader is not the owner
    status, answer = reader.post("/api/start", {"round": 2})
    assert (status, answer["error"]) == (403, "too_early")
    late = reader.post(f"/api/cases/{items[0]}/score", score(request="r9-too-late-1"))
    assert (late[0], late[1]["error"]) == (409, "session_closed")


def test_two_readers_at_once_keep_their_own_scores(server, study, readers):
    database = Database(study.reading_db)
    clients = [Client(server, add_reader(database, name, "senior")) for name in ("r4", "r5")]

    def read(number):
        client = clients[number]
        client.post("/api/start", {"round": 1})
        for item in client.items():
            answer = client.post(
                f"/api/cases/{item}/score", score(value=2 + number, request=f"both-{number}-{item}")
            )
            assert answer[0] == 204

    threads = [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as tables:
        rows = tables.execute(
            "SELECT reader_id, score, count(*) FROM scores JOIN items USING (item) "
            "WHERE reader_id IN ('r4', 'r5') GROUP BY 1, 2"
        ).fetchall()
    assert rows == [("r4", 2, 14), ("r5", 3, 14)]


def test_a_logout_ends_the_login(server, study):
    client = Client(server, add_reader(Database(study.reading_db), "r6", "mid"))
    assert client.post("/api/logout", {})[0] == 204
    assert client.get("/api/state")[0] == 401


def test_names_that_are_served():
    assert is_loopback("::1")
    assert not is_loopback("reading.example")
    assert "reading.example:443" in host_names("reading.example", 443)
    assert "reading.example" in host_names("reading.example", 443)
    assert "evil.example:80" not in host_names("0.0.0.0", 80)


def test_the_aided_reading_shows_the_model_and_its_heat_map(tmp_path):
    study = make_study(tmp_path / "study", design="sequential")
    heat = np.zeros(SHAPE, np.float32)
    heat[12, 22, 6] = 3.0
    write_json(study.run("3d", 0) / "card.json", {"weights_sha256": "now"})
    for name in study.cohort["case_id"]:
        path = study.explanation("3d", "score-cam", name)
        write_nifti(path, heat, AFFINE)
        made_from = {"weights": {"0": "now"}}
        write_json(record_of(path), {"map": file_hash(path), "made_from": made_from})
    database, content = Database(study.reading_db), Content(study)
    assert content.heat_map(name) == path
    write_json(study.run("3d", 0) / "card.json", {"weights_sha256": "trained again"})
    assert content.heat_map(name) is None
    write_json(study.run("3d", 0) / "card.json", {"weights_sha256": "now"})
    app = application(
        content,
        database,
        frozen_plan(database, content),
        owner="owner",
        hosts=["127.0.0.1:8765"],
    )
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        token = add_reader(database, "r1", "mid")
        assert client.post("/api/login", json={"token": token}).status_code == 204
        assert client.post("/api/start", json={"round": 1}).status_code == 204
        path = f"/api/cases/{client.get('/api/state').json()['items'][0]['item']}"
        before = client.get(path).json()
        assert set(before["image"]["layers"]) == {"image", "mask"}
        assert client.get(f"{path}/heat/0").status_code == 404
        assert client.post(f"{path}/score", json=score()).status_code == 204
        after = client.get(path).json()
        assert "heat" in after["image"]["layers"]
        assert sum(after["model"]["probabilities"].values()) == pytest.approx(1)
        heat = np.frombuffer(client.get(f"{path}/heat/0").content, np.uint8)
        assert (heat.max(), np.count_nonzero(heat)) == (255, 1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_with_a_certificate_the_page_is_encrypted(study, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    with LiveServer(study, options=["--certificate", certificate, "--key", key]) as server:
        trusted = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusted)
        token = add_reader(Database(study.reading_db), "r7", "mid")
        headers = {"content-type": "application/json"}
        connection.request("POST", "/api/login", json.dumps({"token": token}), headers)
        response = connection.getresponse()
    assert server.address.startswith("https://")
    assert response.status == 204
    assert "secure" in response.headers["set-cookie"].lower()
    assert "max-age" in response.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "options",
    [
        {"certificate": "missing.pem", "key": "missing.pem"},
        {"certificate": "missing.pem"},
        {"host": "203.0.113.7"},
    ],
)
def test_a_server_that_cannot_start_says_why(study, options):
    with pytest.raises(ReadingError):
        ct.read(study, port=0, **options)
