"""Random operations and queries against a running server and against the client's own local mode: both must answer alike.

usage: differential.py URL [--seed N] [--seeds N | --seconds N]

Ids, payloads, vectors, order and pages are compared exactly, scores to one part in ten thousand. Points whose scores are equal may
change places. A failure prints the seed, the step and the request, so that it can be run again. Without --seconds the calls are the
same every time.
"""

import argparse
import math
import random
import time
import uuid

from qdrant_client import QdrantClient, models

DENSE = {"cos": (6, "Cosine"), "dot": (5, "Dot"), "euc": (4, "Euclid"), "man": (3, "Manhattan")}
MULTI = {"mcos": (4, "Cosine"), "mdot": (3, "Dot"), "meuc": (3, "Euclid")}
SPARSE = {"plain": None, "idf": models.Modifier.IDF}
WORDS = "oslo bern rome lima wind rain snow sun north south river lake".split()
UUIDS = [str(uuid.UUID(int=n * 7919 << 64 | n)) for n in range(1, 8)]


def close(a, b):
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=2e-5)


class Draw:
    """Draws requests. Numbers are drawn so that scores are hardly ever equal by chance."""

    def __init__(self, rng):
        self.rng = rng

    def maybe(self, chance=0.5):
        return self.rng.random() < chance

    def id(self):
        return self.rng.choice(UUIDS) if self.maybe(0.15) else self.rng.randrange(60)

    def ids(self, most=4):
        return [self.id() for _ in range(self.rng.randint(1, most))]

    def dense(self, size):
        return [round(self.rng.gauss(0, 1), 6) for _ in range(size)]

    def multi(self, size):
        return [self.dense(size) for _ in range(self.rng.randint(1, 4))]

    def sparse(self, few=False):
        indices = self.rng.sample(range(30), self.rng.randint(1, 4 if few else 9))
        return models.SparseVector(indices=indices, values=[round(self.rng.uniform(-0.5, 2), 3) for _ in indices])

    def vector(self, name):
        if name in DENSE:
            return self.dense(DENSE[name][0])
        if name in MULTI:
            return self.multi(MULTI[name][0])
        return self.sparse()

    def vectors(self, share=0.85):
        return {name: self.vector(name) for name in [*DENSE, *MULTI, *SPARSE] if self.maybe(share)}

    def name(self):
        return self.rng.choice([*DENSE, *MULTI, *SPARSE])

    def date(self):
        return f"20{self.rng.randint(10, 30)}-0{self.rng.randint(1, 9)}-1{self.rng.randint(0, 9)}T0{self.rng.randint(0, 9)}:30:00Z"

    def place(self):
        return {"lon": round(self.rng.uniform(-30, 40), 4), "lat": round(self.rng.uniform(-20, 60), 4)}

    def text(self):
        return " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(1, 6))).capitalize()

    def payload(self):
        payload = {}
        choices = {
            "n": lambda: self.rng.randint(-5, 20),
            "f": lambda: self.rng.randint(-5, 20) + 0.5,
            "tag": lambda: self.rng.choice(WORDS[:5]),
            "tags": lambda: [self.rng.choice(WORDS[:6]) for _ in range(self.rng.randint(0, 3))],
            "ns": lambda: [self.rng.randint(0, 9) for _ in range(self.rng.randint(0, 3))],
            "flag": lambda: self.maybe(),
            "at": self.date,
            "text": self.text,
            "geo": self.place,
            "geos": lambda: [self.place() for _ in range(2)],
            "a": lambda: {"b": self.rng.randint(0, 5), "c": self.rng.choice(WORDS)},
            "arr": lambda: [{"x": self.rng.randint(0, 3), "y": self.rng.choice(WORDS[:3])} for _ in range(self.rng.randint(0, 3))],
            "none": lambda: self.rng.choice([None, [], [None], [1, None], 1]),
        }
        for key, value in choices.items():
            if self.maybe(0.6):
                payload[key] = value()
        return payload

    def condition(self, depth=0):
        field = models.FieldCondition
        choices = [
            lambda: field(key="n", match=models.MatchValue(value=self.rng.randint(-5, 20))),
            lambda: field(key="n", range=models.Range(gte=self.rng.randint(-5, 10), lt=self.rng.randint(5, 20))),
            lambda: field(key="f", range=models.Range(gt=self.rng.randint(-5, 10), lte=self.rng.randint(5, 20) + 0.5)),
            lambda: field(key="ns", match=models.MatchAny(any=[self.rng.randint(0, 9), self.rng.randint(0, 9)])),
            lambda: field(key="tag", match=models.MatchValue(value=self.rng.choice(WORDS[:5]))),
            lambda: field(key="tags", match=models.MatchAny(any=self.rng.sample(WORDS[:6], 2))),
            lambda: field(key="tags", match=models.MatchExcept(**{"except": self.rng.sample(WORDS[:6], 2)})),
            lambda: field(key="none", match=models.MatchExcept(**{"except": ["x"]})),
            lambda: field(key="flag", match=models.MatchValue(value=self.maybe())),
            lambda: field(key="at", range=models.DatetimeRange(gte=self.date())),
            lambda: field(key="text", match=models.MatchText(text=" ".join(self.rng.sample(WORDS, self.rng.randint(1, 2))))),
            lambda: field(key="text", match=models.MatchTextAny(text_any=" ".join(self.rng.sample(WORDS, 2)))),
            lambda: field(key="text", match=models.MatchPhrase(phrase=" ".join(self.rng.sample(WORDS, 2)))),
            lambda: field(key="tag", match=models.MatchPrefix(prefix=self.rng.choice(WORDS)[:2])),
            lambda: field(key="geo", geo_radius=models.GeoRadius(center=models.GeoPoint(**self.place()), radius=self.rng.uniform(1e5, 4e6))),
            lambda: field(key="geos", geo_radius=models.GeoRadius(center=models.GeoPoint(**self.place()), radius=self.rng.uniform(1e5, 2e6))),
            lambda: field(key="geo", geo_bounding_box=models.GeoBoundingBox(
                top_left=models.GeoPoint(lon=self.rng.uniform(-30, 10), lat=self.rng.uniform(20, 60)),
                bottom_right=models.GeoPoint(lon=self.rng.uniform(0, 40), lat=self.rng.uniform(-20, 20)))),
            lambda: field(key="geo", geo_polygon=self.polygon()),
            lambda: field(key=self.rng.choice(["tags", "ns", "n", "none"]), values_count=models.ValuesCount(gte=self.rng.randint(0, 2), lt=self.rng.randint(1, 4))),
            lambda: field(key="a.b", range=models.Range(gte=self.rng.randint(0, 5))),
            lambda: field(key="a.c", match=models.MatchValue(value=self.rng.choice(WORDS))),
            lambda: field(key="arr[].x", match=models.MatchValue(value=self.rng.randint(0, 3))),
            lambda: field(key="arr[0].y", match=models.MatchValue(value=self.rng.choice(WORDS[:3]))),
            lambda: field(key=self.rng.choice(["none", "tags", "n"]), is_empty=self.maybe()),
            lambda: field(key=self.rng.choice(["none", "tags", "n"]), is_null=self.maybe()),
            lambda: models.IsEmptyCondition(is_empty=models.PayloadField(key=self.rng.choice(["none", "tags", "n", "arr[].y"]))),
            lambda: models.IsNullCondition(is_null=models.PayloadField(key=self.rng.choice(["none", "tags"]))),
            lambda: models.HasIdCondition(has_id=self.ids(12)),
            lambda: models.HasVectorCondition(has_vector=self.name()),
            lambda: self.slice(),
            lambda: models.NestedCondition(nested=models.Nested(key=self.rng.choice(["arr", "arr[]"]), filter=models.Filter(must=[
                models.FieldCondition(key="x", match=models.MatchValue(value=self.rng.randint(0, 3))),
                models.FieldCondition(key="y", match=models.MatchValue(value=self.rng.choice(WORDS[:3])))]))),
        ]
        if depth < 2:
            choices += [lambda: self.filter(depth + 1)] * 3
        return self.rng.choice(choices)()

    def slice(self):
        total = self.rng.randint(1, 4)
        return models.SliceCondition(slice=models.Slice(total=total, index=self.rng.randrange(total)))

    def polygon(self):
        west, south = self.rng.uniform(-30, 10), self.rng.uniform(-20, 20)
        east, north = west + self.rng.uniform(5, 40), south + self.rng.uniform(5, 40)

        def ring(points):
            return models.GeoLineString(points=[models.GeoPoint(lon=lon, lat=lat) for lon, lat in [*points, points[0]]])

        exterior = ring([(west, south), (east, south + 3), (east - 2, north), (west + 1, north - 2)])
        x, y = (west + east) / 2, (south + north) / 2
        hole = ring([(x - 1, y - 1), (x + 1, y - 1), (x, y + 1)])
        return models.GeoPolygon(exterior=exterior, interiors=[hole] if self.maybe() else None)

    def filter(self, depth=0):
        parts = {}
        for part in ("must", "should", "must_not"):
            if self.maybe(0.4):
                parts[part] = [self.condition(depth) for _ in range(self.rng.randint(1, 3))]
        if self.maybe(0.15):
            conditions = [self.condition(depth) for _ in range(3)]
            parts["min_should"] = models.MinShould(conditions=conditions, min_count=self.rng.randint(1, 2))
        if not parts:
            parts["must"] = self.condition(depth)
        return models.Filter(**parts)

    def selector(self):
        if self.maybe(0.7):
            return self.ids()
        return models.FilterSelector(filter=self.filter())

    def example(self, name, known):
        return self.rng.choice(known) if known and self.maybe(0.5) else self.vector(name)

    def query(self, name, known, prefetched=False):
        """A query and whether its score is higher for better points whatever the distance."""
        roll = self.rng.random()
        if roll < 0.3:
            return self.example(name, known)
        if roll < 0.38:
            # By half and half, points between the target and a chosen one are all worth the same where distances add up.
            diversities = [0.3, 0.8] if name == "man" else [None, 0.3, 0.8]
            return models.NearestQuery(nearest=self.vector(name), mmr=models.Mmr(
                diversity=self.rng.choice(diversities), candidates_limit=self.rng.choice([None, 12])))
        if roll < 0.58:
            strategy = self.rng.choice(list(models.RecommendStrategy))
            positive = [self.example(name, known) for _ in range(self.rng.randint(1, 3))]
            negative = [self.example(name, known) for _ in range(self.rng.randint(0, 2))]
            return models.RecommendQuery(recommend=models.RecommendInput(positive=positive, negative=negative, strategy=strategy))
        pairs = [models.ContextPair(positive=self.example(name, known), negative=self.example(name, known))
                 for _ in range(self.rng.randint(1, 2))]
        if roll < 0.7:
            return models.DiscoverQuery(discover=models.DiscoverInput(target=self.example(name, known), context=pairs))
        if roll < 0.78:
            return models.ContextQuery(context=pairs)
        if roll < 0.84 and name in DENSE:
            items = [models.FeedbackItem(example=self.example(name, known), score=self.rng.choice([0.1, 0.5, 0.9])) for _ in range(3)]
            return models.RelevanceFeedbackQuery(relevance_feedback=models.RelevanceFeedbackInput(
                target=self.example(name, known), feedback=items,
                strategy=models.NaiveFeedbackStrategy(naive=models.NaiveFeedbackStrategyParams(a=0.7, b=1.2, c=0.3))))
        return self.vector(name)

    def expression(self, depth=0):
        leaves = [
            lambda: round(self.rng.uniform(-2, 2), 2),
            lambda: "$score",
            lambda: "$score[1]",
            lambda: self.rng.choice(["n", "f"]),
            lambda: models.FieldCondition(key="tag", match=models.MatchValue(value=self.rng.choice(WORDS[:5]))),
            lambda: models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(**self.place()), to="geo")),
            lambda: models.DatetimeKeyExpression(datetime_key="at"),
        ]
        inner = lambda: self.expression(depth + 1)
        nodes = [
            lambda: models.SumExpression(sum=[inner(), inner()]),
            lambda: models.MultExpression(mult=[inner(), inner()]),
            lambda: models.NegExpression(neg=inner()),
            lambda: models.AbsExpression(abs=inner()),
            lambda: models.MaxExpression(max=[inner(), inner()]),
            lambda: models.MinExpression(min=[inner(), inner()]),
            lambda: models.DivExpression(div=models.DivParams(left=inner(), right=inner(), by_zero_default=0.5)),
            lambda: models.SqrtExpression(sqrt=models.AbsExpression(abs=inner())),
            lambda: models.LnExpression(ln=models.SumExpression(sum=[models.AbsExpression(abs=inner()), 1.0])),
            lambda: models.Log10Expression(log10=models.SumExpression(sum=[models.AbsExpression(abs=inner()), 1.0])),
            lambda: models.PowExpression(pow=models.PowParams(base=models.AbsExpression(abs=inner()), exponent=0.5)),
            lambda: models.GaussDecayExpression(gauss_decay=models.DecayParamsExpression(x="n", target=3.0, scale=5.0)),
            lambda: models.ExpDecayExpression(exp_decay=models.DecayParamsExpression(x="f", scale=4.0, midpoint=0.3)),
            lambda: models.LinDecayExpression(lin_decay=models.DecayParamsExpression(x="n", target="f", scale=9.0)),
        ]
        return self.rng.choice(leaves if depth >= 2 or self.maybe(0.3) else nodes)()

    def prefetch(self, known, depth=0):
        """A prefetch whose points mostly have scores of their own: equals could be other points at its limit, and have other ranks."""
        name = self.name()
        nested = [self.prefetch(known, depth + 1)] if depth < 1 and self.maybe(0.2) else None
        query = self.vector(name) if nested or name in SPARSE else self.query(name, known(name))
        return models.Prefetch(
            query=self.vector(name) if isinstance(query, models.ContextQuery) else query,
            using=name,
            prefetch=nested,
            filter=self.filter() if self.maybe(0.3) else None,
            limit=100 if nested is None and depth == 0 else self.rng.choice([3, 8, 30]),
        )


class Run:
    def __init__(self, url, seed):
        self.rng = random.Random(seed)
        self.draw = Draw(self.rng)
        self.server = QdrantClient(url=url, timeout=30)
        self.local = QdrantClient(":memory:")
        self.name = f"differential-{seed}"
        self.step = 0
        self.seed = seed
        self.counts = {}

    def both(self, what, **arguments):
        """The two answers of one call. Both must succeed, or both fail."""
        self.step += 1
        self.counts[what] = self.counts.get(what, 0) + 1
        self.last = f"seed {self.seed}, step {self.step}: {what}({arguments})"
        answers = []
        for client in (self.server, self.local):
            try:
                answers.append(getattr(client, what)(self.name, **arguments))
            except Exception as error:  # noqa: BLE001: whatever the clients raise is compared
                answers.append(error)
        failed = [isinstance(answer, Exception) for answer in answers]
        self.check(failed[0] == failed[1], answers)
        return None if failed[0] else answers

    def check(self, holds, *details):
        if not holds:
            lines = "\n  ".join(str(detail) for detail in details)
            raise SystemExit(f"the server and local mode differ\n{self.last}\n  {lines}")

    def create(self):
        vectors = {name: models.VectorParams(size=size, distance=distance) for name, (size, distance) in DENSE.items()}
        vectors |= {
            name: models.VectorParams(size=size, distance=distance, multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM))
            for name, (size, distance) in MULTI.items()
        }
        sparse = {name: models.SparseVectorParams(modifier=modifier) for name, modifier in SPARSE.items()}
        self.server.delete_collection(self.name)
        self.both("create_collection", vectors_config=vectors, sparse_vectors_config=sparse)

    def index(self):
        """Makes an index, or takes one away: neither may change an answer."""
        schemas = {"n": "integer", "f": "float", "tag": "keyword", "tags": "keyword", "flag": "bool", "at": "datetime",
                   "geo": "geo", "geos": "geo", "text": "text", "a.b": "integer", "arr[].x": "integer", "ns": "integer"}
        key = self.rng.choice(list(schemas))
        if self.draw.maybe(0.7):
            self.server.create_payload_index(self.name, key, field_schema=schemas[key])
        else:
            self.server.delete_payload_index(self.name, key)

    def write(self):
        draw = self.draw
        choices = [
            lambda: self.both("upsert", points=self.points()),
            lambda: self.both("upsert", points=self.points(), update_filter=draw.filter()),
            lambda: self.both("upsert", points=self.points(), update_mode=self.rng.choice(list(models.UpdateMode))),
            lambda: self.both("update_vectors", points=[models.PointVectors(id=id, vector=draw.vectors(0.4) or {"cos": draw.dense(6)})
                                                        for id in dict.fromkeys(draw.ids())]),
            lambda: self.both("delete_vectors", vectors=[draw.name()], points=draw.selector()),
            lambda: self.both("set_payload", payload={**draw.payload(), "n": None}, points=draw.selector()),
            lambda: self.both("set_payload", payload={"b": 7, "z": [1]}, key=self.rng.choice(["a", "arr[0]", "arr[]", "new.deep"]), points=draw.selector()),
            lambda: self.both("overwrite_payload", payload=draw.payload(), points=draw.selector()),
            lambda: self.both("delete_payload", keys=self.rng.sample(["n", "a.b", "arr[].x", "arr[0]", "tags", "none"], 2), points=draw.selector()),
            lambda: self.both("clear_payload", points_selector=draw.ids(2)),
            lambda: self.both("delete", points_selector=draw.ids(3)),
            lambda: self.both("delete", points_selector=models.FilterSelector(filter=models.Filter(must=[draw.condition(), draw.condition()]))),
            lambda: self.both("batch_update_points", update_operations=[
                models.UpsertOperation(upsert=models.PointsList(points=self.points())),
                models.SetPayloadOperation(set_payload=models.SetPayload(payload={"n": 3}, filter=draw.filter())),
                models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(vector=["plain"], filter=draw.filter()))]),
        ]
        self.rng.choice([*choices, choices[0], choices[0], choices[0]])()

    def points(self):
        return [models.PointStruct(id=id, vector=self.draw.vectors(), payload=self.draw.payload())
                for id in dict.fromkeys(self.draw.ids(8))]

    def known(self, name):
        """Ids of points that have a vector."""
        found, _ = self.local.scroll(self.name, scroll_filter=models.Filter(must=[models.HasVectorCondition(has_vector=name)]), limit=100)
        return [record.id for record in found]

    def has_equals(self, prefetch):
        """Whether points that a prefetch finds, or one before it, have equal scores: their ranks are in no order then."""
        if any(self.has_equals(nested) for nested in prefetch.prefetch or []):
            return True
        found = self.local.query_points(self.name, query=prefetch.query, using=prefetch.using, query_filter=prefetch.filter,
                                        prefetch=prefetch.prefetch, limit=100).points
        scores = sorted(point.score for point in found)
        return any(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) for a, b in zip(scores, scores[1:]))

    def same_records(self, ours, theirs):
        self.check([record.id for record in ours] == [record.id for record in theirs], ours, theirs)
        for a, b in zip(ours, theirs):
            self.same_point(a, b)

    def same_point(self, a, b):
        self.check(a.payload == b.payload, a, b)
        self.check(same_vectors(a.vector, b.vector), a, b)
        self.check(a.order_value == b.order_value, a, b)

    def same_hits(self, ours, theirs, skipped=False):
        self.check(len(ours) == len(theirs), ours, theirs)
        self.check(all(close(a.score, b.score) for a, b in zip(ours, theirs)), ours, theirs)
        by_id = {point.id: point for point in theirs}
        first = 0
        while first < len(ours):
            last = first + 1
            while last < len(ours) and close(ours[last].score, ours[last - 1].score):
                last += 1
            # Of equals at the end, and at the beginning of a later page, others may have been left out.
            if last < len(ours) and not (skipped and first == 0):
                same = {point.id for point in ours[first:last]} == {point.id for point in theirs[first:last]}
                self.check(same, ours, theirs)
            first = last
        for point in ours:
            if point.id in by_id:
                self.same_point(point, by_id[point.id])

    def read(self):
        draw = self.draw
        what = self.rng.choice(["count", "scroll", "scroll", "order", "retrieve", "facet", "query", "query", "query", "query", "hybrid",
                                "hybrid", "formula", "groups", "matrix"])
        selection = self.rng.choice([True, False, ["n", "a.b", "arr[].x"], models.PayloadSelectorExclude(exclude=["a.b", "tags", "arr[].y"])])
        vectors = self.rng.choice([True, False, [draw.name(), draw.name()]])
        if what == "count":
            answers = self.both("count", count_filter=draw.filter())
            self.check(answers and answers[0].count == answers[1].count, answers)
        elif what == "scroll":
            condition, offset, limit = draw.filter() if draw.maybe() else None, None, self.rng.randint(1, 12)
            while True:
                answers = self.both("scroll", scroll_filter=condition, limit=limit, offset=offset, with_payload=selection, with_vectors=vectors)
                (ours, offset), (theirs, expected) = answers
                self.same_records(ours, theirs)
                self.check(offset == expected, offset, expected)
                if offset is None:
                    break
        elif what == "order":
            key = self.rng.choice(["n", "f", "ns", "at", "arr[].x"])
            start = None if draw.maybe() else draw.date() if key == "at" else self.rng.randint(0, 8)
            order = models.OrderBy(key=key, direction=self.rng.choice(list(models.Direction)), start_from=start)
            # Equals are in no order, so all of them are read.
            answers = self.both("scroll", scroll_filter=draw.filter() if draw.maybe() else None, order_by=order, limit=1000)
            (ours, _), (theirs, _) = answers
            self.check([r.order_value for r in ours] == [r.order_value for r in theirs], ours, theirs)
            pairs = [sorted(((r.order_value, str(r.id)) for r in records)) for records in (ours, theirs)]
            self.check(pairs[0] == pairs[1], *pairs)
        elif what == "retrieve":
            ids = list(dict.fromkeys(draw.ids(6)))
            ours, theirs = self.both("retrieve", ids=ids, with_payload=selection, with_vectors=vectors)
            self.same_records(sorted(ours, key=lambda r: str(r.id)), sorted(theirs, key=lambda r: str(r.id)))
        elif what == "facet":
            answers = self.both("facet", key=self.rng.choice(["n", "tag", "tags", "flag", "ns"]), facet_filter=draw.filter() if draw.maybe() else None,
                                limit=self.rng.choice([2, 10]))
            self.check(answers[0] == answers[1], *answers)
        elif what == "query":
            name = draw.name()
            answers = self.both("query_points", query=draw.query(name, self.known(name)), using=name, query_filter=draw.filter() if draw.maybe() else None,
                                limit=self.rng.choice([1, 5, 50]), offset=self.rng.choice([None, 2]), with_payload=selection, with_vectors=vectors)
            self.same_answers(answers)
        elif what == "hybrid":
            prefetch = [draw.prefetch(self.known) for _ in range(self.rng.randint(1, 3))]
            name = draw.name()
            if any(self.has_equals(one) for one in prefetch):
                return
            query = self.rng.choice([
                models.FusionQuery(fusion=models.Fusion.RRF),
                models.FusionQuery(fusion=models.Fusion.DBSF),
                models.RrfQuery(rrf=models.Rrf(k=self.rng.randint(1, 60), weights=[round(self.rng.uniform(0.2, 3), 2) for _ in prefetch])),
                draw.vector(name),
            ])
            using = None if isinstance(query, (models.FusionQuery, models.RrfQuery)) else name
            answers = self.both("query_points", query=query, prefetch=prefetch, using=using, query_filter=draw.filter() if draw.maybe(0.4) else None,
                                limit=self.rng.choice([5, 50]), offset=self.rng.choice([None, 1]), with_payload=selection)
            self.same_answers(answers)
        elif what == "formula":
            prefetch = [models.Prefetch(query=draw.vector(name), using=name, limit=100) for name in self.rng.sample([*DENSE, "plain"], 2)]
            defaults = {"n": 2, "f": 0.5, "geo": {"lon": 1.5, "lat": 2.5}, "at": "2020-01-01", "$score[1]": 0.25}
            answers = self.both("query_points", query=models.FormulaQuery(formula=draw.expression(), defaults=defaults), prefetch=prefetch, limit=100)
            self.same_answers(answers)
        elif what == "groups":
            name = self.rng.choice([*DENSE, *SPARSE])
            answers = self.both("query_points_groups", group_by=self.rng.choice(["n", "tag", "tags", "a.c"]), query=draw.vector(name), using=name,
                                query_filter=draw.filter() if draw.maybe(0.3) else None, limit=self.rng.choice([2, 20]), group_size=self.rng.choice([1, 3]))
            if answers:
                ours, theirs = (answer.groups for answer in answers)
                if [g.id for g in ours] != [g.id for g in theirs]:
                    # Groups of the same best point may change places.
                    self.check([close(a.hits[0].score, b.hits[0].score) for a, b in zip(ours, theirs)], ours, theirs)
                else:
                    for a, b in zip(ours, theirs):
                        self.same_hits(a.hits, b.hits)
        else:
            name = draw.name()
            answers = self.both("search_matrix_pairs", using=name, sample=1000, limit=3, query_filter=draw.filter() if draw.maybe(0.3) else None)
            if answers:
                ours, theirs = ([(pair.a, pair.b, pair.score) for pair in answer.pairs] for answer in answers)
                self.check([pair[0] for pair in ours] == [pair[0] for pair in theirs], ours, theirs)
                self.check(all(close(a[2], b[2]) for a, b in zip(ours, theirs)), ours, theirs)

    def same_answers(self, answers):
        if answers:
            self.same_hits(answers[0].points, answers[1].points, skipped=True)

    def go(self, until):
        """Makes calls until there are 1,500, or the time is up."""
        self.create()
        for _ in range(8):
            self.both("upsert", points=self.points())
        while self.step < 1500 and time.time() < until:
            if self.draw.maybe(0.04):
                self.index()
            elif self.draw.maybe(0.3):
                self.write()
            else:
                self.read()
        self.server.delete_collection(self.name)


def same_vectors(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_vectors(a[name], b[name]) for name in a)
    if isinstance(a, models.SparseVector) and isinstance(b, models.SparseVector):
        return a.indices == b.indices and same_vectors(a.values, b.values)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_vectors(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)
    return a == b


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--seconds", type=float)
    options = arguments.parse_args()
    until, last = (math.inf, options.seed + options.seeds) if options.seconds is None else (time.time() + options.seconds, math.inf)
    seed, counts = options.seed, {}
    while seed < last and time.time() < until:
        run = Run(options.url, seed)
        run.go(until)
        for what, count in run.counts.items():
            counts[what] = counts.get(what, 0) + count
        seed += 1
    total = sum(counts.values())
    print(f"{total} calls answered alike: " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
