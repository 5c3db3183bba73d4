"""A stock qdrant-client that uploads in parallel to a server that has more to do than it takes: refused batches come back.

The server is one of its own, whose turns are all held by texts for a service that answers nothing until it has refused a batch.

usage: conformance_upload.py TWOFOLD
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from openai import OpenAI, RateLimitError
from qdrant_client import QdrantClient, models

POINTS = 4000
# Eight a core work at a time.
HOLDERS = 16 * os.cpu_count()
PATIENCE = 120
ADDRESS = re.compile(r"serving .*address=([0-9.:]+)")
ANSWERED = re.compile(r"^twofold_http_request_duration_seconds_count\{(.*)\} (\d+)$", re.MULTILINE)


@contextlib.contextmanager
def service(released):
    """The port of a service that embeds as text-embeddings-inference does, once it is released."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            released.wait(PATIENCE)
            answer = json.dumps([[1.0, 0.0]] * len(texts)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextlib.contextmanager
def twofold(binary, port):
    """The URL of a server that knows the service, with data of its own, which are removed in the end."""
    with tempfile.TemporaryDirectory(prefix="twofold.") as directory:
        endpoints, log = Path(directory, "endpoints.json"), Path(directory, "log")
        slow = {"dimensions": 2, "max_tokens": 512}
        held = {"protocol": "tei", "url": f"http://127.0.0.1:{port}", "timeout_seconds": PATIENCE, "models": {"slow": slow}}
        endpoints.write_text(json.dumps({"held": held}))
        options = ["--listen", "127.0.0.1:0", "--data-dir", f"{directory}/data", "--endpoints", endpoints]
        with log.open("w") as stderr:
            server = subprocess.Popen([binary, "serve", *options], stderr=stderr, env={**os.environ, "RUST_LOG": "info"})
        try:
            until(lambda: ADDRESS.search(log.read_text()) or server.poll() is not None, "the server did not start")
            address = ADDRESS.search(log.read_text())
            assert address, log.read_text()
            yield f"http://{address[1]}"
        finally:
            server.terminate()
            server.wait()


def until(is_so, otherwise):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def refused(url, endpoint):
    """How many requests to an endpoint were answered with 429. The metrics are told however busy the server is."""
    metrics = urllib.request.urlopen(url + "/metrics").read().decode()
    wanted = [f'endpoint="{endpoint}"', 'status="429"']
    return sum(int(count) for labels, count in ANSWERED.findall(metrics) if all(label in labels for label in wanted))


def wait_for_refusals(url, endpoint):
    until(lambda: refused(url, endpoint), f"nothing was refused at {endpoint}")


def hold_a_turn(url, text, released):
    client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=600)
    while not released.is_set():
        try:
            client.embeddings.create(model="held/slow", input=text)
        except RateLimitError as error:
            assert int(error.response.headers["retry-after"]) > 0, error.response.headers


def check_upload(url, released):
    client = QdrantClient(url=url, timeout=600)
    name = "upload"
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))

    def points(pool, holding):
        for i in range(POINTS):
            if i == POINTS // 2:
                # The upload is on its way.
                holding += [pool.submit(hold_a_turn, url, f"text {holder}", released) for holder in range(HOLDERS)]
                wait_for_refusals(url, "/v1/embeddings")
            yield models.PointStruct(id=i, vector=[i, 1, 0, 0], payload={"i": i})

    def release():
        try:
            wait_for_refusals(url, "/collections/{collection}/points")
        finally:
            released.set()

    with ThreadPoolExecutor(max_workers=HOLDERS + 1) as pool:
        releasing, holding = pool.submit(release), []
        client.upload_points(name, points(pool, holding), batch_size=100, parallel=2, wait=True)
        # An error where no batch was refused, or a holder met another one.
        for thread in [releasing, *holding]:
            thread.result()
    assert client.count(name).count == POINTS
    found = client.query_points(name, query=[1, 0, 0, 0], limit=2, with_payload=True).points
    assert [point.payload["i"] for point in found] == [POINTS - 1, POINTS - 2], found


def main():
    released = threading.Event()
    with service(released) as port, twofold(sys.argv[1], port) as url:
        check_upload(url, released)
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
