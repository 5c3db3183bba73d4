"""Makes the collection that generated requests are about: vectors of every kind, payload indexes, a hundred points."""

import json
import sys
import urllib.request

url = sys.argv[1]


def put(path, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/collections/things{path}", data, {"content-type": "application/json"}, method="PUT")
    urllib.request.urlopen(request).read()


put("", {
    "vectors": {
        "": {"size": 2, "distance": "Cosine"},
        "multi": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"sparse": {"modifier": "idf"}},
})
for key, kind in [("n", "integer"), ("k", "keyword"), ("t", "text"), ("geo", "geo"), ("at", "datetime")]:
    put("/index", {"field_name": key, "field_schema": kind})
put("/points", {"points": [
    {
        "id": number,
        "vector": {
            "": [1 + number % 7, number % 5],
            "multi": [[number % 3, 1], [1, number % 11]],
            "sparse": {"indices": [number % 13, 20 + number % 3], "values": [0.5, 1 + number % 2]},
        },
        "payload": {
            "n": number % 10,
            "k": f"k{number % 4}",
            "t": f"the text number {number}",
            "geo": {"lon": number % 180, "lat": number % 90},
            "at": f"2024-02-{1 + number % 29:02}",
            "list": [{"x": number}, None],
        },
    }
    for number in range(100)
]})
