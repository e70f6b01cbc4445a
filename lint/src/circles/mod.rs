//! No circular imports between the files of a crate.
//!
//! An arrow goes from a file to the file that defines an item it names. Arrows from a module to modules below
//! it are not counted: a parent declares and re-exports its children. An arrow from a child to its parent
//! counts only for an item that the parent's own file defines: re-exports are followed to the definition.

mod components;
mod modules;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::packages::Package;
use crate::tree::File;
use modules::{Sources, Tree};
use resolve::{Target, resolve};

const RULE: &str = "circle";

/// The packages that are not yet free of circles. Deleting a name switches the rule on for it.
pub(crate) const NOT_YET: &[&str] = &[];

/// The items by which one file needs another, and the line of the first.
#[derive(Default)]
struct Tie<'a> {
    line: usize,
    names: BTreeSet<&'a str>,
}

type Arrows<'a> = BTreeMap<(&'a str, &'a str), Tie<'a>>;

/// Returns a finding for each circle of the packages that are not in `skipped`.
pub(crate) fn check(files: &[File], packages: &[Package], skipped: &[&str]) -> Vec<Finding> {
    let sources: Sources<'_> = files
        .iter()
        .filter_map(|file| Some((file.path.as_str(), file.rust.as_ref()?)))
        .collect();
    let checked = packages
        .iter()
        .filter(|package| !skipped.contains(&package.name.as_str()));
    checked
        .flat_map(|package| check_package(package, &sources))
        .collect()
}

fn check_package(package: &Package, sources: &Sources<'_>) -> Vec<Finding> {
    let trees: Vec<Tree<'_>> = package
        .roots()
        .iter()
        .filter_map(|root| Tree::new(root, sources))
        .collect();
    if trees.is_empty() {
        let path = format!("{}Cargo.toml", package.folder);
        return vec![Finding::new(
            &path,
            1,
            RULE,
            "no library or program is found, so no import is checked",
        )];
    }
    trees.iter().flat_map(|tree| circles(&arrows(tree))).collect()
}

fn arrows<'a>(tree: &Tree<'a>) -> Arrows<'a> {
    let mut arrows = Arrows::new();
    for (from, node) in tree.nodes.iter().enumerate() {
        let mut add = |path: &[String], name: &'a str, line: usize| {
            let Some(Target::Item(to)) = resolve(tree, from, path) else {
                return;
            };
            let (a, b) = (node.file, tree.nodes[to].file);
            if a == b || tree.is_below(to, from) {
                return;
            }
            let tie = arrows.entry((a, b)).or_default();
            tie.names.insert(name);
            tie.line = if tie.line == 0 { line } else { tie.line.min(line) };
        };
        for import in &node.facts.imports {
            if import.name != "*" {
                add(
                    &import.path,
                    import.path.last().map_or("", String::as_str),
                    import.line,
                );
                continue;
            }
            for name in &node.facts.names {
                let path = [import.path.as_slice(), std::slice::from_ref(name)].concat();
                add(&path, name, import.line);
            }
        }
        for (path, line) in &node.facts.paths {
            add(path, item_name(path), *line);
        }
    }
    arrows
}

/// Returns the part of a path that most likely is an item: the first type, else the last name.
fn item_name(path: &[String]) -> &str {
    let is_type = |name: &&String| name.starts_with(|c: char| c.is_ascii_uppercase());
    path.iter()
        .find(is_type)
        .or(path.last())
        .map_or("", String::as_str)
}

fn circles(arrows: &Arrows<'_>) -> Vec<Finding> {
    let files: Vec<&str> = arrows
        .keys()
        .flat_map(|&(a, b)| [a, b])
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut graph = vec![BTreeSet::new(); files.len()];
    for (a, b) in arrows.keys() {
        if let (Ok(a), Ok(b)) = (files.binary_search(a), files.binary_search(b)) {
            graph[a].insert(b);
        }
    }
    let components = components::components(&graph).into_iter();
    components
        .map(|component| describe(&component.into_iter().map(|file| files[file]).collect(), arrows))
        .collect()
}

fn describe(component: &BTreeSet<&str>, arrows: &Arrows<'_>) -> Finding {
    let within: Vec<_> = arrows
        .iter()
        .filter(|((a, b), _)| component.contains(a) && component.contains(b))
        .collect();
    let ties: Vec<String> = within
        .iter()
        .map(|((a, b), tie)| {
            let names: Vec<&str> = tie.names.iter().copied().collect();
            format!("{} → {} ({})", short(a), short(b), names.join(", "))
        })
        .collect();
    let (path, line) = within.first().map_or(("", 0), |((a, _), tie)| (*a, tie.line));
    Finding::new(
        path,
        line,
        RULE,
        format!("{} files import each other: {}", component.len(), ties.join("; ")),
    )
}

fn short(path: &str) -> &str {
    path.split_once("/src/").map_or(path, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Result<Vec<Finding>, String> {
        let manifest = ("a/Cargo.toml", "[package]\nname = \"a\"\n");
        let files = files
            .iter()
            .chain([&manifest])
            .map(|(path, text)| File::new(path, (*text).to_owned()));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Ok(check(&files, &crate::packages::read(&files)?, &[]))
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() -> Result<(), String> {
        let found = found(&[
            ("a/src/lib.rs", "mod b;\nmod c;\n"),
            ("a/src/b.rs", "use crate::c::C;\npub struct B(C);\n"),
            ("a/src/c.rs", "\npub struct C;\nfn d(_: &super::b::B) {}\n"),
        ])?;
        let text = "2 files import each other: b.rs → c.rs (C); c.rs → b.rs (B)";
        assert_eq!(found, [Finding::new("a/src/b.rs", 1, RULE, text)]);
        Ok(())
    }

    #[test]
    fn imports_that_go_one_way_are_fine() -> Result<(), String> {
        let found = found(&[
            ("a/src/lib.rs", "mod b;\nmod c;\npub use b::B;\n"),
            ("a/src/b.rs", "use crate::c::C;\npub struct B(C);\n"),
            (
                "a/src/c.rs",
                "pub struct C;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
            ),
        ])?;
        assert_eq!(found, []);
        Ok(())
    }

    #[test]
    fn a_sibling_through_its_parent_is_an_arrow_to_the_sibling() -> Result<(), String> {
        let through_parent = [
            ("a/src/lib.rs", "mod b;\nmod c;\npub use b::B;\n"),
            ("a/src/b.rs", "pub struct B;\n"),
            ("a/src/c.rs", "use crate::B;\npub struct C(B);\n"),
        ];
        assert_eq!(found(&through_parent)?, []);
        let mut circular = through_parent;
        circular[1].1 = "use super::c::C;\npub struct B;\n";
        assert_eq!(found(&circular)?.len(), 1);
        Ok(())
    }

    #[test]
    fn an_item_of_the_parent_closes_a_circle_through_another_file() -> Result<(), String> {
        let found = found(&[
            ("a/src/lib.rs", "mod b;\nmod d;\n"),
            ("a/src/b/mod.rs", "mod c;\nuse crate::d::D;\npub struct B(D);\n"),
            ("a/src/b/c.rs", "use super::B;\npub struct C;\n"),
            ("a/src/d.rs", "use crate::b::*;\npub struct D;\nfn e(_: B) {}\n"),
        ])?;
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .text
                .starts_with("2 files import each other: b/mod.rs → d.rs (D); d.rs → b/mod.rs (B)")
        );
        Ok(())
    }

    #[test]
    fn files_named_by_attributes_and_paths_up_two_modules_are_followed() -> Result<(), String> {
        let found = found(&[
            ("a/src/lib.rs", "mod b;\n#[path = \"other.rs\"]\nmod d;\n"),
            ("a/src/b.rs", "mod c;\n"),
            ("a/src/b/c.rs", "fn e(_: super::super::d::D) {}\npub struct C;\n"),
            (
                "a/src/other.rs",
                "pub struct D;\nfn f() { let _ = crate::b::c::C; }\n",
            ),
        ])?;
        let text = "2 files import each other: b/c.rs → other.rs (D); other.rs → b/c.rs (C)";
        assert_eq!(found, [Finding::new("a/src/b/c.rs", 1, RULE, text)]);
        Ok(())
    }

    #[test]
    fn a_package_without_sources_is_not_passed_over() -> Result<(), String> {
        assert_eq!(found(&[])?.len(), 1);
        Ok(())
    }

    #[test]
    fn listed_packages_are_skipped() -> Result<(), String> {
        let files = [
            File::new("a/Cargo.toml", "[package]\nname = \"a\"\n".into())?,
            File::new("a/src/main.rs", "mod b;\npub struct A;\nmod c;".into())?,
            File::new("a/src/b.rs", "use crate::c::C;\npub struct B;".into())?,
            File::new("a/src/c.rs", "use crate::b::B;\npub struct C;".into())?,
        ];
        let packages = crate::packages::read(&files)?;
        assert_eq!(check(&files, &packages, &[]).len(), 1);
        assert_eq!(check(&files, &packages, &["a"]), []);
        Ok(())
    }
}
