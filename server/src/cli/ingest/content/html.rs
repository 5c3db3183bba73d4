//! Web pages: what a reader reads of them.

use dom_query::Document;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{Text, one_line, tidy};

/// What is no part of the text.
const LEFT_OUT: &str = "script, style, noscript, template, nav, aside, iframe, svg, button, select, dialog, \
    body > footer, [hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], [role=search]";
/// Elements that stand on lines of their own, beside those that formatting knows.
const BLOCKS: &str = "main, header, footer, address, figure, figcaption, details, summary, dt, dd, form, fieldset, hr";
/// How far into a page its charset is declared.
const DECLARED_WITHIN: usize = 1024;

/// The text of a page: of its main part where it says which one that is.
pub(super) fn text(bytes: &[u8]) -> Text {
    let page = Document::from(decode(bytes).as_str());
    let title = page.select("head > title").first().text();
    page.select(LEFT_OUT).remove();
    let heading = page.select("h1").first().text();
    for level in 1..=6 {
        page.select(&format!("h{level}"))
            .prepend_html(format!("{} ", "#".repeat(level)));
    }
    let main = page.select("main, [role=main]").first();
    page.select(BLOCKS).rename("div");
    let text = tidy(&match main.exists() {
        true => main.formatted_text(),
        false => page.select("body").formatted_text(),
    });
    Text {
        title: one_line(&title).or_else(|| one_line(&heading)),
        text,
    }
}

/// A page as text, by its byte order mark, or by what it declares; without either it is UTF-8 where it can be.
fn decode(bytes: &[u8]) -> String {
    let encoding = match declared(bytes) {
        // It could not have been read so far.
        Some(encoding) if encoding == UTF_16BE || encoding == UTF_16LE => UTF_8,
        Some(encoding) => encoding,
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => WINDOWS_1252,
    };
    encoding.decode(bytes).0.into_owned()
}

/// The encoding that `<meta charset=...>`, `<meta content="...; charset=...">` or `<?xml encoding="..."?>` names.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARED_WITHIN)]).to_ascii_lowercase();
    ["charset", "encoding"].into_iter().find_map(|key| {
        start.match_indices(key).find_map(|(at, _)| {
            let value = start[at + key.len()..].trim_start().strip_prefix('=')?;
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            let label = value
                .split(|c: char| c.is_whitespace() || "\"';>?/".contains(c))
                .next()?;
            Encoding::for_label(label.as_bytes())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(html: &str) -> String {
        text(html.as_bytes()).text
    }

    #[test]
    fn what_stands_around_the_text_is_left_out() {
        let page =
            "<body><header>Site</header><nav>Home</nav><script>x()</script><p>Text.</p><footer>(c)</footer></body>";
        assert_eq!(of(page), "Site\n\nText.");
        let page = "<body><div role=banner>Site</div>Ad<main><h1>T</h1><p>Text.</main></body>";
        assert_eq!(of(page), "# T\n\nText.");
    }

    #[test]
    fn words_of_different_elements_are_apart() {
        assert_eq!(
            of("<dl><dt>Term<dd>What it is<dt>Other</dl>"),
            "Term\n\nWhat it is\n\nOther"
        );
        assert_eq!(of("<table><tr><td>a<td>b<tr><td>c</table>"), "a b\nc");
        assert_eq!(of("<ul><li>one<li>two</ul>"), "one\ntwo");
        assert_eq!(of("in<b>ter</b>woven"), "interwoven");
    }

    #[test]
    fn code_keeps_its_lines() {
        assert_eq!(of("<p>Run<pre>make\n  test</pre>now"), "Run\n\nmake\n  test\n\nnow");
    }

    #[test]
    fn a_title_is_what_the_head_says_or_the_first_heading() {
        let title = |html: &str| text(html.as_bytes()).title;
        assert_eq!(title("<title> A\n b </title><h1>c</h1>"), Some("A b".to_owned()));
        assert_eq!(title("<h1>c <i>d</i></h1>"), Some("c d".to_owned()));
        assert_eq!(title("<p>x<svg><title>y</title></svg>"), None);
    }

    #[test]
    fn a_charset_is_found_however_it_is_declared() {
        let label = |html: &str| declared(html.as_bytes()).map(Encoding::name);
        assert_eq!(label("<META CHARSET='Shift_JIS'>"), Some("Shift_JIS"));
        assert_eq!(label("<meta content=\"text/html; charset = koi8-r\">"), Some("KOI8-R"));
        assert_eq!(
            label("<?xml version=\"1.0\" encoding=\"iso-8859-2\"?>"),
            Some("ISO-8859-2")
        );
        assert_eq!((label("<p>charset"), label("<meta charset=nonsense>")), (None, None));
        assert_eq!(decode(b"caf\xe9"), "café");
        assert_eq!(decode(b"\xff\xfea\0b\0"), "ab");
        assert_eq!(
            decode("<meta charset=utf-16>größe".as_bytes()),
            "<meta charset=utf-16>größe"
        );
    }
}
