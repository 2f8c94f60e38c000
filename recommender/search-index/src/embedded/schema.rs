//! The fields of the embedded index.
//!
//! Any change here or in [`crate::text`] that an existing index would not follow must raise
//! [`FORMAT`]; the index is then built anew.

use event_schemas::{ChannelId, Millis, Timestamp, VideoId};
use tantivy::{
    Index, TantivyDocument, Term,
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value},
};
use uuid::Uuid;

use super::vectors;
use crate::{Change, DenseSpace, Facts, IndexDocument, Precedence, text, tie_order};

/// The version of the fields and of the words' making.
pub(super) const FORMAT: u32 = 2;

const PLAIN: &str = "plain";
const ENGLISH: &str = "english";

/// The fields of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) id: Field,
    high: Field,
    order: Field,
    version: Field,
    vectors: Field,
    published: Field,
    pub(super) live: Field,
    pub(super) channel_id: Field,
    pub(super) language: Field,
    pub(super) published_at: Field,
    pub(super) duration: Field,
    values: Field,
    pub(super) title: Field,
    pub(super) tags: Field,
    pub(super) channel: Field,
    pub(super) description: Field,
    pub(super) title_en: Field,
    pub(super) tags_en: Field,
    pub(super) channel_en: Field,
    pub(super) description_en: Field,
}

/// The name of the field with the upper half of a video's id.
pub(super) const HIGH: &str = "high";
/// The name of the field with its lower half, which decides between videos published at one time.
pub(super) const ORDER: &str = "order";
/// The name of the field that holds a record's version.
pub(super) const VERSION: &str = "version";
/// The name of the field that holds the number of vectors; see [`Precedence`].
pub(super) const VECTORS: &str = "vectors";
/// The name of the field that holds the time of publication in milliseconds, 0 if unknown.
pub(super) const PUBLISHED: &str = "published";

/// The schema and its fields.
pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer: &str| {
        let indexing =
            TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(IndexRecordOption::WithFreqs);
        TextOptions::default().set_indexing_options(indexing)
    };
    let fields = Fields {
        id: schema.add_text_field("id", STRING),
        high: schema.add_u64_field(HIGH, FAST),
        order: schema.add_u64_field(ORDER, FAST),
        version: schema.add_i64_field(VERSION, FAST),
        vectors: schema.add_i64_field(VECTORS, FAST),
        published: schema.add_i64_field(PUBLISHED, FAST),
        live: schema.add_bool_field("live", INDEXED),
        channel_id: schema.add_text_field("channel_id", STRING | STORED),
        language: schema.add_text_field("language", STRING | STORED),
        published_at: schema.add_i64_field("published_at", FAST | STORED),
        duration: schema.add_i64_field("duration", FAST | STORED),
        values: schema.add_bytes_field("values", STORED),
        title: schema.add_text_field("title", text(PLAIN) | STORED),
        tags: schema.add_text_field("tags", text(PLAIN) | STORED),
        channel: schema.add_text_field("channel", text(PLAIN)),
        description: schema.add_text_field("description", text(PLAIN) | STORED),
        title_en: schema.add_text_field("title_en", text(ENGLISH)),
        tags_en: schema.add_text_field("tags_en", text(ENGLISH)),
        channel_en: schema.add_text_field("channel_en", text(ENGLISH)),
        description_en: schema.add_text_field("description_en", text(ENGLISH)),
    };
    (schema.build(), fields)
}

/// Tells `index` how the fields' text becomes words.
pub(super) fn register(index: &Index) {
    index.tokenizers().register(PLAIN, text::plain());
    index.tokenizers().register(ENGLISH, text::english());
}

/// What of a document a filter looks at.
pub(super) fn facts(document: &IndexDocument) -> Facts {
    Facts {
        channel: document.channel_id,
        language: document.language,
        published_at: document.published_at,
        duration: document.duration,
    }
}

impl Fields {
    /// The term that finds everything stored of `video`.
    pub(super) fn id_term(&self, video: VideoId) -> Term {
        Term::from_field_text(self.id, &video.to_string())
    }

    /// What is stored for a change in an index of `spaces`. A removal stays as a document without
    /// text, so that its version is remembered.
    pub(super) fn document(&self, change: &Change, precedence: Precedence, spaces: &[DenseSpace]) -> TantivyDocument {
        let mut stored = TantivyDocument::default();
        let video = change.video_id();
        stored.add_text(self.id, video.to_string());
        let published_at = match change {
            Change::Upsert(document) => document.published_at,
            Change::Remove { .. } => None,
        };
        // Every document has these: the engine can't sort by a field that a segment lacks.
        let (published, order) = tie_order(video, published_at);
        stored.add_u64(self.high, video.as_uuid().as_u64_pair().0);
        stored.add_u64(self.order, order);
        stored.add_i64(self.published, published);
        stored.add_i64(self.version, precedence.version);
        stored.add_i64(self.vectors, precedence.vectors);
        match change {
            Change::Remove { .. } => stored.add_bool(self.live, false),
            Change::Upsert(document) => {
                stored.add_bool(self.live, true);
                self.add_facts(&mut stored, &facts(document));
                self.add_text(&mut stored, document);
                if precedence.vectors > 0 {
                    stored.add_bytes(self.values, &vectors::encode(&document.vectors, spaces));
                }
            }
        }
        stored
    }

    fn add_facts(&self, stored: &mut TantivyDocument, facts: &Facts) {
        stored.add_text(self.channel_id, facts.channel.to_string());
        if let Some(language) = facts.language {
            stored.add_text(self.language, language.to_string());
        }
        if let Some(published_at) = facts.published_at {
            stored.add_i64(self.published_at, published_at.as_millis());
        }
        if let Some(duration) = facts.duration {
            stored.add_i64(self.duration, duration.0);
        }
    }

    fn add_text(&self, stored: &mut TantivyDocument, document: &IndexDocument) {
        for field in [self.channel, self.channel_en] {
            stored.add_text(field, &document.channel_name);
        }
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

    /// The facts of a stored document; none if it is not one of this schema.
    pub(super) fn facts_of(&self, stored: &TantivyDocument) -> Option<Facts> {
        let text = |field| stored.get_first(field).and_then(|value| value.as_str());
        let number = |field| stored.get_first(field).and_then(|value| value.as_i64());
        Some(Facts {
            channel: ChannelId::from_uuid(text(self.channel_id)?.parse::<Uuid>().ok()?),
            language: text(self.language).and_then(|tag| tag.parse().ok()),
            published_at: number(self.published_at).map(Timestamp::from_millis),
            duration: number(self.duration).map(Millis),
        })
    }

    /// The encoded vectors of a stored document.
    pub(super) fn values_of<'a>(&self, stored: &'a TantivyDocument) -> Option<&'a [u8]> {
        stored.get_first(self.values).and_then(|value| value.as_bytes())
    }

    /// The text of a stored document.
    pub(super) fn sample_of(&self, stored: &TantivyDocument) -> text::Sample {
        let text = |field| {
            let values: Vec<&str> = stored.get_all(field).filter_map(|value| value.as_str()).collect();
            values.join(" ")
        };
        text::Sample { title: text(self.title), tags: text(self.tags), description: text(self.description) }
    }
}
