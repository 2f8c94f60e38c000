//! Offset vectors as the scripts read them: `partition:next` joined by spaces.

use event_schemas::{Offset, OffsetVector, Partition};

/// The text of `offsets`.
pub(crate) fn to_text(offsets: &OffsetVector) -> String {
    let parts: Vec<String> = offsets.0.iter().map(|(partition, next)| format!("{partition}:{next}")).collect();
    parts.join(" ")
}

/// The vector of `text`; none if this program did not write it.
pub(crate) fn from_text(text: &str) -> Option<OffsetVector> {
    let parts = text.split(' ').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (partition, next) = part.split_once(':')?;
        Some((Partition(partition.parse().ok()?), Offset(next.parse().ok()?)))
    });
    pairs.collect::<Option<_>>().map(OffsetVector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for pairs in [&[][..], &[(0, 0)], &[(0, 7), (12, u64::MAX), (u32::MAX, 1)]] {
            let vector = OffsetVector(pairs.iter().map(|(p, n)| (Partition(*p), Offset(*n))).collect());
            assert_eq!(from_text(&to_text(&vector)), Some(vector));
        }
        for foreign in ["x", "1", "1:x", "1:2,3:4", "4294967296:0"] {
            assert_eq!(from_text(foreign), None, "{foreign}");
        }
    }
}
