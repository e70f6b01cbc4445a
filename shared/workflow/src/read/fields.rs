//! Reads the fields of an object: by their names and aliases, with errors for all others.

use crate::issue::{IssueCode, Issues, Spot};
use crate::nearest::did_you_mean;
use crate::source::{Node, Value, pointer_to};

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Place<'n> {
    pub(super) node: &'n Node,
    pub(super) spot: Spot,
}

impl<'n> Place<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        let spot = Spot {
            pointer: String::new(),
            line: node.line,
        };
        Self { node, spot }
    }

    pub(super) fn field(&self, name: &str, node: &'n Node) -> Self {
        let spot = Spot {
            pointer: pointer_to(&self.spot.pointer, name),
            line: node.line,
        };
        Self { node, spot }
    }

    fn item(&self, index: usize, node: &'n Node) -> Self {
        self.field(&index.to_string(), node)
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.node.value, Value::Object(_))
    }

    /// Returns the items of a list.
    pub(super) fn items(&self, issues: &mut Issues) -> Option<Vec<Self>> {
        let Value::List(items) = &self.node.value else {
            self.wrong_type("a list", issues);
            return None;
        };
        let items = items.iter().enumerate();
        Some(items.map(|(index, node)| self.item(index, node)).collect())
    }

    /// Returns the entries of an object.
    pub(super) fn entries(&self, issues: &mut Issues) -> Option<Vec<(&'n str, Self)>> {
        let Value::Object(entries) = &self.node.value else {
            self.wrong_type("an object", issues);
            return None;
        };
        let entries = entries.iter();
        Some(
            entries
                .map(|(name, node)| (name.as_str(), self.field(name, node)))
                .collect(),
        )
    }

    pub(super) fn wrong_type(&self, expected: &str, issues: &mut Issues) {
        let message = format!("must be {expected}, not {}", self.node.kind());
        issues.error(&self.spot, IssueCode::WrongType, message);
    }
}

/// The fields of an object, of which each is taken once.
pub(super) struct Fields<'n> {
    object: Spot,
    entries: Vec<(&'n str, Place<'n>)>,
    /// All names that were asked for, with their aliases.
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Returns the fields of an object; an error for any other value.
    pub(super) fn of(place: &Place<'n>, issues: &mut Issues) -> Option<Self> {
        Some(Self {
            object: place.spot.clone(),
            entries: place.entries(issues)?,
            known: Vec::new(),
        })
    }

    /// Takes a field by one of its names; `None` if it is missing or null.
    pub(super) fn take(&mut self, names: &'static [&'static str], issues: &mut Issues) -> Option<Place<'n>> {
        self.known.extend(names);
        let mut taken: Option<(&str, Place<'_>)> = None;
        for name in names {
            let Some(index) = self.entries.iter().position(|(entry, _)| entry == name) else {
                continue;
            };
            let (name, place) = self.entries.remove(index);
            match &taken {
                Some((first, _)) => {
                    let message = format!("is another name of `{first}`; keep one of them");
                    issues.error(&place.spot, IssueCode::ConflictingFields, message);
                }
                None => taken = Some((name, place)),
            }
        }
        taken
            .map(|(_, place)| place)
            .filter(|place| place.node.value != Value::Null)
    }

    /// Takes a field that must be there.
    pub(super) fn require(
        &mut self,
        names: &'static [&'static str],
        issues: &mut Issues,
    ) -> Option<Place<'n>> {
        let place = self.take(names, issues);
        if place.is_none() {
            let name = names.first().copied().unwrap_or_default();
            issues.error(
                &self.object,
                IssueCode::MissingField,
                format!("has no `{name}`; add it"),
            );
        }
        place
    }

    /// Rejects fields of later releases. Returns whether there were any.
    pub(super) fn refuse(&mut self, names: &'static [&'static str], issues: &mut Issues) -> bool {
        let mut any = false;
        for name in names {
            if let Some(place) = self.take_one(name) {
                let message = format!("`{name}` is not supported yet; remove it");
                issues.error(&place.spot, IssueCode::NotSupportedYet, message);
                any = true;
            }
        }
        any
    }

    /// Takes fields that the caller of the reader handles itself.
    pub(super) fn ignore(&mut self, names: &'static [&'static str]) {
        self.known.extend(names);
        self.entries.retain(|(name, _)| !names.contains(name));
    }

    /// Takes a field by its name, without making it known to messages.
    pub(super) fn take_one(&mut self, name: &str) -> Option<Place<'n>> {
        let index = self.entries.iter().position(|(entry, _)| *entry == name)?;
        Some(self.entries.remove(index).1)
    }

    /// Reports the fields that were not taken.
    pub(super) fn finish(self, issues: &mut Issues) {
        for (name, place) in self.entries {
            // each message compares the name with all others
            if issues.is_full() {
                return;
            }
            let nearest = did_you_mean(name, self.known.iter().copied());
            let message = format!("`{}` is not a field here; {nearest}", name.escape_debug());
            issues.error(&place.spot, IssueCode::UnknownField, message);
        }
    }
}
