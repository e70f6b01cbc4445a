//! Directed acyclic graphs: the topological order of steps.

use std::collections::VecDeque;

/// Steps that depend on each other in a cycle: each on the next one, the last on the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

/// Returns the steps in topological order, each after all of its parents, or a cycle. `parents[n]` are the
/// existing steps that step `n` depends on.
pub fn order(parents: &[Vec<usize>]) -> Result<Vec<usize>, Cycle> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut missing: Vec<usize> = parents.iter().map(Vec::len).collect();
    for (child, parents) in parents.iter().enumerate() {
        for parent in parents {
            children[*parent].push(child);
        }
    }
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
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_diamond_begins_with_its_top_and_ends_with_its_bottom() {
        assert_eq!(
            order(&[vec![2, 3], vec![], vec![1], vec![1]]),
            Ok(vec![1, 2, 3, 0])
        );
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_cycle_is_returned_without_steps_that_only_depend_on_it() {
        // 0 waits for 1, which waits for 2, which waits for 3, which waits for 1
        let parents = [vec![1], vec![2], vec![3], vec![1], vec![]];
        assert_eq!(order(&parents), Err(Cycle(vec![1, 2, 3])));
        assert_eq!(order(&[vec![0]]), Err(Cycle(vec![0])));
    }

    /// Up to 40 steps, each waiting for some others.
    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1_usize..40).prop_flat_map(|steps| {
            let parents = prop::collection::btree_set(0..steps, 0..4);
            prop::collection::vec(parents.prop_map(|parents| parents.into_iter().collect()), steps)
        })
    }

    proptest! {
        #[test]
        fn an_order_has_every_step_behind_its_parents_and_a_cycle_is_one(parents in graphs()) {
            match order(&parents) {
                Ok(ordered) => {
                    let place: Vec<usize> = (0..parents.len())
                        .map(|step| ordered.iter().position(|s| *s == step).expect("every step is in it"))
                        .collect();
                    prop_assert_eq!(ordered.len(), parents.len());
                    for (step, parents) in parents.iter().enumerate() {
                        prop_assert!(parents.iter().all(|parent| place[*parent] < place[step]));
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
