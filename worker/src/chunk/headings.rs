//! The headings that a place in a Markdown text stands below.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// The headings of a text in their order.
#[derive(Debug, Default)]
pub(super) struct Headings(Vec<Heading>);

#[derive(Debug)]
struct Heading {
    start: usize,
    level: usize,
    text: String,
}

impl Headings {
    pub(super) fn of(text: &str) -> Self {
        let mut headings = Vec::new();
        let mut open: Option<Heading> = None;
        for (event, range) in Parser::new(text).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    open = Some(Heading {
                        start: range.start,
                        level: level as usize,
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::Heading(_)) => headings.extend(open.take()),
                Event::Text(piece) | Event::Code(piece) => {
                    if let Some(heading) = &mut open {
                        heading.text.push_str(&piece);
                    }
                }
                _ => {}
            }
        }
        Self(headings)
    }

    /// The path at a place, the highest heading first. A heading is below itself.
    pub(super) fn at(&self, place: usize) -> Vec<String> {
        let mut path: Vec<&Heading> = Vec::new();
        for heading in self.0.iter().take_while(|heading| heading.start <= place) {
            path.retain(|above| above.level < heading.level);
            path.push(heading);
        }
        path.into_iter().map(|heading| heading.text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_headings_and_code_has_none() {
        let text = "intro\n\n# One\n\na\n\n## `Two` *b*\n\n```\n# not one\n```\n\nHere\n\nThree\n=====\n\nThere\n";
        let headings = Headings::of(text);
        let at = |word: &str| headings.at(text.find(word).unwrap());
        assert_eq!(at("intro"), [""; 0]);
        assert_eq!(at("# One"), ["One"]);
        assert_eq!(at("Here"), ["One", "Two b"]);
        assert_eq!(at("There"), ["Three"]);
    }
}
