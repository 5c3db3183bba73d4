//! Letters as those of ASCII that they are made of.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// A word without the marks of Latin letters, and with two letters for what is written as one. Other scripts stay as they are.
pub(super) fn folded(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for letter in word.chars() {
        match letter {
            letter if letter.is_ascii() => folded.push(letter),
            letter => match whole(letter) {
                Some(letters) => folded.push_str(letters),
                None => push_parts(letter, &mut folded),
            },
        }
    }
    folded
}

/// Adds what a letter is made of, where that is ASCII but for marks.
fn push_parts(letter: char, folded: &mut String) {
    let before = folded.len();
    let mut is_ascii = true;
    decompose_compatible(letter, |part| {
        if !is_combining_mark(part) {
            is_ascii &= part.is_ascii();
            folded.push(part);
        }
    });
    if !is_ascii {
        folded.truncate(before);
        folded.push(letter);
    }
}

/// What stands for a Latin letter that is not made of parts by the Unicode standard.
fn whole(letter: char) -> Option<&'static str> {
    Some(match letter {
        'Æ' => "AE",
        'æ' => "ae",
        'Ð' | 'Đ' => "D",
        'ð' | 'đ' => "d",
        'Ħ' => "H",
        'ħ' => "h",
        'ı' => "i",
        'Ł' => "L",
        'ł' => "l",
        'Ŋ' => "N",
        'ŋ' => "n",
        'Ø' => "O",
        'ø' => "o",
        'Œ' => "OE",
        'œ' => "oe",
        'ẞ' => "SS",
        'ß' => "ss",
        'Þ' => "TH",
        'þ' => "th",
        'Ŧ' => "T",
        'ŧ' => "t",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_letters_lose_their_marks_and_others_keep_theirs() {
        for (word, ascii) in [
            ("ação", "acao"),
            ("Ünïcödé", "Unicode"),
            ("Straße", "Strasse"),
            ("Ærøskøbing", "AEroskobing"),
            ("Łódź", "Lodz"),
            ("ﬁne", "fine"),
            ("Việt", "Viet"),
            ("plain 7", "plain 7"),
            ("йод", "йод"),
            ("東京", "東京"),
        ] {
            assert_eq!(folded(word), ascii);
        }
    }
}
