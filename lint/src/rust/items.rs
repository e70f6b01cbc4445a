//! The modules of a file: what each defines, imports and names.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A module of a file, outside of tests.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Its inline path within the file; empty for the file's own module.
    pub(crate) path: Vec<String>,
    /// Modules declared in it, inline ones included.
    pub(crate) children: Vec<Child>,
    /// The names of items defined in it.
    pub(crate) items: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// Paths of two or more segments, with their lines.
    pub(crate) paths: Vec<(Vec<String>, usize)>,
    /// Single identifiers, by which glob imports are resolved.
    pub(crate) names: BTreeSet<String>,
}

/// A declared module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) name: String,
    /// The value of `#[path]`.
    pub(crate) file: Option<String>,
    pub(crate) inline: bool,
}

/// A name that `use` brings into a module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// `*` for a glob import.
    pub(crate) name: String,
    /// Without the `*`.
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// Returns the modules of a file, its own first, and the first and last lines of test-only items.
pub(super) fn read(file: &syn::File) -> (Vec<Module>, Vec<(usize, usize)>) {
    let mut reader = Reader {
        modules: vec![Module::default()],
        current: 0,
        blocks: 0,
        tests: Vec::new(),
    };
    if super::is_test_only(&file.attrs) {
        reader.tests.push((1, usize::MAX));
    } else {
        reader.visit_file(file);
    }
    (reader.modules, reader.tests)
}

struct Reader {
    modules: Vec<Module>,
    current: usize,
    /// The number of blocks around the current item.
    blocks: usize,
    tests: Vec<(usize, usize)>,
}

impl Reader {
    fn module(&mut self) -> &mut Module {
        &mut self.modules[self.current]
    }

    fn child(&mut self, item: &syn::ItemMod) {
        let inline = item.content.is_some();
        let child = Child {
            name: item.ident.to_string(),
            file: file_of(&item.attrs),
            inline,
        };
        self.module().children.push(child);
        if let Some((_, items)) = &item.content {
            let mut path = self.module().path.clone();
            path.push(item.ident.to_string());
            let outer = std::mem::replace(&mut self.current, self.modules.len());
            self.modules.push(Module {
                path,
                ..Module::default()
            });
            for item in items {
                self.visit_item(item);
            }
            self.current = outer;
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons < 2 {
                        self.path(std::mem::take(&mut path), line);
                        line = name.span().start().line;
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                token => {
                    self.path(std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = token {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(path, line);
    }

    fn path(&mut self, mut path: Vec<String>, line: usize) {
        match path.len() {
            0 => {}
            1 => self.module().names.extend(path.pop()),
            _ => self.module().paths.push((path, line)),
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if super::is_test_only(attributes(item)) {
            self.tests
                .push((item.span().start().line, item.span().end().line));
            return;
        }
        match item {
            syn::Item::Mod(item) => return self.child(item),
            syn::Item::Use(item) => {
                let line = item.use_token.span.start().line;
                return flatten(&item.tree, &mut Vec::new(), line, &mut self.module().imports);
            }
            // Items of a block cannot be named from outside of it.
            _ if self.blocks == 0 => self.module().items.extend(name(item)),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |first| first.ident.span().start().line);
        self.path(names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.blocks += 1;
        visit::visit_block(self, block);
        self.blocks -= 1;
    }
}

/// Adds the imports of a `use` tree.
fn flatten(tree: &syn::UseTree, prefix: &mut Vec<String>, line: usize, imports: &mut Vec<Import>) {
    let mut add = |name: String, last: Option<String>| {
        let mut path = prefix.clone();
        path.extend(last.filter(|last| last != "self"));
        let name = if name == "self" {
            path.last().cloned().unwrap_or_default()
        } else {
            name
        };
        imports.push(Import { name, path, line });
    };
    match tree {
        syn::UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, line, imports);
            prefix.pop();
        }
        syn::UseTree::Name(name) => add(name.ident.to_string(), Some(name.ident.to_string())),
        syn::UseTree::Rename(name) => add(name.rename.to_string(), Some(name.ident.to_string())),
        syn::UseTree::Glob(_) => add("*".into(), None),
        syn::UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| flatten(tree, prefix, line, imports)),
    }
}

fn file_of(attributes: &[syn::Attribute]) -> Option<String> {
    attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("path"))
        .and_then(
            |attribute| match &attribute.meta.require_name_value().ok()?.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(file),
                    ..
                }) => Some(file.value()),
                _ => None,
            },
        )
}

fn name(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(text: &str) -> Result<Vec<Module>, syn::Error> {
        Ok(read(&syn::parse_file(text)?).0)
    }

    #[test]
    fn imports_are_flattened() -> Result<(), syn::Error> {
        let modules = modules("use crate::a::{self, B as C, d::*};")?;
        let names: Vec<_> = modules[0]
            .imports
            .iter()
            .map(|import| (import.name.as_str(), import.path.join("::")))
            .collect();
        assert_eq!(
            names,
            [
                ("a", "crate::a".into()),
                ("C", "crate::a::B".into()),
                ("*", "crate::a::d".into())
            ]
        );
        Ok(())
    }

    #[test]
    fn paths_in_bodies_and_macros_are_found() -> Result<(), syn::Error> {
        let modules = modules("fn a() { crate::b::c(); vec![super::d::E { f: 1 }]; }")?;
        let paths: Vec<_> = modules[0].paths.iter().map(|(path, _)| path.join("::")).collect();
        assert_eq!(paths, ["crate::b::c", "super::d::E"]);
        Ok(())
    }

    #[test]
    fn items_of_tests_are_left_out_and_their_lines_kept() -> Result<(), syn::Error> {
        let file = syn::parse_file("struct A;\n#[cfg(test)]\nmod tests {\n    use super::A;\n}\n")?;
        let (modules, tests) = read(&file);
        assert_eq!(modules.len(), 1);
        assert!(modules[0].imports.is_empty());
        assert_eq!(tests, [(2, 5)]);
        Ok(())
    }

    #[test]
    fn inline_modules_are_modules_of_their_own() -> Result<(), syn::Error> {
        let modules = modules("mod a { pub struct B; }\n#[path = \"c_d.rs\"]\nmod c;\n")?;
        assert_eq!(modules[1].path, ["a"]);
        assert!(modules[1].items.contains("B"));
        assert_eq!(
            modules[0].children[1],
            Child {
                name: "c".into(),
                file: Some("c_d.rs".into()),
                inline: false
            }
        );
        Ok(())
    }
}
