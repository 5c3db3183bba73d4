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
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI, RateLimitError
from qdrant_client import QdrantClient, models

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
POINTS = 4000
# Eight a core work at a time, and twice as many wait; the others find no room, and ask again.
HOLDERS = 32 * os.cpu_count()
PATIENCE = 300
ANSWERED = re.compile(r"^twofold_http_request_duration_seconds_count\{(.*)\} (\d+)$", re.MULTILINE)


def refused(url, endpoint):
    """How many requests to an endpoint were answered with 429. The metrics are told however busy the server is."""
    metrics = urllib.request.urlopen(url + "/metrics").read().decode()
    wanted = [f'endpoint="{endpoint}"', 'status="429"']
    return sum(int(count) for labels, count in ANSWERED.findall(metrics) if all(label in labels for label in wanted))


def wait_for_refusals(url, endpoint):
    deadline = time.monotonic() + PATIENCE
    while refused(url, endpoint) == 0:
        assert time.monotonic() < deadline, f"nothing was refused at {endpoint}"
        time.sleep(0.2)


def hold_a_turn(url, seed, released):
    client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=600)
    rng = random.Random(seed)
    while not released.is_set():
        texts = [" ".join(str(rng.random()) for _ in range(60)) for _ in range(8)]
        try:
            client.embeddings.create(model=MODEL, input=texts)
        except RateLimitError as error:
            assert int(error.response.headers["retry-after"]) > 0, error.response.headers
            time.sleep(0.1)


def check_upload(url):
    client = QdrantClient(url=url, timeout=600)
    name = "upload"
    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    released = threading.Event()
    holders = [threading.Thread(target=hold_a_turn, args=(url, seed, released)) for seed in range(HOLDERS)]

    def points():
        for i in range(POINTS):
            if i == POINTS // 2:
                # The upload is on its way.
                for holder in holders:
                    holder.start()
                wait_for_refusals(url, "/v1/embeddings")
            yield models.PointStruct(id=i, vector=[i, 1, 0, 0], payload={"i": i})

    def release():
        try:
            wait_for_refusals(url, "/collections/{collection}/points")
        finally:
            released.set()

    with ThreadPoolExecutor(max_workers=1) as pool:
        releasing = pool.submit(release)
        client.upload_points(name, points(), batch_size=100, parallel=2, wait=True)
        # An error where no batch was refused.
        releasing.result()
    for holder in holders:
        holder.join()
    assert client.count(name).count == POINTS
    found = client.query_points(name, query=[1, 0, 0, 0], limit=2, with_payload=True).points
    assert [point.payload["i"] for point in found] == [POINTS - 1, POINTS - 2], found
    client.delete_collection(name)


def main():
    check_upload(sys.argv[1])
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
