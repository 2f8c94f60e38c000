//! One ranking from two: reciprocal rank fusion.
//!
//! Every back end fuses by the same rule with the same constants, so that a search has the same
//! result wherever its two lists are the same.

use std::{collections::HashMap, hash::Hash};

/// The constant of the fusion: how little the first places stand out.
pub const RRF_K: u32 = 60;

/// How many of the closest vectors take part in a fusion. Words take part down to
/// [`crate::MAX_DEPTH`].
pub const DENSE_DEPTH: usize = 200;

/// The weight of each list in a fused search. A list of weight 3 counts as if its third hit were
/// its first; a list of weight 0 adds its hits behind all others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// The weight of the words.
    pub lexical: f32,
    /// The weight of the vectors.
    pub dense: f32,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { lexical: 1.0, dense: 1.0 }
    }
}

impl Fusion {
    /// Both weights, lexical first, each between 0 and 1000.
    #[must_use]
    pub fn weights(&self) -> [f32; 2] {
        [self.lexical, self.dense].map(|weight| if weight.is_nan() { 1.0 } else { weight.clamp(0.0, 1_000.0) })
    }
}

/// What the hit at `place`, counted from 0, of a list with `weight` adds to a score.
#[must_use]
pub fn share(place: usize, weight: f32) -> f32 {
    if weight <= 0.0 { 0.0 } else { 1.0 / ((place + 1) as f32 / weight + (RRF_K - 1) as f32) }
}

/// The score of everything in `lists`, each the best first.
#[must_use]
pub fn fuse<T: Hash + Eq + Copy>(lists: [&[T]; 2], weights: [f32; 2]) -> HashMap<T, f32> {
    let mut scores = HashMap::with_capacity(lists[0].len() + lists[1].len());
    for (list, weight) in lists.into_iter().zip(weights) {
        for (place, hit) in list.iter().enumerate() {
            *scores.entry(*hit).or_insert(0.0) += share(place, weight);
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_lists_have_comes_first() {
        let scores = fuse([&[1, 2, 3], &[4, 3]], [1.0, 1.0]);
        let mut order = [1, 2, 3, 4];
        order.sort_by(|a, b| scores[b].total_cmp(&scores[a]).then(a.cmp(b)));
        assert_eq!(order, [3, 1, 4, 2]);
        assert_eq!(scores[&1], 1.0 / 60.0);
        assert_eq!(scores[&3], share(2, 1.0) + share(1, 1.0));
    }

    #[test]
    fn a_weight_stretches_its_list() {
        assert_eq!(share(2, 3.0), share(0, 1.0));
        assert_eq!(share(0, 0.0), 0.0);
        let odd = Fusion { lexical: f32::NAN, dense: f32::INFINITY };
        assert_eq!(odd.weights(), [1.0, 1_000.0]);
        assert_eq!(Fusion { lexical: -1.0, dense: 2.0 }.weights(), [0.0, 2.0]);
    }
}
