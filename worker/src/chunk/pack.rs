//! Units that are kept whole, put together into pieces.

use std::ops::Range;

use super::Limits;

/// As many consecutive units a piece as fit; the last of them are repeated at the beginning of the next, as far as the overlap
/// allows. A unit that does not fit alone is cut by `finer`. Units follow each other without a gap.
pub(super) fn pack(
    text: &str,
    units: Vec<Range<usize>>,
    limits: &Limits<'_>,
    finer: impl Fn(Range<usize>) -> Vec<Range<usize>>,
) -> Vec<Range<usize>> {
    let tokens = |range: Range<usize>| limits.sizer.tokens(&text[trimmed(text, range)]);
    let before = limits.sizer.tokens("");
    // Tokens of a sequence are about the sum of those of its units, which need to be counted once only.
    let sizes: Vec<usize> = units
        .iter()
        .map(|unit| tokens(unit.clone()).saturating_sub(before))
        .collect();
    let mut pieces: Vec<Range<usize>> = Vec::new();
    // The units of the next piece begin with `first`; those before `new` are in the last piece already.
    let (mut first, mut new) = (0, 0);
    while new < units.len() {
        if before + sizes[new] > limits.most {
            pieces.extend(finer(units[new].clone()));
            new += 1;
            first = new;
            continue;
        }
        let mut size = before + sizes[first..new].iter().sum::<usize>();
        let mut end = new;
        while end < units.len() && size + sizes[end] <= limits.most {
            size += sizes[end];
            end += 1;
        }
        // The sum may have been too small: then the piece is made smaller, at its end and then at its beginning.
        while end > new && tokens(units[first].start..units[end - 1].end) > limits.most {
            end -= 1;
        }
        if end == new {
            match first < new {
                true => first += 1,
                false => {
                    pieces.extend(finer(units[new].clone()));
                    new += 1;
                    first = new;
                }
            }
            continue;
        }
        pieces.push(trimmed(text, units[first].start..units[end - 1].end));
        new = end;
        let mut repeated = before;
        first = end;
        while first > 0 && repeated + sizes[first - 1] <= limits.overlap {
            first -= 1;
            repeated += sizes[first];
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A range without the white space at its ends.
pub(super) fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let end = range.end - (piece.len() - piece.trim_end().len());
    start..end.max(start)
}
