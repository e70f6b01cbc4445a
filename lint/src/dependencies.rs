//! Declared dependencies are used, and those that only tests use are dev-dependencies.

use std::collections::BTreeSet;

use regex::Regex;
use toml::Value;

use crate::finding::Finding;
use crate::packages::{Package, owner};
use crate::rust::Kind;
use crate::tree::File;

const RULE: &str = "dependencies";

/// The crates whose names a package's sources use.
#[derive(Default)]
struct Used {
    product: BTreeSet<String>,
    tests: BTreeSet<String>,
}

/// Returns a finding for each dependency that is not used, and for each normal one that only tests use.
///
/// A dependency that no source names, but that is needed, is listed in `package.metadata.lint.ignored`.
pub(crate) fn check(files: &[File], packages: &[Package]) -> Result<Vec<Finding>, String> {
    // A name that is followed or preceded by `::`, or that `use` or `extern crate` begins with.
    let names =
        Regex::new(r"\b(?:use|extern crate)\s+(\w+)|(\w+)\s*::").map_err(|error| error.to_string())?;
    let mut findings = Vec::new();
    for package in packages {
        let used = used(files, packages, package, &names);
        let path = format!("{}Cargo.toml", package.folder);
        let manifest = files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| file.text.as_str());
        let ignored = ignored(package);
        for (section, name) in declared(package) {
            let krate = name.replace('-', "_");
            let problem = match section {
                _ if ignored.contains(&name) || used.product.contains(&krate) => continue,
                "dependencies" if used.tests.contains(&krate) => "is used by tests only: a dev-dependency",
                _ if used.tests.contains(&krate) => continue,
                _ => "is declared and not used",
            };
            findings.push(Finding::new(
                &path,
                line_of(manifest, section, name),
                RULE,
                format!("`{name}` {problem}"),
            ));
        }
    }
    Ok(findings)
}

fn declared(package: &Package) -> impl Iterator<Item = (&'static str, &str)> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .flat_map(|section| {
            let table = package.manifest.get(section).and_then(Value::as_table);
            table
                .into_iter()
                .flat_map(toml::Table::keys)
                .map(move |name| (section, name.as_str()))
        })
}

fn ignored(package: &Package) -> Vec<&str> {
    let list = || {
        package
            .manifest
            .get("package")?
            .get("metadata")?
            .get("lint")?
            .get("ignored")?
            .as_array()
    };
    list().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn used(files: &[File], packages: &[Package], package: &Package, names: &Regex) -> Used {
    let mut used = Used::default();
    let is_own =
        |file: &&File| owner(packages, &file.path).is_some_and(|owner| owner.folder == package.folder);
    for file in files.iter().filter(is_own) {
        let Some(source) = &file.rust else { continue };
        for (line, code) in (1..).zip(source.code.lines()) {
            let test = file.is_test() || source.in_test(line);
            let into = if test { &mut used.tests } else { &mut used.product };
            into.extend(names_in(code, names));
        }
        for piece in &source.pieces {
            match piece.kind {
                // Examples in doc comments are compiled as tests.
                Kind::Doc => used.tests.extend(names_in(&piece.text, names)),
                // Attributes name paths in literals: `#[serde(with = "a::b")]`.
                Kind::Literal => used.product.extend(names_in(&piece.text, names)),
                Kind::Comment => {}
            }
        }
    }
    used
}

fn names_in(code: &str, names: &Regex) -> Vec<String> {
    let found = names
        .captures_iter(code)
        .filter_map(|found| found.get(1).or(found.get(2)));
    found.map(|name| name.as_str().to_owned()).collect()
}

fn line_of(manifest: &str, section: &str, name: &str) -> usize {
    let mut lines = (1..)
        .zip(manifest.lines())
        .skip_while(|(_, line)| line.trim() != format!("[{section}]"));
    let named = |line: &str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    lines.find(|(_, line)| named(line)).map_or(1, |(line, _)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str, files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let manifest = format!("[package]\nname = \"a\"\n{manifest}");
        let files = files.iter().copied().chain([("a/Cargo.toml", manifest.as_str())]);
        let files = files
            .map(|(path, text)| File::new(path, text.to_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        let findings = check(&files, &crate::packages::read(&files)?)?;
        Ok(findings.iter().map(Finding::to_string).collect())
    }

    #[test]
    fn a_dependency_that_no_source_names_is_found() -> Result<(), String> {
        let manifest = "[dependencies]\nb-c.workspace = true\nd = \"1\"\n";
        let found = found(manifest, &[("a/src/lib.rs", "use d as _; // b_c::e\n")])?;
        assert_eq!(
            found,
            ["a/Cargo.toml:4: dependencies: `b-c` is declared and not used"]
        );
        Ok(())
    }

    #[test]
    fn a_dependency_of_tests_alone_is_a_dev_dependency() -> Result<(), String> {
        let files = [
            ("a/src/lib.rs", "#[cfg(test)]\nmod tests {\n    use b::c;\n}\n"),
            ("a/tests/it/main.rs", "use d::e;\n"),
        ];
        assert_eq!(found("[dependencies]\nb = \"1\"\nd = \"1\"\n", &files)?.len(), 2);
        assert_eq!(
            found("[dev-dependencies]\nb = \"1\"\nd = \"1\"\n", &files)?.len(),
            0
        );
        Ok(())
    }

    #[test]
    fn ignored_dependencies_may_be_unnamed() -> Result<(), String> {
        let manifest = "[package.metadata.lint]\nignored = [\"b\"]\n[dependencies]\nb = \"1\"\n";
        assert_eq!(found(manifest, &[("a/src/lib.rs", "")])?.len(), 0);
        Ok(())
    }

    #[test]
    fn paths_in_attributes_and_doc_examples_are_uses() -> Result<(), String> {
        let text = "/// ```\n/// use c::d;\n/// ```\n#[serde(with = \"b::e\")]\npub struct A;\n";
        let manifest = "[dependencies]\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\n";
        assert_eq!(found(manifest, &[("a/src/lib.rs", text)])?.len(), 0);
        Ok(())
    }
}
