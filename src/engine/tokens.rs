//! Splits text into tokens, and counts them.
//!
//! A token is optional white space and then a word (letters, digits, marks, `_`, with inner apostrophes), one
//! CJK, kana or Hangul grapheme, or a run of anything else. White space at the very end is a token of its own.
//! Joined, the tokens are the text. On English prose the count is close to that of real models' tokenizers.

use bytestring::ByteString;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

/// A longer token is split, at a grapheme boundary.
const MAX_TOKEN_BYTES: usize = 1024;

/// A single grapheme may be longer than that; above this limit it is split between characters. So no token is longer.
pub(super) const LONGEST: usize = 16 * 1024;

/// The tokens of a text, each a slice that shares its buffer.
#[derive(Clone, Debug)]
pub struct Tokens {
    text: ByteString,
    position: usize,
}

impl Tokens {
    /// Splits `text`, from its beginning.
    pub fn of(text: ByteString) -> Self {
        Self { text, position: 0 }
    }

    /// Starts again from the beginning.
    pub fn rewind(&mut self) {
        self.position = 0;
    }
}

impl Tokens {
    /// The next tokens, joined, and how many they are: at most `most`.
    pub(crate) fn run(&mut self, most: usize) -> Option<(ByteString, usize)> {
        let rest = &self.text[self.position..];
        let (mut length, mut tokens) = (0, 0);
        for token in split(rest).take(most) {
            length += token.len();
            tokens += 1;
        }
        self.position += length;
        (tokens > 0).then(|| (self.text.slice_ref(&rest[..length]), tokens))
    }
}

impl Iterator for Tokens {
    type Item = ByteString;

    fn next(&mut self) -> Option<ByteString> {
        self.run(1).map(|(token, _)| token)
    }
}

/// How many tokens `text` has.
pub fn count(text: &str) -> usize {
    split(text).count()
}

/// The tokens of `text`. The same for the text of some tokens, from the first of them to the last, as for the whole: a token
/// ends where it would with nothing behind it.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (token, behind) = rest.split_at(first_token(rest)?);
        rest = behind;
        Some(token)
    })
}

/// The class of a grapheme, which decides where tokens end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    /// A script without spaces: each grapheme is a token.
    Ideograph,
    Other,
}

/// The length in bytes of the first token of `text`.
#[inline]
fn first_token(text: &str) -> Option<usize> {
    plain_word(text.as_bytes()).or_else(|| any_token(text))
}

/// The same for text of any kind; apart, so that the fast path stays small enough to be inlined.
#[inline(never)]
fn any_token(text: &str) -> Option<usize> {
    let mut run: Option<Class> = None;
    let mut length = 0;
    while length < text.len() {
        let (class, bytes) = first_grapheme(&text[length..]);
        if length > 0 && length + bytes > MAX_TOKEN_BYTES {
            break;
        }
        match (run, class) {
            (None, Class::Space) => {}
            (None, Class::Ideograph) => return Some(length + bytes),
            (None, body) => run = Some(body),
            (Some(body), class) if body == class => {}
            (Some(Class::Word), Class::Other) if is_inner_apostrophe(&text[length..], bytes) => {}
            (Some(_), _) => break,
        }
        length += bytes;
    }
    // Only a token of a single grapheme can be longer.
    let most = (0..=length.min(LONGEST)).rev().find(|end| text.is_char_boundary(*end));
    most.filter(|length| *length > 0)
}

/// A fast path for most text: the length of a first token of spaces, ASCII letters and digits, unless what follows
/// may belong to it.
#[inline]
fn plain_word(text: &[u8]) -> Option<usize> {
    // Looks no further than one token: a longer word is split, and would be scanned again for each of its tokens.
    let text = &text[..text.len().min(MAX_TOKEN_BYTES + 1)];
    let mut length = 0;
    while length < text.len() && text[length] == b' ' {
        length += 1;
    }
    let spaces = length;
    while length < text.len() && PLAIN[usize::from(text[length])] == Plain::Word {
        length += 1;
    }
    let ends = length == text.len() || PLAIN[usize::from(text[length])] != Plain::Unclear;
    (length > spaces && ends && length <= MAX_TOKEN_BYTES).then_some(length)
}

/// What a byte is to the fast path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    /// An ASCII letter or digit.
    Word,
    /// It may belong to a word before it: an apostrophe, `_`, or a part of a character beyond ASCII.
    Unclear,
    /// It ends a word.
    End,
}

const PLAIN: [Plain; 256] = {
    let mut classes = [Plain::End; 256];
    let mut byte = 0;
    while byte < classes.len() {
        #[expect(clippy::cast_possible_truncation, reason = "an index of 256")]
        let class = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Plain::Word,
            b'\'' | b'_' | 128.. => Plain::Unclear,
            _ => Plain::End,
        };
        classes[byte] = class;
        byte += 1;
    }
    classes
};

/// Class and length of the first grapheme of `text`, which must not be empty.
fn first_grapheme(text: &str) -> (Class, usize) {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    if joins_none(first) && chars.next().is_none_or(joins_none) {
        let length = if text.starts_with("\r\n") { 2 } else { first.len_utf8() };
        return (class_of(first), length);
    }
    let grapheme = text.graphemes(true).next().unwrap_or(text);
    // A mark may be combined with a space; then the mark decides.
    let class = grapheme.chars().map(class_of).find(|class| *class != Class::Space);
    (class.unwrap_or(Class::Space), grapheme.len())
}

/// Whether a character shares no grapheme with another of these, CR LF aside. This holds for most text, which skips
/// the grapheme rules of the Unicode standard (UAX 29).
fn joins_none(c: char) -> bool {
    matches!(c,
        // ASCII to IPA, Greek and Cyrillic, except combining marks
        '\0'..='\u{02FF}' | '\u{0370}'..='\u{0482}' | '\u{048A}'..='\u{0590}'
        // punctuation, currencies, letterlike symbols, arrows, mathematics, dingbats
        | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '\u{2070}'..='\u{20CF}' | '\u{2100}'..='\u{2BFF}'
        // CJK punctuation, kana, ideographs
        | '\u{3000}'..='\u{3029}' | '\u{3030}'..='\u{3098}' | '\u{309B}'..='\u{312F}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{FF01}'..='\u{FF9D}')
}

fn is_inner_apostrophe(text: &str, bytes: usize) -> bool {
    matches!(&text[..bytes], "'" | "\u{2019}")
        && text.len() > bytes
        && first_grapheme(&text[bytes..]).0 == Class::Word
}

fn class_of(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => Class::Word,
        ' ' | '\t'..='\r' => Class::Space,
        _ if c.is_ascii() => Class::Other,
        _ if c.is_whitespace() => Class::Space,
        _ if is_ideograph(c) => Class::Ideograph,
        _ if c.is_alphanumeric() || is_mark(c) => Class::Word,
        _ => Class::Other,
    }
}

/// CJK ideographs, kana, bopomofo and Hangul, by the blocks of the Unicode standard.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11FF}' | '\u{2E80}'..='\u{2FDF}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3040}'..='\u{318F}' | '\u{31A0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FF66}'..='\u{FF9F}' | '\u{1AFF0}'..='\u{1B16F}' | '\u{20000}'..='\u{3FFFF}')
}

/// A mark, which starts a word only at the start of a text or after a control character: elsewhere it is part of the
/// grapheme before it.
fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark && !matches!(c, '\u{FE00}'..='\u{FE0F}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text of any kind, and of what makes graphemes and tokens hard to find.
    const TEXTS: &str = "\\PC*|[a-z' \r\n\u{301}\u{200D}👩日가🇨🇭]*";

    fn cut(text: &str) -> Vec<String> {
        Tokens::of(text.into()).map(|token| token.to_string()).collect()
    }

    #[test]
    fn a_word_takes_the_white_space_before_it() {
        assert_eq!(cut("Hello,  big\nworld!"), ["Hello", ",", "  big", "\nworld", "!"]);
    }

    #[test]
    fn an_apostrophe_inside_a_word_belongs_to_it() {
        assert_eq!(cut("don't 'quote' it’s'"), ["don't", " '", "quote", "'", " it’s", "'"]);
    }

    #[test]
    fn scripts_without_spaces_are_cut_into_graphemes() {
        assert_eq!(cut("日本語 か゛가x"), ["日", "本", "語", " か", "゛", "가", "x"]);
    }

    #[test]
    fn white_space_at_the_end_is_a_token() {
        assert_eq!(cut("end \r\n"), ["end", " \r\n"]);
        assert_eq!(cut("   "), ["   "]);
        assert!(cut("").is_empty());
    }

    #[test]
    fn a_grapheme_is_never_split() {
        assert_eq!(cut("e\u{301}a 👩‍👩‍👧🇨🇭x"), ["e\u{301}a", " 👩‍👩‍👧🇨🇭", "x"]);
    }

    #[test]
    fn a_long_token_is_split_at_1_kib() {
        let lengths: Vec<_> = cut(&"a".repeat(2500)).iter().map(String::len).collect();
        assert_eq!(lengths, [1024, 1024, 452]);
    }

    #[test]
    fn a_grapheme_of_endless_marks_is_split_between_characters() {
        let text = format!("a{}", "\u{301}".repeat(50_000));

        let tokens = cut(&text);

        assert!(tokens.iter().all(|token| token.len() <= 16 * 1024));
        assert_eq!(tokens.concat(), text);
    }

    #[test]
    fn digits_marks_and_underscores_make_words() {
        assert_eq!(cut("snake_case2 हिन्दी +="), ["snake_case2", " हिन्दी", " +="]);
    }

    #[test]
    fn a_character_that_joins_none_shares_no_grapheme() {
        let all: Vec<char> = (1..=0x10_FFFF).filter_map(char::from_u32).filter(|c| joins_none(*c)).collect();
        let of_all_kinds = ['a', '\u{ad}', '\u{a9}', 'я', '→', '☎', '日', 'か', 'ー', '１'];

        for c in all {
            for other in of_all_kinds.into_iter().chain([c]) {
                for pair in [[c, other], [other, c]] {
                    let text = String::from_iter(pair);
                    assert_eq!(text.graphemes(true).count(), 2, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_of_tokens_splits_into_those_tokens_again(text in TEXTS, most in 1_usize..9) {
            let mut tokens = Tokens::of(text.as_str().into());
            let whole = cut(&text);
            let mut found = Vec::new();
            while let Some((run, count)) = tokens.run(most) {
                let before = found.len();
                found.extend(split(&run).map(str::to_owned));
                prop_assert_eq!(found.len() - before, count);
            }
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn tokens_join_to_the_text_and_cut_no_grapheme(text in TEXTS) {
            let tokens = cut(&text);

            prop_assert_eq!(tokens.concat(), text.clone());
            prop_assert_eq!(count(&text), tokens.len());
            let borders: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
            let mut at = 0;
            for token in &tokens {
                prop_assert!(!token.is_empty());
                prop_assert!(borders.contains(&at));
                at += token.len();
            }
        }
    }
}
