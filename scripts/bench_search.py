"""Search speed beside peers: recall, queries per CPU second, build time, memory and disk, on the same vectors and filters.

usage: bench_search.py OURS DATA-DIRECTORY OUT-DIRECTORY SET[,SET...] [ENGINE[,ENGINE...]]

OURS is the binary `search-speed`. DATA-DIRECTORY holds <set>.base.f32 and <set>.query.f32: two little-endian u32 (count,
dimensions) and rows of f32. Every engine runs in a process of its own with one thread. They are measured in turns, in several
rounds, of which the medians count. Queries per second are of CPU time, for ten results without payload. OUT-DIRECTORY gets
results.json, a table in Markdown and a plot for every set.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

K = 10
QUERIES = 500
SHARES = [1000, 300, 100, 10]
DISTANCES = {"fashion-mnist-784": "Euclid"}
ROUNDS = 3
LEAST_SECONDS = 0.25


def read(path):
    count, dimensions = np.fromfile(path, dtype="<u4", count=2)
    return np.fromfile(path, dtype="<f4", offset=8).reshape(count, dimensions)


def load(data, name):
    base, queries = read(data / f"{name}.base.f32"), read(data / f"{name}.query.f32")[:QUERIES]
    distance = DISTANCES.get(name, "Cosine")
    if distance == "Cosine":
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    return base, queries, distance


def thousandths(count):
    """Scatters the points: which thousandth each is in, unrelated to its vector."""
    with np.errstate(over="ignore"):
        mixed = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(32)) % np.uint64(1000)).astype(np.int64)


def truth(data, name):
    """The ids of the nearest for every filter and query, by plain products in double precision."""
    base, queries, distance = load(data, name)
    parts = thousandths(len(base))
    nearest = np.empty((len(SHARES), len(queries), K), dtype="<u4")
    squares = (base.astype(np.float64) ** 2).sum(axis=1)
    for first in range(0, len(queries), 50):
        products = queries[first : first + 50].astype(np.float64) @ base.T.astype(np.float64)
        scores = 2 * products - squares if distance == "Euclid" else products
        for number, share in enumerate(SHARES):
            masked = np.where(parts < share, scores, -np.inf)
            nearest[number, first : first + 50] = np.argsort(-masked, axis=1)[:, :K]
    nearest.tofile(data / f"{name}.truth.u32")


def rss():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024


def size(directory):
    return sum(file.stat().st_size for file in Path(directory).rglob("*") if file.is_file()) >> 20


class Run:
    """One engine on one set."""

    def __init__(self, data, name):
        self.base, self.queries, self.distance = load(data, name)
        self.truth = np.fromfile(data / f"{name}.truth.u32", dtype="<u4").reshape(len(SHARES), -1, K)
        self.before = rss()
        self.result = {}

    def built(self, build, directory=None):
        wall, cpu = time.perf_counter(), time.process_time()
        index = build()
        self.result["build_cpu_s"] = time.process_time() - cpu
        self.result["build_wall_s"] = time.perf_counter() - wall
        self.result["rss_mb"] = rss() - self.before
        if directory:
            self.result["disk_mb"] = size(directory)
        return index

    def rounds(self):
        """One for each line of the input. What it measures is printed."""
        for _ in sys.stdin:
            self.result["points"] = []
            yield
            print(json.dumps(self.result), flush=True)

    def measure(self, knob, search, share=1000):
        expected = self.truth[SHARES.index(share)]
        found = [search(query) for query in self.queries]
        hits = sum(len(set(map(int, ids)) & set(map(int, best))) for ids, best in zip(found, expected))
        passes, begun = 0, time.process_time()
        while time.process_time() - begun < LEAST_SECONDS:
            for query in self.queries:
                search(query)
            passes += 1
        seconds = time.process_time() - begun
        point = {"share": share, "knob": knob, "recall": hits / expected.size, "qps": passes * len(self.queries) / seconds}
        self.result["points"].append(point)
        return point["recall"]


def hnswlib_engine(run):
    import hnswlib

    def build():
        index = hnswlib.Index(space="ip" if run.distance == "Cosine" else "l2", dim=run.base.shape[1])
        index.init_index(max_elements=len(run.base), M=16, ef_construction=100)
        index.add_items(run.base, num_threads=1)
        index.set_num_threads(1)
        return index

    index = run.built(build)
    for _ in run.rounds():
        for ef in (10, 20, 40, 60, 80, 120, 200, 300, 500, 800):
            index.set_ef(ef)
            if run.measure(ef, lambda query: index.knn_query(query, k=K)[0][0]) > 0.998:
                break


def faiss_hnsw_engine(run):
    import faiss

    faiss.omp_set_num_threads(1)
    metric = faiss.METRIC_INNER_PRODUCT if run.distance == "Cosine" else faiss.METRIC_L2

    def build():
        index = faiss.IndexHNSWFlat(run.base.shape[1], 16, metric)
        index.hnsw.efConstruction = 100
        index.add(run.base)
        return index

    index = run.built(build)
    for _ in run.rounds():
        for ef in (10, 20, 40, 60, 80, 120, 200, 300, 500, 800):
            index.hnsw.efSearch = ef
            if run.measure(ef, lambda query: index.search(query[None], K)[1][0]) > 0.998:
                break


def faiss_ivf_engine(run):
    import faiss

    faiss.omp_set_num_threads(1)
    dimensions = run.base.shape[1]
    lists = int(len(run.base) ** 0.5)
    metric = faiss.METRIC_INNER_PRODUCT if run.distance == "Cosine" else faiss.METRIC_L2

    def build():
        index = faiss.index_factory(dimensions, f"IVF{lists},PQ{dimensions // 2}x4fs,RFlat", metric)
        index.train(run.base)
        index.add(run.base)
        return index

    index = run.built(build)
    inner = faiss.downcast_index(index.base_index)
    for _ in run.rounds():
        for probes, factor in ((2, 10), (4, 10), (8, 10), (16, 10), (16, 20), (32, 10), (32, 20), (64, 20), (128, 40), (256, 40)):
            inner.nprobe = probes
            index.k_factor = factor
            if run.measure(f"{probes}/{factor}", lambda query: index.search(query[None], K)[1][0]) > 0.998:
                break


def usearch_engine(run):
    from usearch.index import Index

    def build():
        metric = "ip" if run.distance == "Cosine" else "l2sq"
        index = Index(ndim=run.base.shape[1], metric=metric, dtype="f16", connectivity=16, expansion_add=100)
        index.add(np.arange(len(run.base)), run.base, threads=1)
        return index

    index = run.built(build)
    for _ in run.rounds():
        for ef in (10, 20, 40, 60, 80, 120, 200, 300, 500, 800):
            index.expansion_search = ef
            if run.measure(ef, lambda query: index.search(query, K, threads=1).keys) > 0.998:
                break


def qdrant(run, quantised):
    import qdrant_edge as edge

    directory = tempfile.mkdtemp()
    distance = edge.Distance.Cosine if run.distance == "Cosine" else edge.Distance.Euclid
    quantisation = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True) if quantised else None
    parts = thousandths(len(run.base))

    def build():
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=run.base.shape[1], distance=distance),
            quantization_config=quantisation,
            hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=1000, max_indexing_threads=1),
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1000),
            max_search_threads=1,
        )
        shard = edge.EdgeShard.create(directory, config)
        shard.update(edge.UpdateOperation.create_field_index("thousandth", edge.PayloadSchemaType.Integer))
        for first in range(0, len(run.base), 1000):
            rows = run.base[first : first + 1000].tolist()
            points = [edge.Point(first + i, row, {"thousandth": int(parts[first + i])}) for i, row in enumerate(rows)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        return shard

    shard = run.built(build, directory)
    for _ in run.rounds():
        for share in SHARES:
            match = None
            if share < 1000:
                match = edge.Filter(must=[edge.FieldCondition(key="thousandth", range=edge.RangeFloat(lt=share))])
            for ef in (10, 20, 40, 60, 80, 120, 200, 300, 500, 800):
                rescore = edge.QuantizationSearchParams(rescore=True, oversampling=2.0) if quantised else None
                params = edge.SearchParams(hnsw_ef=ef, quantization=rescore)

                def search(query):
                    asked = edge.QueryRequest(
                        query=edge.Query.Nearest(query.tolist()), limit=K, filter=match, params=params,
                        with_payload=False, with_vector=False,
                    )
                    return [point.id for point in shard.query(asked)]

                if run.measure(ef, search, share) > 0.998:
                    break


def lancedb_engine(run):
    import lancedb
    import pyarrow

    directory = tempfile.mkdtemp()
    dimensions = run.base.shape[1]

    def build():
        flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(run.base.reshape(-1)), dimensions)
        table = pyarrow.table({"id": pyarrow.array(np.arange(len(run.base))), "vector": flat})
        opened = lancedb.connect(directory).create_table("bench", table)
        metric = "cosine" if run.distance == "Cosine" else "l2"
        opened.create_index(metric=metric, index_type="IVF_HNSW_SQ", vector_column_name="vector")
        return opened, metric

    table, metric = run.built(build, directory)
    run.queries = run.queries[:100]
    run.truth = run.truth[:, :100]
    for _ in run.rounds():
        for probes, ef in ((2, 40), (8, 100)):
            search = lambda query: [
                row["id"]
                for row in table.search(query).distance_type(metric).nprobes(probes).ef(ef).limit(K).select(["id"]).to_list()
            ]
            run.measure(f"{probes}/{ef}", search)


def chroma_engine(run):
    import chromadb

    directory = tempfile.mkdtemp()

    def build():
        client = chromadb.PersistentClient(directory)
        space = "cosine" if run.distance == "Cosine" else "l2"
        collection = client.create_collection(
            "bench", configuration={"hnsw": {"space": space, "ef_construction": 100, "max_neighbors": 16, "ef_search": 100}}
        )
        for first in range(0, len(run.base), 5000):
            rows = run.base[first : first + 5000]
            collection.add(ids=[str(first + i) for i in range(len(rows))], embeddings=rows)
        return collection

    collection = run.built(build, directory)
    run.queries = run.queries[:100]
    run.truth = run.truth[:, :100]
    for _ in run.rounds():
        run.measure(100, lambda query: collection.query(query_embeddings=[query], n_results=K, include=[])["ids"][0])


PEERS = {
    "hnswlib": hnswlib_engine,
    "faiss HNSW": faiss_hnsw_engine,
    "faiss IVF fast-scan": faiss_ivf_engine,
    "usearch f16": usearch_engine,
    "qdrant-edge f32": lambda run: qdrant(run, False),
    "qdrant-edge int8": lambda run: qdrant(run, True),
    "lancedb": lancedb_engine,
    "chroma": chroma_engine,
}


def best(points, share, recall):
    """Queries per second at the fastest setting of at least this recall."""
    fast = [point["qps"] for point in points if point["share"] == share and point["recall"] >= recall]
    return max(fast, default=None)


def table(results):
    columns = [(1000, 0.95), (1000, 0.99)] + [(share, 0.95) for share in SHARES[1:]] + [(share, 0.99) for share in SHARES[1:]]
    names = [f"{'all' if share == 1000 else f'{share / 10:g} %'} @{recall}" for share, recall in columns]
    lines = ["| engine | " + " | ".join(names) + " | build CPU s | RSS MB | disk MB |", "|---" * (len(names) + 4) + "|"]
    rows = dict(results)
    if "twofold" in rows:
        # Filters that have as many points and as little to do with the vectors, so recall is the same.
        new = [{**p, "qps": p["qps_of_new_filters"]} for p in rows["twofold"]["points"] if "qps_of_new_filters" in p]
        rows["twofold, each filter new"] = {**rows["twofold"], "points": new}
    for engine, result in rows.items():
        cells = [best(result["points"], share, recall) for share, recall in columns]
        cells = ["-" if cell is None else f"{cell:,.0f}" for cell in cells]
        cells += [f"{result['build_cpu_s']:.1f}", str(result["rss_mb"]), str(result.get("disk_mb", "-"))]
        lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(name, results, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for axis, share in zip(axes, (1000, 100)):
        for engine, result in results.items():
            points = sorted((p["recall"], p["qps"]) for p in result["points"] if p["share"] == share and p["recall"] >= 0.8)
            if points:
                axis.plot(*zip(*points), marker="o", markersize=3, linewidth=2 if engine == "twofold" else 1, label=engine)
        axis.set(xlabel="recall@10", yscale="log", title=f"{name}, {'unfiltered' if share == 1000 else 'filter 10 %'}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("queries per CPU second")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


class Engine:
    """A process that builds an index, and measures a round for every line that it is sent."""

    def __init__(self, command):
        single = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
        self.process = subprocess.Popen(command, env=single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rounds = []

    def measure(self):
        """Whether it answered."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        # Some libraries print lines of their own.
        answer = next((line for line in self.process.stdout if line.startswith("{")), None)
        if answer:
            self.rounds.append(json.loads(answer))
        return answer is not None

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    def result(self):
        """The medians of all rounds."""
        result = dict(self.rounds[0])
        rounds = [{(point["share"], point["knob"]): point for point in found["points"]} for found in self.rounds]
        result["points"] = []
        for place, point in rounds[0].items():
            same = [found[place] for found in rounds if place in found]
            speeds = {key: statistics.median(p[key] for p in same) for key in ("qps", "qps_of_new_filters") if key in point}
            result["points"].append({**point, **speeds})
        if "two_threads" in result:
            result["two_threads"] = [statistics.median(ratios) for ratios in zip(*(found["two_threads"] for found in self.rounds))]
        return result


def main():
    if sys.argv[1] == "--peer":
        _, _, engine, data, name = sys.argv
        PEERS[engine](Run(Path(data), name))
        return
    ours, data, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    sets = sys.argv[4].split(",")
    engines = sys.argv[5].split(",") if len(sys.argv) > 5 else ["twofold", *PEERS]
    out.mkdir(parents=True, exist_ok=True)
    everything = {}
    for name in sets:
        truth(data, name)
        running = {}
        for number in range(ROUNDS):
            for engine in engines:
                if number == 0:
                    command = [sys.executable, __file__, "--peer", engine, str(data), name]
                    if engine == "twofold":
                        command = [ours, str(data), name, DISTANCES.get(name, "Cosine")]
                    running[engine] = Engine(command)
                if engine in running and not running[engine].measure():
                    print(f"{engine} failed on {name}", file=sys.stderr)
                    running.pop(engine).end()
            print(f"{name}: round {number + 1} of {ROUNDS} done", file=sys.stderr)
        for engine in running.values():
            engine.end()
        results = everything[name] = {engine: process.result() for engine, process in running.items()}
        print(f"\n{name}: queries per CPU second\n\n{table(results)}\n", flush=True)
        if "twofold" in results:
            time, cpu = results["twofold"]["two_threads"]
            print(f"two threads: {time:.2f} times the queries of one, {cpu:.2f} times a CPU second\n", flush=True)
        (out / "results.json").write_text(json.dumps(everything, indent=1))
        plot(name, results, out / f"search-{name}.svg")


if __name__ == "__main__":
    main()
