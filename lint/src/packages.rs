//! The packages of the workspace, from their manifests.

use toml::{Table, Value};

use crate::tree::File;

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Ends in a slash.
    pub(crate) folder: String,
    pub(crate) manifest: Table,
}

impl Package {
    /// Returns the root files of its libraries and programs.
    pub(crate) fn roots(&self) -> Vec<String> {
        let targets = self
            .manifest
            .get("bin")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let named = targets.filter_map(|target| target.get("path")?.as_str());
        let mut roots: Vec<String> = ["src/lib.rs", "src/main.rs"]
            .into_iter()
            .chain(named)
            .map(|path| self.folder.clone() + path)
            .collect();
        roots.sort();
        roots.dedup();
        roots
    }
}

/// Reads the packages among the files.
pub(crate) fn read(files: &[File]) -> Result<Vec<Package>, String> {
    let manifests = files
        .iter()
        .filter_map(|file| Some((file, file.path.strip_suffix("Cargo.toml")?)));
    let packages = manifests.map(|(file, folder)| {
        let manifest: Table = file
            .text
            .parse()
            .map_err(|error| format!("{}: {error}", file.path))?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name")?.as_str())
            .map(str::to_owned);
        Ok(name.map(|name| Package {
            name,
            folder: folder.to_owned(),
            manifest,
        }))
    });
    packages.filter_map(Result::transpose).collect()
}

/// Returns the package that a file belongs to: the innermost of those in whose folders it lies.
pub(crate) fn owner<'a>(packages: &'a [Package], path: &str) -> Option<&'a Package> {
    packages
        .iter()
        .filter(|package| path.starts_with(&package.folder))
        .max_by_key(|package| package.folder.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_the_library_and_the_programs() -> Result<(), String> {
        let text = "[package]\nname = \"a\"\n[[bin]]\nname = \"b\"\npath = \"src/b.rs\"\n";
        let files = [
            File::new("x/Cargo.toml", text.into())?,
            File::new("Cargo.toml", "[workspace]".into())?,
        ];
        let packages = read(&files)?;
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].name, "a");
        assert_eq!(
            packages[0].roots(),
            ["x/src/b.rs", "x/src/lib.rs", "x/src/main.rs"]
        );
        Ok(())
    }

    #[test]
    fn a_file_belongs_to_the_innermost_package_around_it() -> Result<(), String> {
        let manifest = |name: &str| format!("[package]\nname = \"{name}\"\n");
        let files = [
            File::new("a/Cargo.toml", manifest("outer"))?,
            File::new("a/b/Cargo.toml", manifest("inner"))?,
        ];
        let packages = read(&files)?;
        let owner = |path: &str| owner(&packages, path).map(|package| package.name.as_str());
        assert_eq!(owner("a/src/lib.rs"), Some("outer"));
        assert_eq!(owner("a/b/src/lib.rs"), Some("inner"));
        assert_eq!(owner("c/src/lib.rs"), None);
        Ok(())
    }
}
