//! How far an ingestion has come: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Progress on standard error.
pub(in super::super) struct Progress {
    bar: ProgressBar,
    begin: Instant,
    /// When the last line was written, where there is no terminal.
    last_line: Option<Instant>,
}

impl Progress {
    /// Progress toward `documents`.
    pub fn new(documents: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::new(documents)
        } else {
            ProgressBar::hidden()
        };
        bar.set_length(documents);
        let template = "{bar:30} {pos}/{len} documents  {msg}  {per_sec}  ETA {eta}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let begin = Instant::now();
        Self {
            bar,
            begin,
            last_line: (!terminal).then_some(begin),
        }
    }

    /// So many documents are finished, with so many chunks.
    pub fn update(&mut self, documents: u64, chunks: u64) {
        // A file of records is more than one.
        if self.bar.length().is_some_and(|length| length < documents) {
            self.bar.set_length(documents);
        }
        self.bar.set_position(documents);
        self.bar.set_message(format!("{chunks} chunks"));
        if self.last_line.is_some_and(|line| line.elapsed() >= BETWEEN_LINES) {
            let rate = documents as f64 / self.begin.elapsed().as_secs_f64();
            let total = self.bar.length().unwrap_or(documents);
            eprintln!("{documents}/{total} documents, {chunks} chunks, {rate:.1} documents/s");
            self.last_line = Some(Instant::now());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
