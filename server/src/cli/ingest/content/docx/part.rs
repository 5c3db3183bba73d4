//! The parts of a Word document: XML in a ZIP archive.

use std::io::{BufRead, BufReader, Read, Seek};

use anyhow::Context;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zip::ZipArchive;
use zip::result::ZipError;

use super::too_large;

/// A small file may be packed from a very large one.
const LARGEST_PART_BYTES: u64 = 128 << 20;

/// A part that is being read.
pub(super) struct Part<'a> {
    reader: Reader<&'a mut dyn BufRead>,
    buffer: Vec<u8>,
}

/// What a part is made of; an empty element is opened and closed.
pub(super) enum Piece {
    Open(BytesStart<'static>),
    /// The element's name, without its prefix.
    Close(String),
    Text(String),
}

/// What `read` makes of the part of this name, if there is one.
pub(super) fn read<T>(
    parts: &mut ZipArchive<impl Read + Seek>,
    name: &str,
    read: impl FnOnce(&mut Part<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let file = match parts.by_name(name) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{name} is damaged")),
    };
    let mut file = BufReader::new(file.take(LARGEST_PART_BYTES));
    let mut reader = Reader::from_reader(&mut file as &mut dyn BufRead);
    reader.config_mut().expand_empty_elements = true;
    let found = read(&mut Part {
        reader,
        buffer: Vec::new(),
    });
    if file.get_ref().limit() == 0 {
        return Err(too_large(&format!("{name} is"), LARGEST_PART_BYTES));
    }
    found.with_context(|| format!("{name} cannot be read")).map(Some)
}

impl Part<'_> {
    /// The next piece, until the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        loop {
            self.buffer.clear();
            let piece = match self.reader.read_event_into(&mut self.buffer)? {
                Event::Start(element) => Piece::Open(element.into_owned()),
                Event::End(element) => Piece::Close(element.local_name().as_ref().to_owned()),
                Event::Text(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::CData(text) => Piece::Text(text.xml10_content().into_owned()),
                Event::GeneralRef(reference) => {
                    let named = resolve_predefined_entity(&reference.xml10_content()).map(str::to_owned);
                    Piece::Text(match reference.resolve_char_ref()? {
                        Some(character) => character.to_string(),
                        None => named.unwrap_or_default(),
                    })
                }
                Event::Eof => return Ok(None),
                _ => continue,
            };
            return Ok(Some(piece));
        }
    }

    /// Passes over what the element holds that was opened last.
    pub(super) fn skip(&mut self) -> anyhow::Result<()> {
        let mut open = 1;
        while open > 0 {
            match self.next()? {
                Some(Piece::Open(_)) => open += 1,
                Some(Piece::Close(_)) => open -= 1,
                Some(Piece::Text(_)) => {}
                None => break,
            }
        }
        Ok(())
    }
}

/// The attribute of this name, whatever its prefix.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    let mut attributes = attributes.with_checks(false).flatten();
    let attribute = attributes.find(|attribute| attribute.key.local_name().as_ref() == name)?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(value.into_owned())
}
