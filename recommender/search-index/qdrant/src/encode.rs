//! From text to the sparse vectors that the server scores, and from a search to its query.
//!
//! The vector `lexical` of a video has a dimension for each word, each stem and each beginning of
//! a word; its value says in which field and how densely the word stands there. The server
//! multiplies by the rarity of the dimension (its IDF modifier), so that the product of a query
//! with it is close to the BM25 of the embedded index. Everything here is pure.

use std::collections::BTreeMap;

use search_index::{
    IndexDocument,
    text::{self, CHANNEL, DESCRIPTION, PREFIX, SHORTEST_PREFIX, STEM, Sample, TAGS, TIE_BREAKER, TITLE, TYPO, Wanted},
};

/// What repetition of a word in one field adds at most, and how soon.
const K1: f32 = 1.2;
/// What a mistyped word weighs if the index has the very word that was typed: next to nothing.
const TYPO_OF_A_KNOWN_WORD: f32 = 0.02;
/// The stems by which similar videos are looked for.
const MOST_STEMS: usize = 64;

/// A sparse vector: its dimensions, ascending, and their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Dimensions(BTreeMap<u32, f32>);

impl Dimensions {
    /// Where one dimension comes twice, the greater value counts.
    pub(crate) fn of(pairs: impl IntoIterator<Item = (u32, f32)>) -> Self {
        let mut dimensions = Self::default();
        for (dimension, value) in pairs {
            dimensions.put(dimension, value);
        }
        dimensions
    }

    pub(crate) fn put(&mut self, dimension: u32, value: f32) {
        let there = self.0.entry(dimension).or_insert(value);
        *there = there.max(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn split(&self) -> (Vec<u32>, Vec<f32>) {
        (self.0.keys().copied().collect(), self.0.values().copied().collect())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.keys().any(|dimension| other.0.contains_key(dimension))
    }

    #[cfg(test)]
    pub(crate) fn product(&self, other: &Self) -> f32 {
        self.0.iter().filter_map(|(dimension, value)| other.0.get(dimension).map(|other| value * other)).sum()
    }
}

/// The dimension of `text` as a thing of `kind`: `w`ord, `s`tem, `p`refix or `d` for a rest.
///
/// Of five million different things in an index, a word shares its dimension with another one in
/// about one case of a thousand: a search for it then finds strangers too.
pub(crate) fn dimension(kind: u8, text: &str) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(text.as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    u32::from_le_bytes(first)
}

/// A field's words, its weight, its usual number of words and how much another number matters.
struct Field {
    words: Vec<String>,
    stems: Vec<String>,
    weight: f32,
    usual: f32,
    b: f32,
}

fn fields(document: &IndexDocument) -> [Field; 4] {
    let field = |content: &str, weight, usual, b| Field {
        words: text::words(content),
        stems: text::stems(content),
        weight,
        usual,
        b,
    };
    [
        field(&document.title, TITLE, 8.0, 0.3),
        field(&document.tags.join(" \n "), TAGS, 6.0, 0.3),
        field(&document.channel_name, CHANNEL, 3.0, 0.3),
        field(&document.description, DESCRIPTION, 50.0, 0.75),
    ]
}

impl Field {
    /// What a word that stands here `count` times is worth.
    fn worth(&self, count: u32) -> f32 {
        let (count, length) = (count as f32, self.words.len() as f32);
        self.weight * count * (K1 + 1.0) / (count + K1 * (1.0 - self.b + self.b * length / self.usual))
    }
}

fn counted(words: &[String]) -> BTreeMap<&str, u32> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.as_str()).or_insert(0) += 1;
    }
    counts
}

/// The strongest field counts, the others a little.
#[derive(Default)]
struct Strongest {
    most: f32,
    sum: f32,
}

impl Strongest {
    fn add(&mut self, worth: f32) {
        self.most = self.most.max(worth);
        self.sum += worth;
    }

    fn value(&self) -> f32 {
        self.most + TIE_BREAKER * (self.sum - self.most)
    }
}

/// The vector `lexical` of a document.
pub(crate) fn lexical(document: &IndexDocument) -> Dimensions {
    let fields = fields(document);
    let mut worths: BTreeMap<(u8, String), Strongest> = BTreeMap::new();
    for field in &fields {
        let mut prefixes: BTreeMap<(u8, String), f32> = BTreeMap::new();
        for (word, count) in counted(&field.words) {
            worths.entry((b'w', word.to_owned())).or_default().add(field.worth(count));
            for (at, letter) in word.char_indices().skip(SHORTEST_PREFIX - 1) {
                prefixes.insert((b'p', word[..at + letter.len_utf8()].to_owned()), field.weight * PREFIX);
            }
        }
        for (stem, count) in counted(&field.stems) {
            worths.entry((b's', stem.to_owned())).or_default().add(field.worth(count) * STEM);
        }
        for (prefix, worth) in prefixes {
            worths.entry(prefix).or_default().add(worth);
        }
    }
    Dimensions::of(worths.iter().map(|((kind, text), worth)| (dimension(*kind, text), worth.value())))
}

/// The different words of a document.
pub(crate) fn words(document: &IndexDocument) -> impl Iterator<Item = String> {
    let words: std::collections::BTreeSet<String> = fields(document).into_iter().flat_map(|f| f.words).collect();
    words.into_iter()
}

/// A word of a search with the words of the index that it may mean.
#[derive(Debug, Clone)]
pub(crate) struct Spelled {
    pub(crate) wanted: Wanted,
    /// Whether the index has the word as it was typed.
    pub(crate) known: bool,
    pub(crate) meant: Vec<String>,
}

/// The query vector of a search.
pub(crate) fn query(words: &[Spelled]) -> Dimensions {
    let mut query = Dimensions::default();
    for Spelled { wanted, known, meant } in words {
        // A word that fits as typed fits by its stem too: together they are worth what the
        // stronger is, and a little of the weaker.
        query.put(dimension(b'w', &wanted.word), 1.0 - STEM * (1.0 - TIE_BREAKER));
        query.put(dimension(b's', &wanted.stem), 1.0);
        if wanted.unfinished {
            query.put(dimension(b'p', &wanted.word), 1.0);
        }
        let weight = if *known { TYPO_OF_A_KNOWN_WORD } else { TYPO };
        for word in meant {
            query.put(dimension(b'w', word), weight);
        }
    }
    query
}

/// The query vector for what is like `sample`.
pub(crate) fn like(sample: &Sample) -> Dimensions {
    let mut stems: Vec<(String, f32)> = sample.stems().into_iter().collect();
    stems.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    stems.truncate(MOST_STEMS);
    Dimensions::of(stems.into_iter().map(|(stem, weight)| (dimension(b's', &stem), weight)))
}

#[cfg(test)]
mod tests {
    use search_index::conformance::document;

    use super::*;

    fn spelled(text: &str) -> Vec<Spelled> {
        text::wanted(text).into_iter().map(|wanted| Spelled { wanted, known: true, meant: Vec::new() }).collect()
    }

    fn score(text: &str, document: &IndexDocument) -> f32 {
        query(&spelled(text)).product(&lexical(document))
    }

    #[test]
    fn the_same_text_has_the_same_dimensions_in_every_version() {
        assert_eq!(dimension(b'w', "bunny"), dimension(b'w', "bunny"));
        assert_ne!(dimension(b'w', "bunny"), dimension(b's', "bunny"));
        assert_eq!(dimension(b'w', "volcano"), GOLDEN);
    }

    /// Stored in every collection: another value would need another format.
    const GOLDEN: u32 = 1_268_505_250;

    #[test]
    fn fields_weigh_and_repetition_saturates() {
        let title = document("volcano");
        let tag = IndexDocument { tags: vec!["volcano".into()], ..document("other") };
        let channel = IndexDocument { channel_name: "volcano".into(), ..document("other") };
        let description = IndexDocument { description: "volcano".into(), ..document("other") };
        let scores = [&title, &tag, &channel, &description].map(|document| score("volcano", document));
        assert!(scores.is_sorted_by(|a, b| a > b) && scores[3] > 0.0, "{scores:?}");
        let often = IndexDocument { description: "volcano ".repeat(50), ..document("other") };
        assert!(score("volcano", &often) > scores[3] && score("volcano", &often) < scores[0]);
        assert!(score("volcanoes", &title) > 0.0 && score("volcanoes", &title) < scores[0], "by its stem");
        assert!(score("volc", &title) > 0.0 && score("volc ", &title) == 0.0, "unfinished, and finished");
        assert_eq!(score("other", &title), 0.0);
    }

    #[test]
    fn a_meant_word_weighs_less_than_the_typed_one_if_that_is_known() {
        let document = document("volcano");
        let mean = |known| {
            let wanted = text::wanted("volcani").remove(0);
            query(&[Spelled { wanted, known, meant: vec!["volcano".into()] }]).product(&lexical(&document))
        };
        assert!(mean(true) > 0.0 && mean(true) < mean(false) && mean(false) < score("volcano", &document));
    }

    #[test]
    fn a_sample_is_its_telling_stems() {
        let sample = Sample { title: "The bakers of bread".into(), ..Sample::default() };
        assert_eq!(like(&sample).len(), 2);
        assert!(like(&sample).product(&lexical(&document("baker"))) > 0.0);
        assert_eq!(like(&sample).product(&lexical(&document("the of"))), 0.0);
    }
}
