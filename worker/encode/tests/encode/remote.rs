//! Encoders that run elsewhere, against a service in this process that speaks each protocol, mistakes included.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use twofold_encode::{EncodeError, Encoder, Endpoints, RemoteEncoder, RemoteError, RemoteReranker};
use twofold_types::{EncoderParams, ModelId, Precision, Role};

/// A variable that is set wherever tests run; its value is the key.
const KEY_VARIABLE: &str = "CARGO_PKG_NAME";

#[derive(Debug, Clone)]
struct Seen {
    path: String,
    authorization: Option<String>,
    body: Value,
}

/// What the service does with a request.
enum Answer {
    Body(u16, String, &'static [(&'static str, &'static str)]),
    /// Nothing for so long, then the body.
    Late(Duration, String),
    /// The body's first half.
    CutOff(String),
    /// The connection ends.
    Gone,
}

fn ok(body: Value) -> Answer {
    Answer::Body(200, body.to_string(), &[])
}

fn error(status: u16, body: Value) -> Answer {
    Answer::Body(status, body.to_string(), &[])
}

struct Service {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Service {
    /// `answer` gets each request with its number. The thread ends with the process.
    fn start(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let of_thread = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&stream);
                let number = {
                    let mut seen = of_thread.lock().unwrap();
                    seen.push(request.clone());
                    seen.len() - 1
                };
                // Whoever asked may have given up.
                let _ = respond(&mut stream, answer(number, &request));
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn endpoints(&self, mut endpoint: Value) -> Endpoints {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints.json");
        endpoint["url"] = json!(self.url);
        std::fs::write(&path, json!({"fake": endpoint}).to_string()).unwrap();
        Endpoints::open(&path).unwrap()
    }

    /// An encoder of model `m` at this service.
    fn open(
        &self,
        endpoint: Value,
        params: impl FnOnce(&mut EncoderParams),
    ) -> Result<Arc<RemoteEncoder>, EncodeError> {
        let mut all = EncoderParams::new(ModelId::new("fake/m"));
        params(&mut all);
        let endpoints = self.endpoints(endpoint);
        let (endpoint, name) = endpoints.of(&all.model).unwrap();
        RemoteEncoder::open(endpoint, name, &all)
    }

    /// A reranker, model `m` at this service.
    fn reranker(&self, endpoint: Value) -> RemoteReranker {
        let model = ModelId::new("fake/m");
        let endpoints = self.endpoints(endpoint);
        let (endpoint, name) = endpoints.of(&model).unwrap();
        RemoteReranker::new(endpoint, name, model.clone())
    }
}

fn read_request(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Seen {
        path,
        authorization,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn respond(stream: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut write = |status: u16, headers: &[(&str, &str)], length: usize, body: &[u8]| {
        let more: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n"
        )?;
        stream.write_all(body)
    };
    match answer {
        Answer::Body(status, body, headers) => write(status, headers, body.len(), body.as_bytes()),
        Answer::Late(wait, body) => {
            std::thread::sleep(wait);
            write(200, &[], body.len(), body.as_bytes())
        }
        Answer::CutOff(body) => write(200, &[], body.len(), &body.as_bytes()[..body.len() / 2]),
        Answer::Gone => Ok(()),
    }
}

/// A vector by which its text is known.
fn vector_of(text: &str) -> Vec<f32> {
    vec![text.len() as f32, text.bytes().map(u32::from).sum::<u32>() as f32, 0.5]
}

fn texts_of<'a>(seen: &'a Seen, key: &str) -> Vec<&'a str> {
    let texts = seen.body[key].as_array().unwrap();
    texts.iter().map(|text| text.as_str().unwrap()).collect()
}

/// OpenAI's answer, the last text first.
fn openai(seen: &Seen) -> Answer {
    let datum =
        |(index, text): (usize, &&str)| json!({"object": "embedding", "index": index, "embedding": vector_of(text)});
    let data: Vec<Value> = texts_of(seen, "input").iter().enumerate().map(datum).rev().collect();
    ok(json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
}

fn three_dimensions(mut endpoint: Value) -> Value {
    endpoint["models"] = json!({"m": {"dimensions": 3}});
    endpoint
}

fn embed(encoder: &RemoteEncoder, texts: &[&str], role: Role) -> Result<Vec<Vec<f32>>, EncodeError> {
    let tokens = encoder.tokenizer(role).tokenize(texts, role).unwrap();
    let embeddings = encoder.encode(&tokens, role)?;
    Ok(embeddings.into_iter().map(|e| e.into_dense().unwrap()).collect())
}

#[track_caller]
fn remote_error(result: Result<Vec<Vec<f32>>, EncodeError>) -> (bool, RemoteError, String) {
    let error = result.unwrap_err();
    let (transient, message) = (error.is_transient(), error.to_string());
    match error {
        EncodeError::Remote { source, .. } => (transient, source, message),
        error => panic!("{error}"),
    }
}

const TEXTS: [&str; 5] = [
    "The cat sits on the mat.",
    "a",
    "Größenwahn",
    "東京",
    "a longer text than the others",
];

#[test]
fn every_protocol_gives_each_text_its_vector() {
    for (protocol, path) in [
        ("openai", "/embeddings"),
        ("voyage", "/embeddings"),
        ("jina", "/embeddings"),
        ("cohere", "/v2/embed"),
        ("tei", "/embed"),
    ] {
        let service = Service::start(move |_, seen| match protocol {
            "cohere" => {
                let float: Vec<Vec<f32>> = texts_of(seen, "texts").into_iter().map(vector_of).collect();
                ok(json!({"id": "1", "embeddings": {"float": float}}))
            }
            "tei" => ok(json!(
                texts_of(seen, "inputs").into_iter().map(vector_of).collect::<Vec<_>>()
            )),
            _ => openai(seen),
        });
        let endpoint = json!({"protocol": protocol, "api_key_env": KEY_VARIABLE, "max_texts": 2});
        let encoder = service.open(three_dimensions(endpoint), |_| ()).unwrap();
        for role in [Role::Query, Role::Document] {
            let vectors = embed(&encoder, &TEXTS, role).unwrap();
            assert_eq!(vectors, TEXTS.map(vector_of), "{protocol}");
        }
        let seen = service.seen();
        assert_eq!(seen.len(), 6, "{protocol}: two texts a request");
        let key = format!("Bearer {}", std::env::var(KEY_VARIABLE).unwrap());
        for request in &seen {
            assert_eq!(
                (request.path.as_str(), request.authorization.as_ref()),
                (path, Some(&key))
            );
        }
        assert_eq!(
            seen[0].body != seen[3].body,
            !matches!(protocol, "openai" | "tei"),
            "{protocol}: roles differ"
        );
    }
}

#[test]
fn what_is_asked_of_an_encoder_reaches_the_service_or_is_refused() {
    let service = Service::start(|_, seen| openai(seen));
    let encoder = service
        .open(json!({"protocol": "openai"}), |params| {
            params.dimensions = NonZeroUsize::new(3);
            params.normalize = Some(true);
            params.prompts = Some(serde_json::from_value(json!({"query": "query: "})).unwrap());
        })
        .unwrap();
    let vector = embed(&encoder, &["a"], Role::Query).unwrap().remove(0);
    let length: f32 = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() < 1e-6, "{vector:?}");
    let body = &service.seen()[0].body;
    assert_eq!((&body["dimensions"], &body["input"]), (&json!(3), &json!(["query: a"])));
    assert_eq!(
        (&body["model"], service.seen()[0].authorization.as_ref()),
        (&json!("m"), None)
    );
    let refused = service.open(json!({"protocol": "openai"}), |params| params.normalize = Some(false));
    assert!(matches!(refused.err(), Some(EncodeError::RemoteParameter("normalize"))));
    let refused = service.open(json!({"protocol": "openai"}), |params| {
        params.pooling = Some(twofold_types::Pooling::Mean);
    });
    assert!(matches!(refused.err(), Some(EncodeError::RemoteParameter("pooling"))));
    let refused = service.open(json!({"protocol": "openai"}), |params| {
        params.precision = Precision::Int8
    });
    assert!(matches!(refused.err(), Some(EncodeError::RemoteParameter("precision"))));
}

#[test]
fn a_model_that_nobody_knows_is_asked_how_long_its_vectors_are() {
    let service = Service::start(|_, seen| openai(seen));
    let encoder = service.open(json!({"protocol": "openai"}), |_| ()).unwrap();
    assert_eq!((encoder.space().dimensions(), service.seen().len()), (Some(3), 1));
}

#[test]
fn texts_are_cut_to_the_maximum_by_estimated_tokens() {
    let service = Service::start(|_, seen| openai(seen));
    let encoder = service
        .open(three_dimensions(json!({"protocol": "openai"})), |params| {
            params.max_tokens = NonZeroUsize::new(4);
        })
        .unwrap();
    let tokens = encoder
        .tokenizer(Role::Document)
        .tokenize(&["one two three four five six", "one"], Role::Document);
    let tokens = tokens.unwrap();
    assert!(tokens[0].cut() > 0 && tokens[1].cut() == 0);
    assert_eq!(tokens[0].len(), 4);
    encoder.encode(&tokens, Role::Document).unwrap();
    assert_eq!(service.seen()[0].body["input"], json!(["one two three", "one"]));
}

#[test]
fn a_busy_service_is_asked_again_when_it_says() {
    let wait = &[("retry-after", "1")][..];
    let service = Service::start(move |number, seen| match number {
        0 => Answer::Body(429, json!({"error": {"message": "slow down"}}).to_string(), wait),
        1 => error(500, json!({"error": {"message": "oops"}})),
        2 => Answer::Gone,
        3 => Answer::CutOff(r#"{"data": [{"index": 0, "embedding": [1, 2, 3]}]}"#.to_owned()),
        _ => openai(seen),
    });
    let encoder = service
        .open(three_dimensions(json!({"protocol": "openai"})), |_| ())
        .unwrap();
    let started = Instant::now();
    assert_eq!(embed(&encoder, &TEXTS, Role::Document).unwrap(), TEXTS.map(vector_of));
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(service.seen().len(), 5);
}

#[test]
fn whoever_waits_for_a_query_is_told_soon() {
    let wait = &[("retry-after", "60")][..];
    let service = Service::start(move |_, _| Answer::Body(503, json!({"message": "later"}).to_string(), wait));
    let encoder = service
        .open(three_dimensions(json!({"protocol": "cohere"})), |_| ())
        .unwrap();
    let started = Instant::now();
    let (transient, error, _) = remote_error(embed(&encoder, &["a"], Role::Query));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let RemoteError::Unavailable {
        status,
        message,
        retry_after,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (status, message.as_str(), retry_after),
        (503, "later", Some(Duration::from_secs(60)))
    );
    assert!(transient);
}

#[test]
fn a_service_that_is_too_slow_or_gone_is_a_transient_error() {
    let body = json!({"data": [{"index": 0, "embedding": [1, 2, 3]}]}).to_string();
    let service = Service::start(move |_, _| Answer::Late(Duration::from_secs(4), body.clone()));
    let endpoint = json!({"protocol": "openai", "timeout_seconds": 1});
    let encoder = service.open(three_dimensions(endpoint), |_| ()).unwrap();
    let started = Instant::now();
    let (transient, error, _) = remote_error(embed(&encoder, &["a"], Role::Query));
    assert!(transient && matches!(error, RemoteError::Transport(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let nobody = Service {
        url: {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        },
        seen: Arc::default(),
    };
    let encoder = nobody
        .open(three_dimensions(json!({"protocol": "openai"})), |_| ())
        .unwrap();
    let (transient, error, _) = remote_error(embed(&encoder, &["a"], Role::Query));
    assert!(transient && matches!(error, RemoteError::Transport(_)), "{error}");
}

#[test]
fn a_key_that_is_not_accepted_is_told_by_its_variable_and_never_shown() {
    let key = std::env::var(KEY_VARIABLE).unwrap();
    let said = format!("Incorrect API key provided: {key}");
    let service = Service::start(move |_, _| error(401, json!({"error": {"message": said}})));
    let endpoint = json!({"protocol": "openai", "api_key_env": KEY_VARIABLE});
    let encoder = service.open(three_dimensions(endpoint), |_| ()).unwrap();
    let (transient, error, message) = remote_error(embed(&encoder, &TEXTS, Role::Document));
    assert!(
        !transient && matches!(error, RemoteError::Key { status: 401, .. }),
        "{error}"
    );
    assert!(
        message.contains(KEY_VARIABLE) && message.contains("fake/m"),
        "{message}"
    );
    assert!(
        !message.contains(&key) && !format!("{error:?}").contains(&key),
        "{message}"
    );
    assert_eq!(service.seen().len(), 1, "asking again does not help");

    let endpoint = json!({"protocol": "openai", "api_key_env": "TWOFOLD_NO_SUCH_VARIABLE"});
    let encoder = service.open(three_dimensions(endpoint), |_| ()).unwrap();
    let (transient, _, message) = remote_error(embed(&encoder, &["a"], Role::Query));
    assert!(!transient && message.contains("TWOFOLD_NO_SUCH_VARIABLE"), "{message}");
    assert_eq!(service.seen().len(), 1, "nothing is sent without the key");
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    type Fits = fn(&RemoteError) -> bool;
    let wrong: [(Value, Fits); 5] = [
        (
            json!({"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2, 3]}]}),
            |error| {
                matches!(
                    error,
                    RemoteError::Dimensions {
                        expected: 3,
                        received: 2
                    }
                )
            },
        ),
        (json!({"data": [{"index": 0, "embedding": [1, 2, 3]}]}), |error| {
            matches!(
                error,
                RemoteError::Count {
                    expected: 2,
                    received: 1
                }
            )
        }),
        (
            json!({"data": [{"index": 1, "embedding": [1, 2, 3]}, {"index": 1, "embedding": [1, 2, 3]}]}),
            |error| {
                matches!(
                    error,
                    RemoteError::Count {
                        expected: 2,
                        received: 1
                    }
                )
            },
        ),
        (json!({"data": "none"}), |error| {
            matches!(error, RemoteError::Malformed(_))
        }),
        // Not a number, in base 64.
        (
            json!({"data": [{"index": 0, "embedding": "AADAfwAAwH8AAMB/"}, {"index": 1, "embedding": [1, 2, 3]}]}),
            |error| matches!(error, RemoteError::NotFinite),
        ),
    ];
    for (body, fits) in wrong {
        let answer = body.clone();
        let service = Service::start(move |_, _| ok(answer.clone()));
        let encoder = service
            .open(three_dimensions(json!({"protocol": "openai"})), |_| ())
            .unwrap();
        let (transient, error, _) = remote_error(embed(&encoder, &["a", "b"], Role::Document));
        assert!(!transient && fits(&error), "{body}: {error}");
        assert_eq!(service.seen().len(), 1);
    }
    let service = Service::start(|_, _| error(400, json!({"detail": "the text is empty"})));
    let encoder = service
        .open(three_dimensions(json!({"protocol": "voyage"})), |_| ())
        .unwrap();
    let (transient, error, message) = remote_error(embed(&encoder, &[""], Role::Document));
    assert!(
        !transient && matches!(error, RemoteError::Refused { status: 400, .. }),
        "{error}"
    );
    assert!(message.contains("the text is empty"), "{message}");
    let moved = &[("location", "http://127.0.0.1:1/")][..];
    let service = Service::start(move |_, _| Answer::Body(307, String::new(), moved));
    let encoder = service
        .open(three_dimensions(json!({"protocol": "openai"})), |_| ())
        .unwrap();
    let (transient, error, _) = remote_error(embed(&encoder, &["a"], Role::Document));
    assert!(
        !transient && matches!(error, RemoteError::Refused { status: 307, .. }),
        "{error}"
    );
}

#[test]
fn texts_are_ranked_in_every_protocols_words() {
    let score_of = |text: &str| text.len() as f64 / 64.0;
    for (protocol, path, texts_key) in [
        ("openai", "/rerank", "documents"),
        ("voyage", "/rerank", "documents"),
        ("jina", "/rerank", "documents"),
        ("cohere", "/v2/rerank", "documents"),
        ("tei", "/rerank", "texts"),
    ] {
        let service = Service::start(move |_, seen| {
            let score_key = if protocol == "tei" { "score" } else { "relevance_score" };
            let texts = texts_of(seen, texts_key);
            let mut ranks: Vec<Value> = texts
                .iter()
                .enumerate()
                .map(|(index, text)| json!({"index": index, score_key: score_of(text)}))
                .collect();
            ranks.sort_by(|a, b| {
                b[score_key]
                    .as_f64()
                    .unwrap()
                    .total_cmp(&a[score_key].as_f64().unwrap())
            });
            ok(match protocol {
                "tei" => json!(ranks),
                "voyage" => json!({"object": "list", "data": ranks}),
                _ => json!({"id": "1", "results": ranks}),
            })
        });
        let reranker = service.reranker(json!({"protocol": protocol, "api_key_env": KEY_VARIABLE}));
        let texts: Vec<String> = (0..70).map(|n| "x".repeat(n % 13)).collect();
        let ranked = reranker.score("what?", &texts, false, None).unwrap();
        let expected: Vec<f32> = texts.iter().map(|text| score_of(text) as f32).collect();
        assert_eq!(ranked.scores, expected, "{protocol}");
        assert!(ranked.tokens > 70 * 2, "{protocol}: {}", ranked.tokens);
        let seen = service.seen();
        assert_eq!(seen.len(), if protocol == "tei" { 3 } else { 1 }, "{protocol}");
        assert_eq!((seen[0].path.as_str(), &seen[0].body["query"]), (path, &json!("what?")));
        let raw = reranker.score("what?", &texts, true, None);
        assert_eq!(raw.is_ok(), protocol == "tei", "{protocol}");
    }
    let service = Service::start(|_, _| ok(json!({"results": [{"index": 0, "relevance_score": 0.5}]})));
    let error =
        service
            .reranker(json!({"protocol": "cohere"}))
            .score("q", &["a".to_owned(), "b".to_owned()], false, None);
    let error = error.unwrap_err();
    assert!(
        !error.is_transient() && error.to_string().contains("1 results"),
        "{error}"
    );
}

#[test]
fn nobody_waits_for_a_reranker_longer_than_told() {
    let scores = json!({"results": [{"index": 0, "relevance_score": 0.5}]});
    for answer in [
        (|scores: &Value| Answer::Late(Duration::from_secs(20), scores.to_string())) as fn(&Value) -> Answer,
        |_| error(503, json!({"message": "not now"})),
    ] {
        let scores = scores.clone();
        let service = Service::start(move |_, _| answer(&scores));
        let reranker = service.reranker(json!({"protocol": "jina"}));
        let started = Instant::now();
        let deadline = started + Duration::from_millis(700);
        let error = reranker
            .score("q", &["a".to_owned()], false, Some(deadline))
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
