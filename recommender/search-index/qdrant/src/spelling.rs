//! Finding the words of the index that a mistyped word may mean.
//!
//! Every word of the index is a point of its own with a sparse vector: a dimension for each way
//! to leave out as many of its letters as may be wrong. Two words that differ by so many letters
//! have such a rest in common, so the words that share dimensions with a mistyped one are looked
//! up and then compared letter by letter.

use std::collections::BTreeSet;

use search_index::text::{Wanted, typos};

use crate::encode::{Dimensions, dimension};

/// The shortest word that a mistyped one of four letters can mean.
const SHORTEST: usize = 3;
/// The longest word that is looked up with its letters wrong: its rests grow by the square.
const LONGEST: usize = 32;

/// Whether `word` can be meant by a mistyped one.
pub(crate) fn can_be_meant(word: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&word.chars().count()) && !word.chars().any(char::is_numeric)
}

/// The dimensions under which a word of the index is looked up.
pub(crate) fn rests(word: &str) -> Dimensions {
    let mut rests = BTreeSet::from([word.to_owned()]);
    let mut last = rests.clone();
    for _ in 0..typos(word) {
        last = last.iter().flat_map(|word| shorter(word)).collect();
        rests.extend(last.iter().cloned());
    }
    Dimensions::of(rests.iter().map(|rest| (dimension(b'd', rest), 1.0)))
}

fn shorter(word: &str) -> impl Iterator<Item = String> {
    word.char_indices().map(|(at, letter)| format!("{}{}", &word[..at], &word[at + letter.len_utf8()..]))
}

/// Whether `found` may be what was meant, and is not the word itself.
pub(crate) fn is_meant(wanted: &Wanted, found: &str) -> bool {
    found != wanted.word && strsim::osa_distance(&wanted.word, found) <= usize::from(wanted.typos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use search_index::text;

    use super::*;

    #[test]
    fn the_rests_of_a_word_are_few() {
        assert_eq!(rests("cat").len(), 1);
        assert_eq!(rests("bunny").len(), 5, "the word, and four rests: one of the twins");
        assert_eq!(rests("mountain").len(), 1 + 8 + 28);
    }

    #[test]
    fn only_as_many_letters_as_may_be_wrong() {
        let wanted = |word: &str| text::wanted(word).remove(0);
        for (word, found, meant) in [
            ("bukc", "buck", true),
            ("buny", "bunny", true),
            ("moumtaim", "mountain", true),
            ("brul", "brulee", false),
            ("cat", "car", false),
            ("2024", "2023", false),
            ("bunny", "bunny", false),
        ] {
            assert_eq!(is_meant(&wanted(word), found), meant, "{word} {found}");
        }
    }

    proptest! {
        /// Whatever is close enough shares a rest, by whatever mistakes it came to be.
        #[test]
        fn what_may_be_meant_is_looked_up(
            word in "[a-d]{3,10}",
            mistakes in proptest::collection::vec((0..4_u8, 0..12_usize, proptest::char::range('a', 'd')), 0..3),
        ) {
            let mut letters: Vec<char> = word.chars().collect();
            for (kind, at, letter) in mistakes {
                let at = at % letters.len().max(1);
                match kind {
                    0 => letters.insert(at, letter),
                    1 if letters.len() > 1 => drop(letters.remove(at)),
                    2 if at + 1 < letters.len() => letters.swap(at, at + 1),
                    _ => letters[at] = letter,
                }
            }
            let typed: String = letters.into_iter().collect();
            let wanted = text::wanted(&typed).remove(0);
            if is_meant(&wanted, &word) && can_be_meant(&word) {
                prop_assert!(rests(&typed).overlaps(&rests(&word)), "{typed} for {word}");
            }
        }
    }
}
