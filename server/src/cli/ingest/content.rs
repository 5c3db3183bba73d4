//! What files hold: plain text as it is, and the text of web pages, PDF and Word documents.

mod docx;
mod guard;
mod html;
mod pdf;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(super) use guard::guarded;

/// A larger document would not fit into a request to a server with its default limits.
pub(super) const LARGEST_TEXT_BYTES: u64 = 24 << 20;
/// Pictures make PDF files large, and a file is read as a whole.
const LARGEST_PDF_BYTES: u64 = 256 << 20;
/// How much of a file is looked at to tell that it is not text.
pub(super) const SNIFFED_BYTES: usize = 8 << 10;

/// A text, and what its author calls it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Text {
    pub title: Option<String>,
    pub text: String,
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    Text(Text),
    NoText(&'static str),
}

/// Reads a file as its name says.
///
/// # Errors
/// Where it cannot be read, is damaged, protected, or too large.
pub(super) fn read(path: &Path) -> anyhow::Result<Content> {
    let (text, empty) = match extension(path).as_deref() {
        Some("html" | "htm" | "xhtml") => (html::text(&read_whole(path, LARGEST_TEXT_BYTES)?), "no text in it"),
        Some("pdf") => (
            pdf::text(read_whole(path, LARGEST_PDF_BYTES)?)?,
            "no text in it; its pages may be pictures",
        ),
        Some("docx") => (docx::text(File::open(path)?)?, "no text in it"),
        _ => return read_plain(path),
    };
    if text.text.len() as u64 > LARGEST_TEXT_BYTES {
        return Err(too_large("its text is", LARGEST_TEXT_BYTES));
    }
    Ok(match text.text.trim().is_empty() {
        true => Content::NoText(empty),
        false => Content::Text(text),
    })
}

/// What comes behind the last dot of a file's name, in small letters.
pub(super) fn extension(path: &Path) -> Option<String> {
    path.extension()?.to_str().map(str::to_ascii_lowercase)
}

fn read_plain(path: &Path) -> anyhow::Result<Content> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Ok(Content::NoText("binary"));
    }
    read_rest(file, &mut bytes, LARGEST_TEXT_BYTES)?;
    Ok(match String::from_utf8(bytes) {
        Err(_) => Content::NoText("not UTF-8 text"),
        Ok(text) if text.contains('\0') => Content::NoText("binary"),
        Ok(text) if text.trim().is_empty() => Content::NoText("empty"),
        Ok(text) => Content::Text(Text { title: None, text }),
    })
}

fn read_whole(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_rest(File::open(path)?, &mut bytes, most)?;
    Ok(bytes)
}

fn read_rest(file: File, bytes: &mut Vec<u8>, most: u64) -> anyhow::Result<()> {
    file.take(most + 1 - bytes.len() as u64).read_to_end(bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large("it is", most));
    }
    Ok(())
}

fn too_large(what: &str, most: u64) -> anyhow::Error {
    anyhow::anyhow!("{what} larger than {} MiB", most >> 20)
}

/// A text with its white space as single spaces, if there is any text.
fn one_line(text: &str) -> Option<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Paragraphs with an empty line between them, and lines without spaces at their ends.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !tidy.is_empty() {
            tidy.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        tidy.push_str(line);
        empty = 0;
    }
    tidy
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ingest");
        dir.join(name)
    }

    /// Whether a fixture is read as the text beside it says: its title in the first line, then its text.
    fn assert_golden(name: &str) {
        let golden = std::fs::read_to_string(fixture(&format!("{name}.txt"))).unwrap();
        match read(&fixture(name)).unwrap() {
            Content::Text(Text { title, text }) => {
                assert_eq!(format!("{}\n\n{text}\n", title.unwrap_or_default()), golden, "{name}");
            }
            Content::NoText(reason) => panic!("{name} is skipped: {reason}"),
        }
    }

    fn error(name: &str) -> String {
        format!("{:#}", read(&fixture(name)).unwrap_err())
    }

    #[test]
    fn a_web_page_is_its_readable_text_with_headings() {
        assert_golden("page.html");
    }

    #[test]
    fn a_web_page_is_read_by_the_charset_that_it_declares() {
        assert_golden("latin2.html");
        assert_golden("shift_jis.html");
    }

    #[test]
    fn a_pdf_is_the_text_of_its_pages() {
        assert_golden("report.pdf");
    }

    #[test]
    fn a_word_document_is_its_paragraphs_headings_and_tables() {
        assert_golden("report.docx");
    }

    #[test]
    fn what_is_protected_says_so() {
        assert!(error("locked.pdf").contains("password"), "{}", error("locked.pdf"));
        assert!(error("locked.docx").contains("password"), "{}", error("locked.docx"));
    }

    #[test]
    fn pictures_of_pages_have_no_text() {
        let content = read(&fixture("empty.pdf")).unwrap();
        assert_eq!(content, Content::NoText("no text in it; its pages may be pictures"));
    }

    /// Files that are cut anywhere, or have bytes of theirs changed, end as a text or as an error.
    #[test]
    fn damaged_files_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["report.pdf", "report.docx", "page.html"] {
            let whole = std::fs::read(fixture(name)).unwrap();
            let path = dir.path().join(name);
            for n in 0..100 {
                let mut bytes = whole.clone();
                match n % 2 {
                    0 => bytes.truncate(whole.len() * n / 100),
                    _ => {
                        let at = whole.len() * n / 100;
                        bytes[at] ^= 0x15;
                        bytes[at / 2] = b'9';
                    }
                }
                std::fs::write(&path, bytes).unwrap();
                let _ = read(&path);
            }
            std::fs::write(&path, b"%PDF-1.7 nothing of the kind").unwrap();
            assert!(name == "page.html" || read(&path).is_err(), "{name}");
        }
    }

    #[test]
    fn empty_lines_separate_paragraphs_and_spaces_end_no_line() {
        assert_eq!(tidy("\n\n a \nb\n \n\n\nc  \n"), " a\nb\n\nc");
        assert_eq!((one_line(" a\n\tb "), one_line(" \n")), (Some("a b".to_owned()), None));
    }
}
