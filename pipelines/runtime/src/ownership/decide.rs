//! How many partitions a member works on, and which it takes or gives back. Pure.

use std::collections::BTreeSet;

use event_schemas::Partition;

/// How many of `partitions` fall to `member` among `members`, which are sorted and each named once.
/// The shares of all members add up to the whole and differ by one at most; a member that is not
/// listed has no share.
#[must_use]
pub fn share(partitions: usize, members: &[String], member: &str) -> usize {
    let Ok(rank) = members.binary_search_by(|known| known.as_str().cmp(member)) else { return 0 };
    partitions / members.len() + usize::from(rank < partitions % members.len())
}

/// What a member does about the partitions it holds, given its share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// To be given back, since others are to have them.
    pub give_back: Vec<Partition>,
    /// How many more may be taken, of those that nobody holds.
    pub take: usize,
}

/// Keeps what is held as far as the share goes: moving a partition costs its state. Of what is too
/// much the highest goes first.
#[must_use]
pub fn plan(share: usize, held: &BTreeSet<Partition>) -> Plan {
    let surplus = held.len().saturating_sub(share);
    Plan { give_back: held.iter().rev().take(surplus).copied().collect(), take: share.saturating_sub(held.len()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n:03}")).collect()
    }

    #[test]
    fn a_single_member_has_everything_and_a_stranger_nothing() {
        assert_eq!(share(4, &names(1), "000"), 4);
        assert_eq!(share(4, &names(1), "x"), 0);
        assert_eq!(share(4, &[], "x"), 0);
    }

    #[test]
    fn surplus_goes_from_the_top() {
        let held = (0..4).map(Partition).collect();
        assert_eq!(plan(3, &held), Plan { give_back: vec![Partition(3)], take: 0 });
        assert_eq!(plan(6, &held), Plan { give_back: vec![], take: 2 });
        assert_eq!(plan(4, &held), Plan::default());
    }

    proptest! {
        #[test]
        fn shares_add_up_and_are_even(partitions in 0usize..200, members in 1usize..40) {
            let names = names(members);
            let shares: Vec<_> = names.iter().map(|name| share(partitions, &names, name)).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), partitions);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn whatever_the_order_of_steps_all_partitions_find_an_owner(
            partitions in 1u32..24, members in 1usize..6, order in prop::collection::vec(0usize..6, 0..60),
        ) {
            let names = names(members);
            let mut held = vec![BTreeSet::<Partition>::new(); members];
            // The first member had all of them, alone.
            held[0] = (0..partitions).map(Partition).collect();
            let rounds = order.into_iter().chain((0..members).cycle().take(members * 3));
            for member in rounds.map(|member| member % members) {
                let plan = plan(share(partitions as usize, &names, &names[member]), &held[member]);
                for partition in plan.give_back {
                    held[member].remove(&partition);
                }
                let taken: BTreeSet<_> = held.iter().flatten().copied().collect();
                let free = (0..partitions).map(Partition).filter(|p| !taken.contains(p)).take(plan.take);
                let free: Vec<_> = free.collect();
                held[member].extend(free);
            }
            let all: Vec<_> = held.iter().flatten().collect();
            prop_assert_eq!(all.len(), partitions as usize);
            for (member, held) in held.iter().enumerate() {
                prop_assert_eq!(held.len(), share(partitions as usize, &names, &names[member]));
            }
        }
    }
}
