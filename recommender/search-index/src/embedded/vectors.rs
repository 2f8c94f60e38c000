//! The vectors of the embedded index in memory, compared one by one.
//!
//! They are stored with the documents, in one commit with the text; what is here is read from
//! there when the index opens and follows each commit.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

use event_schemas::VideoId;

use crate::{DenseSpace, DenseVector, Facts, Filter, tie_order};

/// The bytes in which the vectors of a document are stored: for each, the place of its space in
/// `spaces` and its values.
pub(super) fn encode(vectors: &[DenseVector], spaces: &[DenseSpace]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for vector in vectors {
        if let Some(place) = spaces.iter().position(|space| space == &**vector.space()) {
            bytes.extend((place as u32).to_le_bytes());
            bytes.extend(vector.values().iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    bytes
}

/// The inverse of [`encode`]: places of spaces with their values; none if the bytes are damaged.
pub(super) fn decode(mut bytes: &[u8], spaces: &[DenseSpace]) -> Option<Vec<(usize, Vec<f32>)>> {
    let mut vectors = Vec::new();
    while let Some((place, rest)) = bytes.split_first_chunk::<4>() {
        let place = u32::from_le_bytes(*place) as usize;
        let (values, rest) = rest.split_at_checked(spaces.get(place)?.dimensions() * 4)?;
        let values = values.chunks_exact(4).filter_map(|four| four.try_into().ok().map(f32::from_le_bytes));
        vectors.push((place, values.collect()));
        bytes = rest;
    }
    bytes.is_empty().then_some(vectors)
}

/// The vectors of every space.
#[derive(Debug, Default)]
pub(super) struct Tables(Vec<Table>);

impl Tables {
    pub(super) fn new(spaces: &[DenseSpace]) -> Self {
        Self(spaces.iter().map(|space| Table::new(space.dimensions())).collect())
    }

    pub(super) fn remove(&mut self, video: VideoId) {
        for table in &mut self.0 {
            table.remove(video);
        }
    }

    /// Puts in the vector of the space at `place`; the video must not have one there.
    pub(super) fn insert(&mut self, place: usize, video: VideoId, facts: Facts, values: &[f32]) {
        if let Some(table) = self.0.get_mut(place) {
            table.insert(video, facts, values);
        }
    }

    /// The closest videos that meet `filter`, the closest first, with their cosine.
    pub(super) fn nearest(&self, place: usize, wanted: &[f32], filter: &Filter, limit: usize) -> Vec<Near> {
        self.0.get(place).map_or_else(Vec::new, |table| table.nearest(wanted, filter, limit))
    }
}

/// A video that is close.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) cosine: f32,
    pub(super) tie: (i64, u64),
    pub(super) video: VideoId,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.cosine.total_cmp(&other.cosine).then(self.tie.cmp(&other.tie)).then(self.video.cmp(&other.video))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Table {
    dimensions: usize,
    videos: Vec<(VideoId, Facts)>,
    values: Vec<f32>,
    places: HashMap<VideoId, usize>,
}

impl Table {
    fn new(dimensions: usize) -> Self {
        Self { dimensions, videos: Vec::new(), values: Vec::new(), places: HashMap::new() }
    }

    fn insert(&mut self, video: VideoId, facts: Facts, values: &[f32]) {
        self.places.insert(video, self.videos.len());
        self.videos.push((video, facts));
        self.values.extend_from_slice(values);
    }

    /// The last one takes the place of the one that goes.
    fn remove(&mut self, video: VideoId) {
        let Some(place) = self.places.remove(&video) else { return };
        let last = self.videos.len() - 1;
        self.videos.swap_remove(place);
        if let Some((moved, _)) = self.videos.get(place) {
            self.places.insert(*moved, place);
            self.values.copy_within(last * self.dimensions.., place * self.dimensions);
        }
        self.values.truncate(last * self.dimensions);
    }

    fn nearest(&self, wanted: &[f32], filter: &Filter, limit: usize) -> Vec<Near> {
        let mut best: BinaryHeap<Reverse<Near>> = BinaryHeap::with_capacity(limit + 1);
        for ((video, facts), values) in self.videos.iter().zip(self.values.chunks_exact(self.dimensions)) {
            if !filter.admits(facts) {
                continue;
            }
            // A sum of -0 becomes 0, which it equals but is not ordered like.
            let near =
                Near { cosine: dot(wanted, values) + 0.0, tie: tie_order(*video, facts.published_at), video: *video };
            if best.len() < limit {
                best.push(Reverse(near));
            } else if let Some(mut last) = best.peek_mut()
                && last.0 < near
            {
                *last = Reverse(near);
            }
        }
        let mut nearest: Vec<Near> = best.into_iter().map(|Reverse(near)| near).collect();
        nearest.sort_by(|a, b| b.cmp(a));
        nearest
    }
}

/// Sixteen sums at a time, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use event_schemas::{ChannelId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn facts(millis: i64) -> Facts {
        let published_at = Some(Timestamp::from_millis(millis));
        Facts { channel: ChannelId::generate(), language: None, published_at, duration: None }
    }

    #[test]
    fn what_is_stored_reads_back() {
        let space = |name: &str, dimensions| DenseSpace::new(name, "m", dimensions).unwrap();
        let spaces = [space("a", 2), space("b", 3)];
        let vector =
            |space: &DenseSpace| DenseVector::new(&Arc::new(space.clone()), vec![1.0; space.dimensions()]).unwrap();
        let vectors = [vector(&spaces[1]), vector(&space("c", 2)), vector(&spaces[0])];
        let bytes = encode(&vectors, &spaces);
        let back = decode(&bytes, &spaces).unwrap();
        assert_eq!(back, [(1, vectors[0].values().to_vec()), (0, vectors[2].values().to_vec())]);
        for bad in [&bytes[1..], &bytes[..bytes.len() - 1], &[9, 0, 0, 0]] {
            assert_eq!(decode(bad, &spaces), None);
        }
    }

    #[test]
    fn equals_come_the_newest_first() {
        let mut table = Table::new(2);
        let videos: Vec<VideoId> = (0..4).map(|_| VideoId::generate()).collect();
        for (video, millis) in videos.iter().zip([5, 9, 7, 1]) {
            table.insert(*video, facts(millis), &[1.0, 0.0]);
        }
        let found: Vec<VideoId> =
            table.nearest(&[1.0, 0.0], &Filter::default(), 3).iter().map(|near| near.video).collect();
        assert_eq!(found, [videos[1], videos[2], videos[0]]);
    }

    proptest! {
        #[test]
        fn a_table_finds_what_a_list_finds(
            steps in proptest::collection::vec((0_u128..12, proptest::option::of([-4_i8..4, -4..4, -4..4])), 0..60),
            wanted in [-4_i8..4, -4..4, -4..4],
        ) {
            let floats = |values: [i8; 3]| values.map(f32::from);
            let mut table = Table::new(3);
            let mut list = BTreeMap::new();
            for (id, values) in steps {
                let video = VideoId::from_uuid(uuid::Uuid::from_u128(id));
                table.remove(video);
                list.remove(&video);
                if let Some(values) = values {
                    table.insert(video, facts(0), &floats(values));
                    list.insert(video, values);
                }
            }
            let mut expected: Vec<(f32, VideoId)> = list
                .iter()
                .map(|(video, values)| (values.iter().zip(wanted).map(|(a, b)| f32::from(*a) * f32::from(b)).sum(), *video))
                .collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            expected.truncate(5);
            let found: Vec<(f32, VideoId)> = table
                .nearest(&floats(wanted), &Filter::default(), 5)
                .iter()
                .map(|near| (near.cosine, near.video))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
