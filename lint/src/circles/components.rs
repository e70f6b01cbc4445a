//! Strongly connected components of a small graph.

use std::collections::BTreeSet;

/// Returns the components of two or more nodes; `arrows[n]` are the nodes that `n` points to.
pub(super) fn components(arrows: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len()).map(|node| reachable(arrows, node)).collect();
    let together = |a: usize, b: usize| reached[a].contains(&b) && reached[b].contains(&a);
    let mut components: Vec<BTreeSet<usize>> = Vec::new();
    for node in (0..arrows.len()).filter(|&node| reached[node].contains(&node)) {
        if !components.iter().any(|component| component.contains(&node)) {
            components.push((0..arrows.len()).filter(|&other| together(node, other)).collect());
        }
    }
    components
}

/// Returns the nodes that a path of one or more arrows leads to.
fn reachable(arrows: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<usize> = arrows[from].iter().copied().collect();
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(&arrows[node]);
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_reach_each_other_are_one_component() {
        let arrows = [[1].into(), [2].into(), [0, 3].into(), BTreeSet::new(), [3].into()];
        assert_eq!(components(&arrows), [[0, 1, 2].into()]);
    }

    #[test]
    fn a_graph_without_circles_has_no_components() {
        assert!(components(&[[1, 2].into(), [2].into(), BTreeSet::new()]).is_empty());
    }
}
