use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::json;
use twofold_encode::{DeviceSpec, Model};

use super::*;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families/bert");
        Model::open(fixture, DeviceSpec::Cpu).unwrap()
    })
}

fn tokenizer() -> &'static Tokenizer {
    model().encoder().tokenizer(Role::Document)
}

fn params(json: serde_json::Value) -> ChunkingParams {
    serde_json::from_value(json).unwrap()
}

fn document(text: &str) -> Document {
    serde_json::from_value(json!({"text": text, "metadata": {"title": "The title"}})).unwrap()
}

fn texts(text: &str, settings: serde_json::Value) -> Vec<String> {
    let chunks = chunk(&document(text), tokenizer(), &params(settings)).unwrap();
    chunks.into_iter().map(|chunk| chunk.text).collect()
}

#[test]
fn sentences_stay_whole() {
    let text = "One is here. Two is here. Three is here.";
    let size = tokenizer().count_tokens("One is here. Two is here.").unwrap();
    let settings = json!({"strategy": "sentence", "max_tokens": size, "overlap": 0});
    assert_eq!(texts(text, settings), ["One is here. Two is here.", "Three is here."]);
    let size = size.max(tokenizer().count_tokens("Two is here. Three is here.").unwrap());
    let overlap = tokenizer().count_tokens("Two is here.").unwrap();
    let settings = json!({"strategy": "sentence", "max_tokens": size, "overlap": overlap});
    assert_eq!(
        texts(text, settings),
        ["One is here. Two is here.", "Two is here. Three is here."]
    );
}

#[test]
fn blocks_of_code_stay_whole_and_long_ones_are_cut_at_lines() {
    let code = "fn a() {\n    one();\n\n    two();\n}\n\nfn b() {\n    three();\n}\n";
    let (a, b) = code.split_at(code.find("fn b").unwrap());
    let size = tokenizer()
        .count_tokens(a)
        .unwrap()
        .max(tokenizer().count_tokens(b).unwrap());
    let settings = json!({"strategy": "code", "max_tokens": size, "overlap": 0});
    assert_eq!(texts(code, settings), [a.trim(), b.trim()]);
    let settings = json!({"strategy": "code", "max_tokens": size / 2, "overlap": 0});
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    for piece in texts(code, settings) {
        assert!(piece.lines().all(|line| lines.contains(&line.trim())), "{piece:?}");
    }
}

#[test]
fn chunks_of_markdown_know_their_headings() {
    let text = "# Trees\n\nThey are tall.\n\n## Oaks\n\nOaks grow slowly.\n";
    let settings = json!({"strategy": "markdown", "max_tokens": 8, "overlap": 0});
    let chunks = chunk(&document(text), tokenizer(), &params(settings)).unwrap();
    let oaks = chunks.iter().find(|chunk| chunk.text.contains("slowly")).unwrap();
    assert_eq!(oaks.headings, ["Trees", "Oaks"]);
}

#[test]
fn a_text_that_must_not_be_cut_is_refused_when_it_is_too_long() {
    assert_eq!(texts(" Short. ", json!({"strategy": "none"})), ["Short."]);
    let long = "word ".repeat(tokenizer().max_tokens() + 1);
    let error = chunk(&document(&long), tokenizer(), &params(json!({"strategy": "none"}))).unwrap_err();
    assert!(error.to_string().contains("does not cut"), "{error}");
}

#[test]
fn what_is_repeated_of_a_cut_word_is_no_chunk_of_its_own() {
    let settings = json!({"max_tokens": 5, "overlap": 2, "template": "{title}: {text}"});
    let chunks = chunk(&document("unbelievable,"), tokenizer(), &params(settings)).unwrap();
    assert!(chunks.is_sorted_by(|a, b| a.end() < b.end()), "{chunks:?}");
}

fn settings() -> impl Strategy<Value = serde_json::Value> {
    (
        prop::sample::select(vec!["recursive", "sentence", "markdown", "code"]),
        prop::option::of(1..60_usize),
        prop::option::of(0..70_usize),
        prop::option::of(Just("{title}: {text}")),
    )
        .prop_map(|(strategy, max_tokens, overlap, template)| {
            json!({"strategy": strategy, "max_tokens": max_tokens, "overlap": overlap, "template": template})
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn chunks_have_all_of_the_text_where_they_say_and_fit_the_model(
        words in prop::collection::vec(
            prop::sample::select(vec!["word", "Über", "a.", "x", "# h", "\n", "\n\n", "  ", "```", "fn f() {", "中文字", "unbelievable,", "🙂", "\t}"]),
            0..120,
        ),
        settings in settings(),
    ) {
        let text = words.join(" ");
        let document = document(&text);
        let params = params(settings);
        let chunks = chunk(&document, tokenizer(), &params).unwrap();
        let mut covered = 0;
        for chunk in &chunks {
            prop_assert_eq!(&text[chunk.start..chunk.end()], &chunk.text);
            prop_assert!(text[covered.min(chunk.start)..chunk.start].trim().is_empty(), "a gap before {}", chunk.start);
            prop_assert!(chunk.end() > covered, "a chunk that adds nothing");
            covered = chunk.end();
            let tokens = tokenizer().tokenize(&[chunk.encoded_text()], Role::Document).unwrap();
            prop_assert_eq!(tokens[0].cut(), 0);
            if let Some(most) = params.max_tokens {
                // A single character may be more than a chunk is to be.
                let size = tokenizer().count_tokens(chunk.encoded_text()).unwrap();
                prop_assert!(size <= most.max(tokenizer().count_tokens("The title: ").unwrap() + 4), "{} of {}", size, most);
            }
        }
        prop_assert!(text[covered..].trim().is_empty(), "a gap at the end");
    }
}
