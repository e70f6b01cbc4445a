//! Roles. Each one includes the permissions of the one before it.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr, VariantNames};

/// A role, ordered by its permissions.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Reads everything but keys.
    Viewer,
    /// Also submits tasks.
    Submitter,
    /// Also operates tasks and queues: cancels, retries, pauses, purges.
    Operator,
    /// Also creates and revokes keys.
    Admin,
}

impl Role {
    /// The names of all roles, in ascending order.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    /// Returns the role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn each_role_may_do_all_that_the_one_before_it_may() {
        assert!(Role::iter().is_sorted());
    }

    #[test]
    fn a_role_is_read_back_by_its_name() {
        for role in Role::iter() {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).expect("JSON"), role.as_str());
        }
        assert_eq!(Role::parse("root"), None);
    }
}
