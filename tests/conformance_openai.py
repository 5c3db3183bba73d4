"""The stock openai package against a running server: embeddings, models, errors.

usage: conformance_openai.py URL
"""

import math
import sys

from openai import BadRequestError, NotFoundError, OpenAI

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def check_embeddings(client):
    texts = ["Bread rises because yeast makes gas.", "The lynx hunts hares at night.", "Rates were raised by the bank."]
    # The package asks for base64 by itself and decodes it.
    answer = client.embeddings.create(model=MODEL, input=texts)
    assert answer.object == "list" and answer.model == MODEL, answer
    assert [data.index for data in answer.data] == [0, 1, 2], answer
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 3 * 2, answer.usage
    vectors = [data.embedding for data in answer.data]
    assert all(len(vector) == 384 and abs(dot(vector, vector) - 1) < 1e-4 for vector in vectors)
    query = client.embeddings.create(model=MODEL, input="a wild cat", extra_body={"input_type": "query"}).data[0].embedding
    scores = [dot(query, vector) for vector in vectors]
    assert scores.index(max(scores)) == 1, scores

    floats = client.embeddings.create(model=MODEL, input=texts[1], encoding_format="float").data[0].embedding
    assert max(abs(x - y) for x, y in zip(floats, vectors[1])) < 1e-5
    short = client.embeddings.create(model=MODEL, input=texts[1], dimensions=64).data[0].embedding
    scale = math.sqrt(dot(floats[:64], floats[:64]))
    assert len(short) == 64 and max(abs(x - y / scale) for x, y in zip(short, floats)) < 1e-5


def check_models(client):
    models = list(client.models.list())
    assert MODEL in [model.id for model in models] and models[0].object == "model", models


def check_errors(client):
    for arguments, kind, param, code in [
        ({"model": MODEL, "input": [1, 2, 3]}, BadRequestError, "input", None),
        ({"model": MODEL, "input": "a", "dimensions": 1000}, BadRequestError, "dimensions", None),
        ({"model": "no/such-model", "input": "a"}, NotFoundError, "model", "model_not_found"),
    ]:
        try:
            client.embeddings.create(**arguments)
            raise AssertionError(f"accepted: {arguments}")
        except kind as error:
            assert (error.type, error.param, error.code) == ("invalid_request_error", param, code), error.body


def main():
    client = OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=60)
    checks = [check_embeddings, check_models, check_errors]
    for check in checks:
        check(client)
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
