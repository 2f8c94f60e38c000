//! The fields of the embedded index and how text becomes words.
//!
//! Any change here that an existing index would not follow must raise [`FORMAT`]; the index is
//! then built anew from the log.

use std::collections::BTreeMap;

use event_schemas::{Timestamp, VideoId};
use tantivy::{
    Index, TantivyDocument, Term,
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions},
    tokenizer::{
        AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter,
        TextAnalyzer,
    },
};

use crate::{Change, IndexDocument};

/// The version of the fields and of the words' making.
pub(crate) const FORMAT: u32 = 1;

/// Words as they are written, lower case, without accents.
const PLAIN: &str = "plain";
/// The same, cut to their English stem.
const ENGLISH: &str = "english";

/// Longer runs of letters are no words.
const LONGEST_WORD: usize = 64;

/// The fields of the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) version: Field,
    pub(crate) live: Field,
    pub(crate) channel_id: Field,
    pub(crate) published: Field,
    pub(crate) order: Field,
    pub(crate) title: Field,
    pub(crate) tags: Field,
    pub(crate) channel: Field,
    pub(crate) description: Field,
    pub(crate) title_en: Field,
    pub(crate) tags_en: Field,
    pub(crate) description_en: Field,
}

/// The name of the field that holds a record's version.
pub(crate) const VERSION: &str = "version";
/// The name of the field that holds the time of publication, in milliseconds.
pub(crate) const PUBLISHED: &str = "published";
/// The name of the field that decides between videos published at the same time.
pub(crate) const ORDER: &str = "order";

/// The schema and its fields.
pub(crate) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer: &str| {
        let indexing =
            TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(IndexRecordOption::WithFreqs);
        TextOptions::default().set_indexing_options(indexing)
    };
    let fields = Fields {
        id: schema.add_text_field("id", STRING | STORED),
        version: schema.add_i64_field(VERSION, FAST),
        live: schema.add_bool_field("live", INDEXED),
        channel_id: schema.add_text_field("channel_id", STRING),
        published: schema.add_i64_field(PUBLISHED, FAST),
        order: schema.add_u64_field(ORDER, FAST),
        title: schema.add_text_field("title", text(PLAIN) | STORED),
        tags: schema.add_text_field("tags", text(PLAIN) | STORED),
        channel: schema.add_text_field("channel", text(PLAIN)),
        description: schema.add_text_field("description", text(PLAIN) | STORED),
        title_en: schema.add_text_field("title_en", text(ENGLISH)),
        tags_en: schema.add_text_field("tags_en", text(ENGLISH)),
        description_en: schema.add_text_field("description_en", text(ENGLISH)),
    };
    (schema.build(), fields)
}

/// Tells `index` how the fields' text becomes words.
pub(crate) fn register(index: &Index) {
    index.tokenizers().register(PLAIN, plain());
    index.tokenizers().register(ENGLISH, english());
}

fn plain() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

fn english() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(LONGEST_WORD))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// The words of `text`, in order.
pub(crate) fn words(text: &str) -> Vec<String> {
    collect(plain(), text)
}

/// The English stem of a word from [`words`].
pub(crate) fn stem(word: &str) -> Option<String> {
    collect(english(), word).pop()
}

/// The stems of `text` with how often each occurs, without the words that every text has.
pub(crate) fn telling_stems(text: &str) -> BTreeMap<String, u32> {
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

impl Fields {
    /// The term that finds everything stored of `video`.
    pub(crate) fn id_term(&self, video: VideoId) -> Term {
        Term::from_field_text(self.id, &video.to_string())
    }

    /// What is stored for a change. A removal stays as a document without text, so that its
    /// version is remembered.
    pub(crate) fn document(&self, change: &Change) -> TantivyDocument {
        let mut stored = TantivyDocument::default();
        stored.add_text(self.id, change.video_id().to_string());
        stored.add_i64(self.version, change.version());
        stored.add_u64(self.order, change.video_id().as_uuid().as_u64_pair().1);
        let published = match change {
            Change::Upsert(document) => document.published_at,
            Change::Remove { .. } => None,
        };
        // Every document has a value: the engine can't sort by a field that a segment lacks.
        stored.add_i64(self.published, published.map_or(0, Timestamp::as_millis));
        match change {
            Change::Remove { .. } => stored.add_bool(self.live, false),
            Change::Upsert(document) => {
                stored.add_bool(self.live, true);
                self.add_text(&mut stored, document);
            }
        }
        stored
    }

    fn add_text(&self, stored: &mut TantivyDocument, document: &IndexDocument) {
        stored.add_text(self.channel_id, document.channel_id.to_string());
        stored.add_text(self.channel, &document.channel_name);
        for field in [self.title, self.title_en] {
            stored.add_text(field, &document.title);
        }
        for field in [self.description, self.description_en] {
            stored.add_text(field, &document.description);
        }
        for tag in &document.tags {
            stored.add_text(self.tags, tag);
            stored.add_text(self.tags_en, tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_without_accents_or_signs() {
        assert_eq!(words("Crème-BRÛLÉE: \"easy\" AND (fast*) 4K"), ["creme", "brulee", "easy", "and", "fast", "4k"]);
        assert_eq!(words("\u{0} -- !!"), Vec::<String>::new());
        assert_eq!(stem("cycling"), stem("cycles"));
    }

    #[test]
    fn stop_words_tell_nothing() {
        let stems = telling_stems("The cat and the cats of an island");
        assert_eq!(stems.into_iter().collect::<Vec<_>>(), [("cat".to_owned(), 2), ("island".to_owned(), 1)]);
    }
}
