//! Directed acyclic graphs of steps: order, levels, ancestors. `parents[n]` are the steps before step `n`.

use std::collections::VecDeque;

/// Steps that depend on each other in a cycle: each on the next one, the last on the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cycle(pub(crate) Vec<usize>);

/// Returns the steps in topological order, each after all of its parents, or a cycle.
pub(crate) fn order(parents: &[Vec<usize>]) -> Result<Vec<usize>, Cycle> {
    let children = children(parents);
    let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
    let mut ready: VecDeque<usize> = (0..parents.len()).filter(|step| missing[*step] == 0).collect();
    let mut ordered = Vec::with_capacity(parents.len());
    while let Some(step) = ready.pop_front() {
        ordered.push(step);
        for child in &children[step] {
            missing[*child] -= 1;
            if missing[*child] == 0 {
                ready.push_back(*child);
            }
        }
    }
    match missing.iter().position(|missing| *missing > 0) {
        None => Ok(ordered),
        Some(stuck) => Err(cycle_behind(parents, &missing, stuck)),
    }
}

/// Returns the steps behind each step.
pub(crate) fn children(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); parents.len()];
    for (child, parents) in parents.iter().enumerate() {
        for parent in parents {
            children[*parent].push(child);
        }
    }
    children
}

/// Returns the level of each step: 0 without parents, else one more than its highest parent.
pub(crate) fn levels(parents: &[Vec<usize>], order: &[usize]) -> Vec<usize> {
    let mut levels = vec![0; parents.len()];
    for step in order {
        let above = parents[*step].iter().map(|parent| levels[*parent] + 1);
        levels[*step] = above.max().unwrap_or(0);
    }
    levels
}

/// The steps before each step, as sets of bits.
#[derive(Debug)]
pub(crate) struct Ancestors {
    words: usize,
    bits: Vec<u64>,
}

impl Ancestors {
    /// Returns the ancestors of all steps; `order` is their topological order.
    pub(crate) fn of(parents: &[Vec<usize>], order: &[usize]) -> Self {
        let words = parents.len().div_ceil(64);
        let mut bits = vec![0_u64; words * parents.len()];
        for step in order {
            for parent in &parents[*step] {
                for word in 0..words {
                    bits[step * words + word] |= bits[parent * words + word];
                }
                bits[step * words + parent / 64] |= 1 << (parent % 64);
            }
        }
        Self { words, bits }
    }

    /// Returns whether `before` has always ended when `step` starts.
    pub(crate) fn contains(&self, step: usize, before: usize) -> bool {
        self.bits[step * self.words + before / 64] & (1 << (before % 64)) != 0
    }
}

/// Returns a cycle among the steps that never became ready. Each of them has a parent that did not either, so
/// following those parents from `stuck` reaches a step twice.
fn cycle_behind(parents: &[Vec<usize>], missing: &[usize], stuck: usize) -> Cycle {
    let mut path = vec![stuck];
    loop {
        let last = path[path.len() - 1];
        let Some(next) = parents[last].iter().copied().find(|parent| missing[*parent] > 0) else {
            return Cycle(path);
        };
        if let Some(first) = path.iter().position(|step| *step == next) {
            // the steps before it only depend on the cycle
            return Cycle(path.split_off(first));
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_diamond_begins_with_its_top_and_ends_with_its_bottom() {
        let parents = [vec![2, 3], vec![], vec![1], vec![1]];
        let order = order(&parents).expect("acyclic");
        assert_eq!(order, [1, 2, 3, 0]);
        assert_eq!(levels(&parents, &order), [2, 0, 1, 1]);
        let ancestors = Ancestors::of(&parents, &order);
        assert!(ancestors.contains(0, 1) && ancestors.contains(0, 3));
        assert!(!ancestors.contains(2, 3) && !ancestors.contains(1, 0) && !ancestors.contains(0, 0));
    }

    #[test]
    fn a_cycle_is_returned_without_steps_that_only_depend_on_it() {
        // 0 waits for 1, which waits for 2, which waits for 3, which waits for 1
        let parents = [vec![1], vec![2], vec![3], vec![1], vec![]];
        assert_eq!(order(&parents), Err(Cycle(vec![1, 2, 3])));
        assert_eq!(order(&[vec![0]]), Err(Cycle(vec![0])));
    }

    /// Up to 80 steps, each waiting for some others.
    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1_usize..80).prop_flat_map(|steps| {
            let parents = prop::collection::btree_set(0..steps, 0..4);
            prop::collection::vec(parents.prop_map(|parents| parents.into_iter().collect()), steps)
        })
    }

    proptest! {
        #[test]
        fn an_order_has_every_step_behind_its_parents_and_a_cycle_is_one(parents in graphs()) {
            match order(&parents) {
                Ok(ordered) => {
                    let mut place = vec![usize::MAX; parents.len()];
                    for (index, step) in ordered.iter().enumerate() {
                        place[*step] = index;
                    }
                    prop_assert_eq!(ordered.len(), parents.len());
                    let ancestors = Ancestors::of(&parents, &ordered);
                    for (step, parents) in parents.iter().enumerate() {
                        prop_assert!(parents.iter().all(|parent| place[*parent] < place[step]));
                        prop_assert!(parents.iter().all(|parent| ancestors.contains(step, *parent)));
                    }
                }
                Err(Cycle(steps)) => {
                    prop_assert!(!steps.is_empty());
                    for (place, step) in steps.iter().enumerate() {
                        let next = steps[(place + 1) % steps.len()];
                        prop_assert!(parents[*step].contains(&next));
                    }
                }
            }
        }
    }
}
