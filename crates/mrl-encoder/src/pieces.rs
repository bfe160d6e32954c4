//! Cuts a text into pieces that can be tokenized one by one, with the same tokens as in one go.
//!
//! Depends on [`crate::error`] only: it knows the rules of BERT's pre-tokenizer, not the
//! library that applies them. A text of a megabyte then costs no more than its first tokens when
//! it is truncated, and each piece is short enough to ask between two whether to go on.
//!
//! **Where a cut is exact.** BERT's normalizer works on single characters (and on the accents that
//! follow one); its pre-tokenizer splits at white space, around ASCII punctuation and around
//! Chinese characters. So nothing that follows such a character can change the words before it,
//! and the other way round. Special tokens are found in the raw text first, so a cut must not go
//! through one: none of their characters is a place to cut (the loader sees to it that they
//! hold neither white space nor Chinese).
//!
//! **What is left out.** A word over the model's limit of characters (100) becomes one `[UNK]`
//! whatever it holds. Of a run of plain letters and digits longer than that the rest is dropped
//! here: the word stays too long. Of a run of spaces one is kept. So a megabyte without
//! white space costs no memory.
//!
//! **Where a cut may not be exact.** A run of [`LONGEST_PIECE_BYTES`] without a place to cut, of
//! characters that are not plain letters (emoji, say), is cut where it is: an `[UNK]` more than
//! the reference gives, for each 256 KiB of such a run.

use crate::error::{Poll, Result, check};

/// The longest piece; see above.
pub(crate) const LONGEST_PIECE_BYTES: usize = 256 * 1024;
/// Looked at between two polls: some milliseconds.
const BYTES_A_POLL: usize = 1 << 20;

/// What about the tokenizer decides where a text may be cut.
#[derive(Debug, Clone)]
pub(crate) struct CutRules {
    /// ASCII punctuation that no special token contains.
    pub punctuation: [bool; 128],
    /// Whether Chinese characters are words by themselves.
    pub chinese: bool,
    /// A word of more characters is unknown. Nothing: words must not be shortened.
    pub longest_word: Option<usize>,
}

impl CutRules {
    /// Whether what follows `character` is tokenized independently of what ends with it.
    fn ends_piece(&self, character: char) -> bool {
        match character {
            ' ' | '\t' | '\n' | '\r' => true,
            _ if character.is_ascii() => self.punctuation[character as usize],
            // The white space that is also a control character is removed, not split at.
            _ if character.is_whitespace() => !character.is_control(),
            _ => self.chinese && is_chinese(character),
        }
    }
}

/// The pieces of a text that is itself in two parts: the prompt, and what the user wrote.
pub(crate) struct Pieces<'a> {
    rules: &'a CutRules,
    parts: [&'a str; 2],
    /// Plain letters and digits at the end of what was taken, without a break.
    plain_run: usize,
    after_space: bool,
    piece: String,
}

impl<'a> Pieces<'a> {
    pub fn new(rules: &'a CutRules, prompt: &'a str, text: &'a str) -> Self {
        Self {
            rules,
            parts: [prompt, text],
            plain_run: 0,
            after_space: false,
            piece: String::new(),
        }
    }

    /// The next piece of about `wanted` bytes, or nothing at the end. `poll` is asked once a
    /// megabyte: that much may be left out without giving a piece.
    pub fn next(&mut self, wanted: usize, poll: Poll) -> Result<Option<&str>> {
        self.piece.clear();
        if self.parts.iter().all(|part| part.is_empty()) {
            return Ok(None);
        }
        let mut looked_at = 0;
        while let Some(character) = self.take_character() {
            looked_at += character.len_utf8();
            if looked_at >= BYTES_A_POLL {
                check(poll)?;
                looked_at = 0;
            }
            if self.is_needed(character) {
                self.piece.push(character);
            }
            let cut = self.piece.len() >= wanted && self.rules.ends_piece(character);
            if cut || self.piece.len() >= LONGEST_PIECE_BYTES {
                break;
            }
        }
        Ok(Some(&self.piece))
    }

    fn take_character(&mut self) -> Option<char> {
        for part in &mut self.parts {
            let mut characters = part.chars();
            if let Some(character) = characters.next() {
                *part = characters.as_str();
                return Some(character);
            }
        }
        None
    }

    fn is_needed(&mut self, character: char) -> bool {
        let repeated_space = self.after_space && character == ' ';
        self.after_space = character == ' ';
        self.plain_run = if is_plain(character) { self.plain_run + 1 } else { 0 };
        let beyond_longest = self.rules.longest_word.is_some_and(|most| self.plain_run > most + 1);
        !repeated_space && !beyond_longest
    }
}

/// Letters and digits that every normalizer turns into at least one letter or digit, and that no
/// pre-tokenizer splits at. Far from all of them: those in which long texts are written.
fn is_plain(character: char) -> bool {
    match character {
        '0'..='9' | 'A'..='Z' | 'a'..='z' => true,
        '\u{c0}'..='\u{24f}' => !matches!(character, '\u{d7}' | '\u{f7}'),
        // Greek, Cyrillic, Arabic, Thai, Hiragana, Katakana, Hangul.
        '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{3c9}' | '\u{400}'..='\u{481}' => true,
        '\u{621}'..='\u{63a}' | '\u{641}'..='\u{64a}' | '\u{e01}'..='\u{e30}' => true,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{ac00}'..='\u{d7a3}' => true,
        _ => false,
    }
}

/// The characters that BERT's normalizer takes for Chinese.
pub(crate) fn is_chinese(character: char) -> bool {
    matches!(character,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b73f}' | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}'
        | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CutRules {
        let mut punctuation = [false; 128];
        punctuation['.' as usize] = true;
        CutRules { punctuation, chinese: true, longest_word: Some(10) }
    }

    fn all(text: &str, wanted: usize) -> Vec<String> {
        let rules = rules();
        let mut pieces = Pieces::new(&rules, "", text);
        std::iter::from_fn(|| next(&mut pieces, wanted)).collect()
    }

    fn next(pieces: &mut Pieces, wanted: usize) -> Option<String> {
        pieces.next(wanted, &|| false).unwrap().map(str::to_owned)
    }

    #[test]
    fn cuts_only_after_separators() {
        assert_eq!(all("ab cd.ef[gh", 1), ["ab ", "cd.", "ef[gh"]);
        assert_eq!(all("中文x", 1), ["中", "文", "x"]);
        assert_eq!(all("a\u{b}b\u{85}c", 1), ["a\u{b}b\u{85}c"]);
    }

    #[test]
    fn an_empty_text_has_no_piece() {
        assert!(all("", 1).is_empty());
    }

    #[test]
    fn long_words_and_long_spaces_are_shortened() {
        assert_eq!(all(&"a".repeat(5_000_000), 100).concat(), "a".repeat(11));
        assert_eq!(all(&" ".repeat(5_000_000), 100).concat(), " ");
    }

    #[test]
    fn prompt_and_text_run_into_each_other() {
        let rules = rules();
        let mut pieces = Pieces::new(&rules, "search_qu", "ery x");
        assert_eq!(next(&mut pieces, 1).as_deref(), Some("search_query "));
        assert_eq!(next(&mut pieces, 1).as_deref(), Some("x"));
        assert_eq!(next(&mut pieces, 1), None);
    }

    #[test]
    fn leaving_out_can_be_interrupted() {
        let (rules, text) = (rules(), "a".repeat(3 << 20));
        assert!(Pieces::new(&rules, "", &text).next(100, &|| true).is_err());
    }

    #[test]
    fn a_run_without_a_place_to_cut_is_bounded() {
        let text = "😀".repeat(LONGEST_PIECE_BYTES);
        assert!(all(&text, 1).iter().all(|piece| piece.len() <= LONGEST_PIECE_BYTES + 4));
    }
}
