//! Whose turn it is among lanes that have something: smooth weighted round robin.
//!
//! Of lanes that always have something each gets its share by weight, spread evenly; one that has nothing is passed
//! over, and its share goes to the others. No lane that has something waits for ever, however busy the others are.

use coxswain_shared::priority::Priority;

/// Of 21 tasks that are taken while all lanes of a pool have some, how many come from the lane of each priority.
pub(super) const fn weight(priority: Priority) -> i64 {
    match priority {
        Priority::High => 16,
        Priority::Normal => 4,
        Priority::Low => 1,
    }
}

/// Lanes by their places, with what each has due.
#[derive(Debug)]
pub(super) struct Turns(Vec<Turn>);

#[derive(Debug)]
struct Turn {
    weight: i64,
    /// Grows by the weight whenever the lane could be taken from, and falls when it is. Over all lanes it sums up to zero.
    due: i64,
}

impl Turns {
    /// Lanes of these weights.
    pub(super) fn new(weights: impl IntoIterator<Item = i64>) -> Self {
        Self(weights.into_iter().map(|weight| Turn { weight, due: 0 }).collect())
    }

    /// The place of the lane whose turn it is among those that have something. Nothing is changed by it.
    pub(super) fn next(&self, has_something: impl Fn(usize) -> bool) -> Option<usize> {
        let due = |place: usize| self.0[place].due + self.0[place].weight;
        // The first of those that have as much due.
        (0..self.0.len()).rev().filter(|place| has_something(*place)).max_by_key(|place| due(*place))
    }

    /// Notes that the lane at this place was taken from, among those that have something.
    pub(super) fn taken(&mut self, taken: usize, has_something: impl Fn(usize) -> bool) {
        let mut total = 0;
        for place in (0..self.0.len()).filter(|place| has_something(*place)) {
            self.0[place].due += self.0[place].weight;
            total += self.0[place].weight;
        }
        self.0[taken].due -= total;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lanes() -> Turns {
        Turns::new(Priority::ALL.map(weight))
    }

    fn take(turns: &mut Turns, has_something: impl Fn(usize) -> bool) -> Option<usize> {
        let next = turns.next(&has_something)?;
        turns.taken(next, &has_something);
        Some(next)
    }

    fn count(taken: &[Option<usize>]) -> [usize; 3] {
        [0, 1, 2].map(|place| taken.iter().filter(|taken| **taken == Some(place)).count())
    }

    #[test]
    fn each_lane_gets_its_share_by_weight_in_every_round() {
        let mut turns = lanes();
        for _ in 0..5 {
            let taken: Vec<_> = (0..21).map(|_| take(&mut turns, |_| true)).collect();
            assert_eq!(count(&taken), [16, 4, 1], "{taken:?}");
        }
    }

    #[test]
    fn the_most_urgent_lane_goes_first_and_nobody_waits_for_lanes_that_have_nothing() {
        let mut turns = lanes();
        assert_eq!(take(&mut turns, |_| true), Some(0));
        assert!((0..100).all(|_| take(&mut turns, |place| place == 2) == Some(2)), "low alone gets every turn");
        assert_eq!(take(&mut turns, |_| false), None);
        let taken: Vec<_> = (0..10).map(|_| take(&mut turns, |place| place != 1)).collect();
        assert!(count(&taken)[0] >= 9, "what low had while it was alone takes nothing from the others: {taken:?}");
    }

    proptest! {
        #[test]
        fn no_lane_starves_whatever_the_others_have(
            had in prop::collection::vec([any::<bool>(), any::<bool>()], 0..300),
        ) {
            let mut turns = lanes();
            let mut waited = 0;
            for [high, normal] in had {
                let taken = take(&mut turns, |place| [high, normal, true][place]);
                waited = if taken == Some(2) { 0 } else { waited + 1 };
                prop_assert!(waited <= 2 * 21, "low was passed over {waited} times");
            }
        }
    }
}
