//! Resolution of a path to the module that defines the item it names, through imports and re-exports.

use super::modules::Tree;

/// The number of imports that a resolution follows at most; longer chains are circular.
const DEPTH_MAX: usize = 16;

/// The meaning of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Module(usize),
    /// An item that the module defines.
    Item(usize),
}

/// Resolves `path` as written in the module `from`; `None` for what other crates define.
pub(super) fn resolve(tree: &Tree<'_>, from: usize, path: &[String]) -> Option<Target> {
    resolve_at(tree, from, path, 0)
}

fn resolve_at(tree: &Tree<'_>, from: usize, path: &[String], depth: usize) -> Option<Target> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (first, rest) = path.split_first()?;
    let mut target = match first.as_str() {
        "crate" => Target::Module(0),
        "self" => Target::Module(from),
        "super" => Target::Module(tree.nodes[from].parent?),
        name => look_up(tree, from, name, rest.is_empty(), depth)?,
    };
    for (at, name) in rest.iter().enumerate() {
        let Target::Module(module) = target else {
            return Some(target);
        };
        target = if name == "super" {
            Target::Module(tree.nodes[module].parent?)
        } else {
            look_up(tree, module, name, at + 1 == rest.len(), depth)?
        };
    }
    Some(target)
}

/// Finds a name in a module. The last name of a path is rather an item than a module, the others are not.
fn look_up(tree: &Tree<'_>, module: usize, name: &str, last: bool, depth: usize) -> Option<Target> {
    let node = &tree.nodes[module];
    let child = node.children.get(name).map(|&child| Target::Module(child));
    let item = || {
        if node.facts.items.contains(name) {
            return Some(Target::Item(module));
        }
        let named = node.facts.imports.iter().filter(|import| import.name == name);
        let mut found = named.filter_map(|import| resolve_at(tree, module, &import.path, depth + 1));
        found
            .next()
            .or_else(|| through_globs(tree, module, name, last, depth))
    };
    if last {
        item().or(child)
    } else {
        child.or_else(item)
    }
}

fn through_globs(tree: &Tree<'_>, module: usize, name: &str, last: bool, depth: usize) -> Option<Target> {
    let globs = tree.nodes[module]
        .facts
        .imports
        .iter()
        .filter(|import| import.name == "*");
    globs
        .filter_map(|glob| resolve_at(tree, module, &glob.path, depth + 1))
        .find_map(|target| match target {
            Target::Module(other) if other != module && depth < DEPTH_MAX => {
                look_up(tree, other, name, last, depth + 1)
            }
            Target::Module(_) | Target::Item(_) => None,
        })
}
