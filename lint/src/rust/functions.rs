//! The functions of a file with their lengths.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function with its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its signature.
    pub(crate) line: usize,
    /// Its lines from the signature to the closing brace, without the inner lines of macros' string literals.
    pub(crate) lines: usize,
    pub(crate) test: bool,
}

pub(super) fn read(file: &syn::File) -> Vec<Function> {
    let mut reader = Reader {
        functions: Vec::new(),
        test: super::is_test_only(&file.attrs),
        literals: Vec::new(),
    };
    reader.visit_file(file);
    for function in &mut reader.functions {
        let (first, last) = (function.line, function.line + function.lines - 1);
        let inside = reader
            .literals
            .iter()
            .filter(|&&(start, end)| first <= start && end <= last);
        function.lines -= inside.map(|&(start, end)| end - start).sum::<usize>();
    }
    reader.functions
}

struct Reader {
    functions: Vec<Function>,
    test: bool,
    /// First and last lines of the macros' string literals.
    literals: Vec<(usize, usize)>,
}

impl Reader {
    fn within(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let outer = self.test;
        self.test |= super::is_test_only(attributes);
        visit(self);
        self.test = outer;
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        let lines = block.brace_token.span.close().end().line - line + 1;
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line,
            lines,
            test: self.test,
        });
    }

    fn literals_of(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.literals_of(group.stream()),
                TokenTree::Literal(literal) => {
                    let (start, end) = (literal.span().start().line, literal.span().end().line);
                    if end > start {
                        self.literals.push((start, end));
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, |reader| visit::visit_item_mod(reader, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |reader| {
            reader.function(&item.sig, &item.block);
            visit::visit_item_fn(reader, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |reader| {
            reader.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(reader, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.literals_of(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Result<Vec<(String, usize, bool)>, syn::Error> {
        let functions = read(&syn::parse_file(text)?);
        Ok(functions
            .into_iter()
            .map(|function| (function.name, function.lines, function.test))
            .collect())
    }

    #[test]
    fn a_function_is_as_long_as_its_lines_from_signature_to_brace() -> Result<(), syn::Error> {
        let text = "/// Doc.\n#[inline]\nfn a(\n    b: u8,\n) {\n    c();\n}\nimpl A {\n    fn d() {}\n}\n";
        assert_eq!(lengths(text)?, [("a".into(), 5, false), ("d".into(), 1, false)]);
        Ok(())
    }

    #[test]
    fn lines_of_sql_in_a_macro_do_not_count() -> Result<(), syn::Error> {
        let text =
            "fn a() {\n    query!(\n        \"SELECT 1,\n         2,\n         3\",\n        b,\n    );\n}\n";
        assert_eq!(lengths(text)?, [("a".into(), 6, false)]);
        Ok(())
    }

    #[test]
    fn functions_of_test_modules_are_tests() -> Result<(), syn::Error> {
        let text =
            "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n#[tokio::test]\nasync fn b() {}\nfn c() {}\n";
        assert_eq!(
            lengths(text)?,
            [
                ("a".into(), 1, true),
                ("b".into(), 1, true),
                ("c".into(), 1, false)
            ]
        );
        Ok(())
    }
}
