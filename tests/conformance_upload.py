"""A stock qdrant-client that uploads in parallel to a server that has more to do than it takes: refused batches come back.

All turns of the server are held by embeddings of long texts until it has refused a batch of the upload.

usage: conformance_upload.py URL
"""

import os
import random
import re
import sys
import threading
import time
import urllib.request

from openai import OpenAI, RateLimitError
from qdrant_client import QdrantClient, models

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
POINTS = 4000
REFUSED = re.compile(r'^twofold_http_request_duration_seconds_count\{(.*)\} (\d+)$', re.MULTILINE)


def refused_batches(url):
    """How many requests that put points in were answered with 429."""
    metrics = urllib.request.urlopen(url + "/metrics").read().decode()
    wanted = ['method="PUT"', 'endpoint="/collections/{collection}/points"', 'status="429"']
    return sum(int(count) for labels, count in REFUSED.findall(metrics) if all(label in labels for label in wanted))


def hold_a_turn(url, seed, released):
    client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=600)
    rng = random.Random(seed)
    while not released.is_set():
        texts = [" ".join(str(rng.random()) for _ in range(60)) for _ in range(16)]
        try:
            client.embeddings.create(model=MODEL, input=texts)
        except RateLimitError as error:
            assert int(error.response.headers["retry-after"]) > 0, error.response.headers
            time.sleep(0.1)


def check_upload(url):
    client = QdrantClient(url=url, timeout=600)
    name = "upload"
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    before = refused_batches(url)
    released = threading.Event()
    # Eight a core work at a time, and as many wait.
    holders = [threading.Thread(target=hold_a_turn, args=(url, seed, released)) for seed in range(16 * os.cpu_count())]
    for holder in holders:
        holder.start()
    time.sleep(2)

    points = (models.PointStruct(id=i, vector=[i, 1, 0, 0], payload={"i": i}) for i in range(POINTS))
    failures = []

    def upload():
        try:
            client.upload_points(name, points, batch_size=100, parallel=2, wait=True)
        except Exception as error:
            failures.append(error)

    uploading = threading.Thread(target=upload)
    uploading.start()
    deadline = time.monotonic() + 120
    refused = 0
    try:
        # The metrics are told all the while.
        while refused == 0 and uploading.is_alive() and time.monotonic() < deadline:
            time.sleep(0.2)
            refused = refused_batches(url) - before
    finally:
        released.set()
        for thread in [uploading, *holders]:
            thread.join()
    assert not failures, failures
    assert refused > 0, "no batch was refused, so nothing was shown"
    assert client.count(name).count == POINTS
    found = client.query_points(name, query=[1, 0, 0, 0], limit=2, with_payload=True).points
    assert [point.payload["i"] for point in found] == [POINTS - 1, POINTS - 2], found
    client.delete_collection(name)


def main():
    check_upload(sys.argv[1])
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
