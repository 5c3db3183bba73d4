//! Word documents: paragraphs, headings and tables of the main part.

mod part;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek};

use anyhow::{Context, bail};
use zip::ZipArchive;

use self::part::{Part, Piece, attribute};
use super::{LARGEST_TEXT_BYTES, Text, one_line, tidy, too_large};

/// The deepest heading.
const DEEPEST: usize = 6;
/// The level of what has the style of a title.
const TITLE: usize = 0;
/// What is there twice, was there before, or was somewhere else.
const LEFT_OUT: [&str; 3] = ["Fallback", "pPrChange", "moveFrom"];

/// Levels of headings by the ids of their styles.
type Levels = BTreeMap<String, usize>;

/// The text of a file.
pub(super) fn text(file: impl Read + Seek) -> anyhow::Result<Text> {
    let mut parts =
        ZipArchive::new(BufReader::new(file)).context("it is damaged, protected by a password, or not Word")?;
    let levels = part::read(&mut parts, "word/styles.xml", levels)?.unwrap_or_default();
    let title = part::read(&mut parts, "docProps/core.xml", title)?.flatten();
    let Some(body) = part::read(&mut parts, "word/document.xml", |part| Body::read(part, &levels))? else {
        bail!("it is not a Word document");
    };
    Ok(Text {
        title: title.or(body.title),
        text: tidy(&body.text),
    })
}

/// Styles have ids in the author's language, and names that are the same in all of them.
fn levels(part: &mut Part<'_>) -> anyhow::Result<Levels> {
    let mut levels = Levels::new();
    let mut style = String::new();
    while let Some(piece) = part.next()? {
        let Piece::Open(element) = piece else { continue };
        let level = match element.local_name().as_ref() {
            "style" => {
                style = attribute(&element, "styleId").unwrap_or_default();
                None
            }
            "name" => attribute(&element, "val").and_then(|name| level_of(&name)),
            "outlineLvl" => outline_level(attribute(&element, "val")),
            _ => None,
        };
        if let Some(level) = level {
            levels.insert(style.clone(), level);
        }
    }
    Ok(levels)
}

fn level_of(name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    if name == "title" {
        return Some(TITLE);
    }
    let level = name.strip_prefix("heading ")?.parse().ok()?;
    (1..=DEEPEST).contains(&level).then_some(level)
}

fn outline_level(value: Option<String>) -> Option<usize> {
    let level: usize = value?.parse().ok()?;
    (level < DEEPEST).then_some(level + 1)
}

/// What the properties of a document say.
fn title(part: &mut Part<'_>) -> anyhow::Result<Option<String>> {
    let mut title = String::new();
    let mut inside = false;
    while let Some(piece) = part.next()? {
        match piece {
            Piece::Open(element) => inside = element.local_name().as_ref() == "title",
            Piece::Text(text) if inside => title.push_str(&text),
            Piece::Text(_) => {}
            Piece::Close(_) => inside = false,
        }
    }
    Ok(one_line(&title))
}

/// The main part, as far as it was read.
#[derive(Default)]
struct Body {
    title: Option<String>,
    text: String,
    /// Paragraphs that have begun: those of a text box lie within another.
    paragraphs: Vec<Paragraph>,
    /// Rows of tables that have begun, as the texts of their cells.
    rows: Vec<Vec<String>>,
    /// How many runs have begun. What is not within one is no text.
    runs: usize,
    /// Whether text is text, and not a formula's or a field's.
    is_text: bool,
}

#[derive(Default)]
struct Paragraph {
    level: Option<usize>,
    is_item: bool,
    text: String,
}

impl Body {
    fn read(part: &mut Part<'_>, levels: &Levels) -> anyhow::Result<Self> {
        let mut body = Self::default();
        while let Some(piece) = part.next()? {
            match piece {
                Piece::Open(element) if LEFT_OUT.contains(&element.local_name().as_ref()) => part.skip()?,
                Piece::Open(element) => {
                    let value = attribute(&element, "val");
                    body.open(element.local_name().as_ref(), value, levels);
                }
                Piece::Close(name) => body.close(&name),
                Piece::Text(text) if body.is_text => body.push(&text),
                Piece::Text(_) => {}
            }
            let waiting = body.paragraphs.last().map_or(0, |paragraph| paragraph.text.len());
            if (body.text.len() + waiting) as u64 > LARGEST_TEXT_BYTES {
                return Err(too_large("its text is", LARGEST_TEXT_BYTES));
            }
        }
        Ok(body)
    }

    fn open(&mut self, name: &str, value: Option<String>, levels: &Levels) {
        let paragraph = self.paragraphs.last_mut();
        match (name, paragraph) {
            ("p", _) => self.paragraphs.push(Paragraph::default()),
            ("r", _) => self.runs += 1,
            ("t", _) => self.is_text = self.runs > 0,
            ("tr", _) => self.rows.push(Vec::new()),
            ("tc", _) => {
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                }
            }
            ("pStyle", Some(paragraph)) => paragraph.level = value.and_then(|style| levels.get(&style).copied()),
            ("outlineLvl", Some(paragraph)) => paragraph.level = outline_level(value).or(paragraph.level),
            ("numPr", Some(paragraph)) => paragraph.is_item = true,
            ("tab", _) if self.runs > 0 => self.push("\t"),
            ("br" | "cr", _) if self.runs > 0 => self.push("\n"),
            ("noBreakHyphen", _) => self.push("-"),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "t" => self.is_text = false,
            "r" => self.runs = self.runs.saturating_sub(1),
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.end_paragraph(&paragraph);
                }
            }
            "tr" => {
                if let Some(row) = self.rows.pop() {
                    let cells: Vec<_> = row.iter().map(|cell| cell.trim()).collect();
                    self.write(&cells.join(" | "), "\n");
                }
            }
            "tbl" => self.write("", "\n"),
            _ => {}
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn end_paragraph(&mut self, paragraph: &Paragraph) {
        let text = paragraph.text.trim_end();
        match paragraph.level {
            _ if text.trim().is_empty() => {}
            Some(level) => {
                let heading = one_line(text).unwrap_or_default();
                if level == TITLE && self.title.is_none() {
                    self.title = Some(heading.clone());
                }
                self.write(&format!("{} {heading}", "#".repeat(level.max(1))), "\n\n");
            }
            None if paragraph.is_item => self.write(&format!("- {text}"), "\n\n"),
            None => self.write(text, "\n\n"),
        }
    }

    /// Writes into the cell that has begun, or into the text.
    fn write(&mut self, text: &str, end: &str) {
        match self.rows.last_mut().and_then(|row| row.last_mut()) {
            Some(cell) => {
                cell.push_str(text);
                cell.push(' ');
            }
            None => {
                self.text.push_str(text);
                self.text.push_str(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use zip::write::SimpleFileOptions;

    /// A document whose main part is made of `pieces`, one after the other.
    fn document<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Cursor<Vec<u8>> {
        let mut file = zip::ZipWriter::new(Cursor::new(Vec::new()));
        file.start_file("word/document.xml", SimpleFileOptions::default())
            .unwrap();
        for piece in pieces {
            file.write_all(piece).unwrap();
        }
        file.finish().unwrap()
    }

    fn of(paragraphs: &str) -> String {
        let xml = format!("<w:document><w:body>{paragraphs}</w:body></w:document>");
        text(document([xml.as_bytes()])).unwrap().text
    }

    #[test]
    fn only_what_is_there_now_and_once_is_text() {
        let moved = "<w:p><w:moveFrom><w:r><w:t>a</w:t></w:r></w:moveFrom><w:del><w:r><w:delText>b</w:delText></w:r></w:del>\
            <w:r><w:t>c</w:t></w:r><w:ins><w:r><w:t xml:space=\"preserve\"> d &amp; &#101;</w:t></w:r></w:ins></w:p>";
        assert_eq!(of(moved), "c d & e");
        let boxed = "<w:p><w:r><mc:AlternateContent><mc:Choice><w:p><w:r><w:t>in</w:t></w:r></w:p></mc:Choice>\
            <mc:Fallback><w:p><w:r><w:t>in</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent></w:r>\
            <w:r><w:t>out</w:t></w:r></w:p>";
        assert_eq!(of(boxed), "in\n\nout");
        let stops = "<w:p><w:pPr><w:tabs><w:tab w:val=\"left\"/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r></w:p>";
        assert_eq!(of(stops), "a\tb");
    }

    #[test]
    fn a_table_within_a_cell_is_part_of_its_row() {
        let cell = |text: &str| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
        let inner = format!("<w:tbl><w:tr>{}{}</w:tr></w:tbl>", cell("b"), cell("c"));
        let outer = format!(
            "<w:tbl><w:tr>{}<w:tc>{inner}</w:tc></w:tr><w:tr>{}</w:tr></w:tbl>",
            cell("a"),
            cell("d")
        );
        assert_eq!(
            of(&format!("{outer}<w:p><w:r><w:t>e</w:t></w:r></w:p>")),
            "a | b | c\nd\n\ne"
        );
    }

    #[test]
    fn what_unpacks_into_too_much_is_refused() {
        let spaces = vec![b' '; 1 << 20];
        let bomb = document(std::iter::repeat_n(&spaces[..], 129));
        assert!(bomb.get_ref().len() < 1 << 20);
        let error = format!("{:#}", text(bomb).unwrap_err());
        assert!(error.contains("word/document.xml is larger than 128 MiB"), "{error}");

        let words = [b"<w:t>".to_vec(), vec![b'x'; 1 << 20], b"</w:t>".to_vec()].concat();
        let long = std::iter::repeat_n(&words[..], 25);
        let error = text(document([&b"<w:p><w:r>"[..]].into_iter().chain(long))).unwrap_err();
        assert!(
            format!("{error:#}").contains("its text is larger than 24 MiB"),
            "{error:#}"
        );
    }

    #[test]
    fn other_archives_are_no_word_documents() {
        let mut file = zip::ZipWriter::new(Cursor::new(Vec::new()));
        file.start_file("a.txt", SimpleFileOptions::default()).unwrap();
        let error = text(file.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("not a Word document"), "{error}");
        assert!(text(Cursor::new(b"PK".to_vec())).is_err());
    }
}
