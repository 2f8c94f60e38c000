//! How text becomes words, what each field weighs, and how much a search forgives. Every back end
//! goes by this, so that the same text finds the same videos.

use std::collections::{BTreeMap, HashSet};

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

/// Longer runs of letters are no words; in bytes.
pub const LONGEST_WORD: usize = 64;
/// Words of a search that count; people type fewer.
pub const MOST_WORDS: usize = 32;
/// Words of a search that may be mistyped: each costs a walk through the dictionary.
pub const MOST_FUZZY: usize = 12;
/// The fewest letters of an unfinished word.
pub const SHORTEST_PREFIX: usize = 2;
/// The weight of a word in the title.
pub const TITLE: f32 = 4.0;
/// The weight of a word in a tag.
pub const TAGS: f32 = 3.0;
/// The weight of a word in the channel's name.
pub const CHANNEL: f32 = 2.0;
/// The weight of a word in the description.
pub const DESCRIPTION: f32 = 1.0;
/// What the same stem weighs against the same word.
pub const STEM: f32 = 0.8;
/// What an unfinished word weighs against a finished one.
pub const PREFIX: f32 = 0.3;
/// What a mistyped word weighs against a right one.
pub const TYPO: f32 = 0.15;
/// What the weaker matches of one word add to its strongest.
pub const TIE_BREAKER: f32 = 0.1;

/// Words as they are written, lower case, without accents.
pub(crate) fn plain() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// The same, cut to their English stem.
pub(crate) fn english() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// The words of `text`, in order.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    collect(plain(), text)
}

/// The stems of the words of `text`, in order.
#[must_use]
pub fn stems(text: &str) -> Vec<String> {
    collect(english(), text)
}

/// The stems of `text` with how often each occurs, without the words that every text has.
#[must_use]
pub fn telling_stems(text: &str) -> BTreeMap<String, u32> {
    let base = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter);
    let analyzer = match StopWordFilter::new(Language::English) {
        Some(stop) => base.filter(stop).filter(Stemmer::new(Language::English)).build(),
        None => base.filter(Stemmer::new(Language::English)).build(),
    };
    let mut counts = BTreeMap::new();
    for stem in collect(analyzer, text) {
        *counts.entry(stem).or_insert(0) += 1;
    }
    counts
}

fn collect(mut analyzer: TextAnalyzer, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    analyzer.token_stream(text).process(&mut |token| words.push(token.text.clone()));
    words
}

/// A word that is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The word.
    pub word: String,
    /// Its stem.
    pub stem: String,
    /// Whether longer words that begin with it fit too.
    pub unfinished: bool,
    /// How many of its letters may be wrong.
    pub typos: u8,
}

/// The words that `text` searches for, each once.
#[must_use]
pub fn wanted(text: &str) -> Vec<Wanted> {
    let words = words(text);
    let open = text.chars().next_back().is_some_and(char::is_alphanumeric);
    let last = if open { words.last().cloned() } else { None };
    let mut seen = HashSet::new();
    let once = words.into_iter().filter(|word| seen.insert(word.clone())).take(MOST_WORDS);
    once.enumerate()
        .map(|(n, word)| {
            let stem = stems(&word).pop().unwrap_or_else(|| word.clone());
            let unfinished = last.as_ref() == Some(&word) && word.chars().count() >= SHORTEST_PREFIX;
            let typos = if n < MOST_FUZZY { typos(&word) } else { 0 };
            Wanted { word, stem, unfinished, typos }
        })
        .collect()
}

/// How many letters of `word` may be wrong. Another number is another number.
#[must_use]
pub fn typos(word: &str) -> u8 {
    if word.chars().any(char::is_numeric) {
        return 0;
    }
    match word.chars().count() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    }
}

/// Text to find the like of, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// The title.
    pub title: String,
    /// The tags, as one text.
    pub tags: String,
    /// The description.
    pub description: String,
}

impl Sample {
    /// The telling stems of the sample and how much each says about it.
    #[must_use]
    pub fn stems(&self) -> BTreeMap<String, f32> {
        let mut weights = BTreeMap::new();
        for (text, weight) in [(&self.title, 3.0), (&self.tags, 2.0), (&self.description, 1.0)] {
            for (stem, count) in telling_stems(text) {
                *weights.entry(stem).or_default() += weight * (count as f32).sqrt();
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_without_accents_or_signs() {
        assert_eq!(words("Crème-BRÛLÉE: \"easy\" AND (fast*) 4K"), ["creme", "brulee", "easy", "and", "fast", "4k"]);
        assert_eq!(words("\u{0} -- !!"), Vec::<String>::new());
        assert_eq!(stems("cycling"), stems("cycles"));
    }

    #[test]
    fn stop_words_tell_nothing() {
        let stems = telling_stems("The cat and the cats of an island");
        assert_eq!(stems.into_iter().collect::<Vec<_>>(), [("cat".to_owned(), 2), ("island".to_owned(), 1)]);
    }

    #[test]
    fn long_words_forgive_more_and_numbers_nothing() {
        for (word, distance) in [("cat", 0), ("bike", 1), ("bicycle", 1), ("mountain", 2), ("2024", 0), ("1080p", 0)] {
            assert_eq!(typos(word), distance, "{word}");
        }
    }

    #[test]
    fn each_word_is_wanted_once_and_the_last_may_be_unfinished() {
        let told = |text: &str| wanted(text).into_iter().map(|w| (w.word, w.unfinished, w.typos)).collect::<Vec<_>>();
        let word = |word: &str, unfinished, typos| (word.to_owned(), unfinished, typos);
        assert_eq!(told("Big big bunny"), [word("big", false, 0), word("bunny", true, 1)]);
        assert_eq!(told("bunny big bunny"), [word("bunny", true, 1), word("big", false, 0)]);
        assert_eq!(told("bunny!"), [word("bunny", false, 1)]);
        assert_eq!(told("b"), [word("b", false, 0)]);
        assert_eq!(told("\"*:*"), []);
        let many: String = (0..100).map(|n| format!("word{n} ")).collect();
        assert_eq!(wanted(&many).len(), MOST_WORDS);
    }
}
