//! Edges between steps: what the end of a step means for the steps behind it.

use serde::Serialize;
use strum::{Display, EnumIter, EnumString, IntoStaticStr, VariantNames};

/// What happens to the step behind an edge when the step before it fails for good.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EdgePolicy {
    /// It waits: the workflow is blocked until an operator decides.
    #[default]
    Fail,
    /// It runs, and sees the error in place of the result.
    Continue,
    /// It is skipped unless another of its parents ended well.
    Skip,
    /// It runs only then, and is skipped otherwise.
    Only,
}

/// A way in which a step ends that its edges distinguish. Cancelled steps fire no edge: a step is cancelled
/// only with its workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter)]
pub enum StepEnd {
    /// It completed, or an operator resolved it.
    Completed,
    /// It failed for good.
    DeadLetter,
    /// It was skipped.
    Skipped,
}

/// The effect of an edge whose step has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The edge counts as arrived. A step is skipped if none of its edges was `good`.
    Fires {
        /// True if it lets the step behind it run.
        good: bool,
    },
    /// The edge does not arrive: the dead letter keeps it, and its workflow is blocked.
    Blocks,
}

impl EdgePolicy {
    /// The names of all policies.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the name in definitions.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the effect of an edge with this policy once the step before it has ended.
    pub fn effect(self, end: StepEnd) -> Effect {
        match (end, self) {
            (StepEnd::DeadLetter, Self::Fail) => Effect::Blocks,
            (StepEnd::Completed, Self::Only) | (StepEnd::Skipped, _) | (StepEnd::DeadLetter, Self::Skip) => {
                Effect::Fires { good: false }
            }
            (StepEnd::Completed, _) | (StepEnd::DeadLetter, Self::Continue | Self::Only) => {
                Effect::Fires { good: true }
            }
        }
    }

    /// Returns the number that the database stores, the two lowest bits of a kind.
    pub fn code(self) -> i16 {
        match self {
            Self::Fail => 0,
            Self::Continue => 1,
            Self::Skip => 2,
            Self::Only => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn every_end_has_its_effect_under_every_policy() {
        use EdgePolicy::{Continue, Fail, Only, Skip};
        use StepEnd::{Completed, DeadLetter, Skipped};
        let (good, bad) = (Effect::Fires { good: true }, Effect::Fires { good: false });
        for (end, effects) in [
            (Completed, [good, good, good, bad]),
            (Skipped, [bad, bad, bad, bad]),
            (DeadLetter, [Effect::Blocks, good, bad, good]),
        ] {
            for (policy, effect) in [Fail, Continue, Skip, Only].into_iter().zip(effects) {
                assert_eq!(policy.effect(end), effect, "{end:?} under {policy}");
            }
        }
    }

    #[test]
    fn only_a_failure_blocks_and_only_under_the_default_policy() {
        for (policy, end) in
            EdgePolicy::iter().flat_map(|policy| StepEnd::iter().map(move |end| (policy, end)))
        {
            let blocks = policy.effect(end) == Effect::Blocks;
            assert_eq!(
                blocks,
                policy == EdgePolicy::default() && end == StepEnd::DeadLetter
            );
        }
    }

    #[test]
    fn every_policy_is_found_by_its_name_and_has_a_code_of_its_own() {
        let codes: Vec<i16> = EdgePolicy::iter().map(EdgePolicy::code).collect();
        assert_eq!(codes, [0, 1, 2, 3]);
        for policy in EdgePolicy::iter() {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
    }
}
