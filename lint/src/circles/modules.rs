//! The module tree of a library or program, built from its files.

use std::collections::BTreeMap;

use crate::rust::{Module, Source};

/// A module of the tree.
pub(super) struct Node<'a> {
    pub(super) file: &'a str,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<&'a str, usize>,
    pub(super) facts: &'a Module,
}

/// The modules of a library or program, the root first.
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
}

/// The Rust files by path.
pub(super) type Sources<'a> = BTreeMap<&'a str, &'a Source>;

impl<'a> Tree<'a> {
    /// Builds the tree whose root is the file `root`; `None` if that file does not exist.
    ///
    /// Modules without a file are left out.
    pub(super) fn new(root: &str, sources: &Sources<'a>) -> Option<Self> {
        let (&file, source) = sources.get_key_value(root)?;
        let mut tree = Self { nodes: Vec::new() };
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        tree.add(file, folder, source, &[], None, sources)?;
        Some(tree)
    }

    /// Adds the module with the inline path `path` of a file, whose child modules' files are in `folder`.
    fn add(
        &mut self,
        file: &'a str,
        folder: &str,
        source: &'a Source,
        path: &[String],
        parent: Option<usize>,
        sources: &Sources<'a>,
    ) -> Option<usize> {
        let facts = source.modules.iter().find(|module| module.path == path)?;
        let id = self.nodes.len();
        self.nodes.push(Node {
            file,
            parent,
            children: BTreeMap::new(),
            facts,
        });
        for child in &facts.children {
            let below = format!("{folder}/{}", child.name);
            let added = if child.inline {
                let path = [path, std::slice::from_ref(&child.name)].concat();
                self.add(file, &below, source, &path, Some(id), sources)
            } else {
                let named = child.file.as_ref().map(|name| {
                    format!(
                        "{}/{name}",
                        file.rsplit_once('/').map_or("", |(folder, _)| folder)
                    )
                });
                let places = named
                    .into_iter()
                    .chain([format!("{below}.rs"), format!("{below}/mod.rs")]);
                let found = places
                    .into_iter()
                    .find_map(|place| sources.get_key_value(place.as_str()));
                found.and_then(|(&file, source)| self.add(file, &below, source, &[], Some(id), sources))
            };
            if let Some(added) = added {
                self.nodes[id].children.insert(&child.name, added);
            }
        }
        Some(id)
    }

    /// Returns whether `node` lies below `ancestor`.
    pub(super) fn is_below(&self, node: usize, ancestor: usize) -> bool {
        std::iter::successors(self.nodes[node].parent, |&node| self.nodes[node].parent)
            .any(|node| node == ancestor)
    }
}
