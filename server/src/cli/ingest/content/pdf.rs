//! PDF: the text of its pages, as far as they hold text.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use pdf_extract::{Document, Error, Object, PlainTextOutput, decode_text_string, output_doc};

use super::{Text, guarded, one_line, tidy};

/// A damaged file may keep its reader going for ever.
const LONGEST: Duration = Duration::from_secs(120);
/// Objects lie within each other.
const STACK_BYTES: usize = 64 << 20;

/// The text of a file. It is read by a thread of its own, which is left alone when it takes too long.
pub(super) fn text(bytes: Vec<u8>) -> anyhow::Result<Text> {
    let (answer, answered) = mpsc::channel();
    thread::Builder::new()
        .name("read-pdf".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || answer.send(guarded(|| extract(&bytes))))
        .context("cannot start a thread")?;
    match answered.recv_timeout(LONGEST) {
        Ok(Some(text)) => text,
        Ok(None) => bail!("it is damaged, or has what cannot be read"),
        Err(_) => bail!("it takes longer than {} s to read", LONGEST.as_secs()),
    }
}

fn extract(bytes: &[u8]) -> anyhow::Result<Text> {
    let mut file = match Document::load_mem(bytes) {
        Ok(file) => file,
        Err(Error::Decryption(_) | Error::InvalidPassword) => bail!("it is protected by a password"),
        Err(error) => return Err(error).context("it is damaged, or not PDF"),
    };
    if file.is_encrypted() && file.decrypt("").is_err() {
        bail!("it is protected by a password");
    }
    let mut text = String::new();
    output_doc(&file, &mut PlainTextOutput::new(&mut text)).context("it is damaged, or has what cannot be read")?;
    Ok(Text {
        title: title(&file),
        text: tidy(&text.replace('\0', "")),
    })
}

fn title(file: &Document) -> Option<String> {
    let info = file.trailer.get(b"Info").and_then(Object::as_reference).ok()?;
    let title = file.get_dictionary(info).and_then(|info| info.get(b"Title")).ok()?;
    let (_, title) = file.dereference(title).ok()?;
    one_line(&decode_text_string(title).ok()?)
}
