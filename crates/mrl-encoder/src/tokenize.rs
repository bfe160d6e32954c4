//! `tokenizer.json` and what it makes of a text.
//!
//! Depends on [`crate::pieces`] and the tokenizers library. Only BERT's kind of tokenizer is accepted
//! (BERT normalizer and pre-tokenizer, WordPiece, `[CLS]` text `[SEP]`): for that kind a long text
//! can be tokenized in pieces. It is put together here from the file's values, so the file's
//! own truncation and padding (MiniLM's cuts at 128 and pads to 128) never apply.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, TokenizerImpl};

use crate::directory::{ModelDirectory, ModelName, TOKENIZER_FILE, corrupt_file, unsupported};
use crate::error::{EncoderError, Poll, Result, check};
use crate::pieces::{CutRules, Pieces, is_chinese};

const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
const MAX_ADDED_TOKENS: usize = 1_024;
const MAX_WORD_CHARACTERS: usize = 1_000;
/// `[CLS]` and `[SEP]`.
pub(crate) const SPECIAL_TOKENS: usize = 2;
/// The first piece suits a query or a paragraph; a longer text is taken in larger ones, up to some
/// 20 ms of work each.
const FIRST_PIECE_BYTES: usize = 4 * 1024;
const LAST_PIECE_BYTES: usize = 64 * 1024;

/// The tokens of one text, ready for the transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    truncated: bool,
}

impl Tokens {
    pub(crate) fn new(ids: Vec<u32>, truncated: bool) -> Self {
        Self { ids, truncated }
    }

    /// The token ids, the special ones at both ends included.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How many tokens there are, the special ones included.
    #[allow(clippy::len_without_is_empty, reason = "two special tokens are always there")]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the text had more tokens than the limit.
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

type BertTokenizer = TokenizerImpl<
    WordPiece,
    BertNormalizer,
    BertPreTokenizer,
    // No post-processor and no decoder: the special tokens are added below, nothing is decoded.
    BertProcessing,
    WordPieceDecoder,
>;

/// A model's tokenizer.
pub(crate) struct TextTokenizer {
    inner: BertTokenizer,
    first: u32,
    last: u32,
    rules: CutRules,
    greatest_id: u32,
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedTokenEntry>,
    normalizer: BertNormalizerEntry,
    pre_tokenizer: TypeOnly,
    post_processor: Value,
    model: Value,
}

#[derive(Deserialize)]
struct AddedTokenEntry {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct TypeOnly {
    r#type: String,
}

#[derive(Deserialize)]
struct BertNormalizerEntry {
    r#type: String,
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct WordPieceEntry {
    r#type: Option<String>,
    unk_token: String,
    max_input_chars_per_word: usize,
    vocab: HashMap<String, u32>,
}

impl TextTokenizer {
    /// Reads and checks a model's tokenizer.
    pub fn load(directory: &ModelDirectory, name: &ModelName, poll: Poll) -> Result<Self> {
        let content = directory.read(name, TOKENIZER_FILE, MAX_TOKENIZER_BYTES)?;
        check(poll)?;
        let corrupt = |reason: String| corrupt_file(name, TOKENIZER_FILE, reason);
        let refuse = |reason: String| Err(unsupported(name, TOKENIZER_FILE, reason));
        let file: TokenizerFile =
            serde_json::from_slice(&content).map_err(|error| corrupt(error.to_string()))?;
        check(poll)?;

        if file.normalizer.r#type != "BertNormalizer" {
            return refuse(format!("normalizer \"{}\"", file.normalizer.r#type));
        }
        if file.pre_tokenizer.r#type != "BertPreTokenizer" {
            return refuse(format!("pre-tokenizer \"{}\"", file.pre_tokenizer.r#type));
        }
        let words = WordPieceEntry::deserialize(&file.model)
            .map_err(|error| corrupt(format!("model: {error}")))?;
        if words.r#type.as_deref().is_some_and(|kind| kind != "WordPiece") {
            return refuse("a model other than WordPiece".into());
        }
        if !(1..=MAX_WORD_CHARACTERS).contains(&words.max_input_chars_per_word) {
            return Err(corrupt(format!(
                "max_input_chars_per_word {} is not between 1 and {MAX_WORD_CHARACTERS}",
                words.max_input_chars_per_word
            )));
        }
        if !words.vocab.contains_key(&words.unk_token) {
            return Err(corrupt(format!("its vocabulary lacks \"{}\"", words.unk_token)));
        }
        let (first, last) = special_tokens(&file.post_processor, &words.vocab).map_err(corrupt)?;
        check_added_tokens(name, &file.added_tokens, &words.vocab)?;
        let rules = cut_rules(&file, words.max_input_chars_per_word);
        let greatest_id = words.vocab.values().copied().max().unwrap_or_default();

        check(poll)?;
        // By way of its text: the library reads some values only from there.
        let model: WordPiece = serde_json::from_str(&file.model.to_string())
            .map_err(|error| corrupt(format!("model: {error}")))?;
        let mut inner = BertTokenizer::new(model);
        inner
            .with_normalizer(Some(BertNormalizer::new(
                file.normalizer.clean_text,
                file.normalizer.handle_chinese_chars,
                file.normalizer.strip_accents,
                file.normalizer.lowercase,
            )))
            .map_err(|error| corrupt(error.to_string()))?
            .with_pre_tokenizer(Some(BertPreTokenizer));
        let added = file.added_tokens.iter().map(|entry| {
            AddedToken::from(entry.content.clone(), entry.special).normalized(entry.normalized)
        });
        // Special or not, they are found the same way; the difference is in decoding.
        inner.add_tokens(added).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { inner, first, last, rules, greatest_id })
    }

    /// The greatest id that a text can give.
    pub fn greatest_id(&self) -> u32 {
        self.greatest_id
    }

    /// The tokens of prompt and text: at most `limit`, the first and the last being special.
    pub fn tokenize(&self, prompt: &str, text: &str, limit: usize, poll: Poll) -> Result<Tokens> {
        let room = limit.saturating_sub(SPECIAL_TOKENS);
        let mut ids = vec![self.first];
        let mut truncated = false;
        self.for_each_piece(prompt, text, poll, |piece| {
            ids.extend_from_slice(piece);
            truncated = ids.len() > room + 1;
            !truncated
        })?;
        ids.truncate(room + 1);
        ids.push(self.last);
        Ok(Tokens { ids, truncated })
    }

    /// How many tokens prompt and text have, the special ones included, without any limit.
    pub fn count(&self, prompt: &str, text: &str, poll: Poll) -> Result<usize> {
        let mut count = SPECIAL_TOKENS;
        self.for_each_piece(prompt, text, poll, |piece| {
            count += piece.len();
            true
        })?;
        Ok(count)
    }

    /// Hands the ids of piece after piece to `take`, until that one has enough.
    fn for_each_piece(
        &self,
        prompt: &str,
        text: &str,
        poll: Poll,
        mut take: impl FnMut(&[u32]) -> bool,
    ) -> Result<()> {
        let mut pieces = Pieces::new(&self.rules, prompt, text);
        let mut wanted = FIRST_PIECE_BYTES;
        while let Some(piece) = pieces.next(wanted, poll)? {
            check(poll)?;
            let encoding = self
                .inner
                .encode_fast(piece, false)
                .map_err(|error| EncoderError::Backend(error.to_string()))?;
            if !take(encoding.get_ids()) {
                break;
            }
            wanted = (wanted * 2).min(LAST_PIECE_BYTES);
        }
        Ok(())
    }
}

/// The ids of the tokens before and after a text. Both forms in which files say so are read.
fn special_tokens(
    processor: &Value,
    vocabulary: &HashMap<String, u32>,
) -> std::result::Result<(u32, u32), String> {
    let name = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (first, last) = match processor.get("type").and_then(Value::as_str) {
        Some("TemplateProcessing") => match processor.get("single").and_then(Value::as_array) {
            Some(template) => match template.as_slice() {
                [first, text, last] if text.get("Sequence").is_some() => (
                    name(first.pointer("/SpecialToken/id")),
                    name(last.pointer("/SpecialToken/id")),
                ),
                _ => return Err("its template is not special token, text, special token".into()),
            },
            None => return Err("its post-processor has no template".into()),
        },
        Some("BertProcessing") => {
            (name(processor.pointer("/cls/0")), name(processor.pointer("/sep/0")))
        }
        _ => return Err("its post-processor is neither a template nor BERT's".into()),
    };
    let id = |token: Option<String>| {
        let token = token.ok_or("its post-processor names no special token")?;
        let id = vocabulary.get(&token).copied();
        id.ok_or_else(|| format!("its vocabulary lacks the special token \"{token}\""))
    };
    Ok((id(first)?, id(last)?))
}

fn check_added_tokens(
    name: &ModelName,
    added: &[AddedTokenEntry],
    vocabulary: &HashMap<String, u32>,
) -> Result<()> {
    if added.len() > MAX_ADDED_TOKENS {
        let reason = format!("it adds more than {MAX_ADDED_TOKENS} tokens");
        return Err(corrupt_file(name, TOKENIZER_FILE, reason));
    }
    for token in added {
        // With an id of its own a token would be numbered anew by the library.
        if vocabulary.get(&token.content) != Some(&token.id) {
            let reason = format!("added token \"{}\" has another id", token.content);
            return Err(corrupt_file(name, TOKENIZER_FILE, reason));
        }
        // Else a cut between two pieces could hide it, or show one that is not there.
        let separable = |character: char| character.is_whitespace() || is_chinese(character);
        if token.single_word || token.content.is_empty() || token.content.contains(separable) {
            let reason = format!("added token \"{}\"", token.content);
            return Err(unsupported(name, TOKENIZER_FILE, reason));
        }
    }
    Ok(())
}

fn cut_rules(file: &TokenizerFile, longest_word: usize) -> CutRules {
    let mut punctuation = [false; 128];
    for (code, allowed) in punctuation.iter_mut().enumerate() {
        *allowed = (code as u8).is_ascii_punctuation();
    }
    let contents = || file.added_tokens.iter().map(|token| token.content.as_str());
    for character in contents().flat_map(str::chars).filter(char::is_ascii) {
        punctuation[character as usize] = false;
    }
    // A token that begins or ends with punctuation can't lie within a run of letters, so letters
    // may be left out of a run without hiding one.
    let bracketed = contents().all(|content| {
        let is_punctuation = |character: char| character.is_ascii_punctuation();
        content.starts_with(is_punctuation) && content.ends_with(is_punctuation)
    });
    CutRules {
        punctuation,
        chinese: file.normalizer.handle_chinese_chars,
        longest_word: bracketed.then_some(longest_word),
    }
}
