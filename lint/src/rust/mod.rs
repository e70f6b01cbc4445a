//! Reading Rust files: their comments and literals by a scanner, their items by `syn`.

mod functions;
mod items;
mod scan;

pub(crate) use functions::Function;
pub(crate) use items::Module;
pub(crate) use scan::{Kind, Piece};

/// The facts about a Rust file that rules need. Plain data, because `syn`'s tree cannot cross threads.
pub(crate) struct Source {
    /// Comments and string literals, line by line.
    pub(crate) pieces: Vec<Piece>,
    /// The text with comments and literals blanked out.
    pub(crate) code: String,
    pub(crate) functions: Vec<Function>,
    /// The module of the file itself, then the inline modules in it.
    pub(crate) modules: Vec<Module>,
    /// First and last lines of items that only tests compile.
    tests: Vec<(usize, usize)>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let file =
            syn::parse_file(text).map_err(|error| format!("line {}: {error}", error.span().start().line))?;
        let (pieces, code) = scan::scan(text);
        let (modules, tests) = items::read(&file);
        Ok(Self {
            pieces,
            code,
            functions: functions::read(&file),
            modules,
            tests,
        })
    }

    /// Returns whether only tests compile the line.
    pub(crate) fn in_test(&self, line: usize) -> bool {
        self.tests
            .iter()
            .any(|&(first, last)| (first..=last).contains(&line))
    }
}

/// Returns whether the attributes say that only tests compile the item.
fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let cfg_test = path.is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|condition| condition.is_ident("test"));
        cfg_test || path.segments.last().is_some_and(|last| last.ident == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_test_modules_are_known() -> Result<(), String> {
        let source = Source::read("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n")?;
        assert!(!source.in_test(1));
        assert!((2..=5).all(|line| source.in_test(line)));
        Ok(())
    }
}
