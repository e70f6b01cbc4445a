//! A scanner that separates comments and string literals from code; `syn` drops plain comments.

/// The kind of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `///`, `//!` and their block forms.
    Doc,
    /// Any other comment.
    Comment,
    /// A string literal.
    Literal,
}

/// One line of a comment or of a string literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    /// The line on which the whole comment or literal ends.
    pub(crate) last: usize,
    /// Without the marks that begin and end it.
    pub(crate) text: String,
}

/// Returns the comments and string literals of `text`, and the text with both blanked out.
pub(crate) fn scan(text: &str) -> (Vec<Piece>, String) {
    let mut scanner = Scanner {
        rest: text,
        line: 1,
        pieces: Vec::new(),
        code: String::with_capacity(text.len()),
    };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    (scanner.pieces, scanner.code)
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    pieces: Vec<Piece>,
    code: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        if rest.starts_with("//") {
            self.line_comment();
        } else if rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(body) = rest.strip_prefix('"') {
            self.piece(Kind::Literal, 1, string_end(body) + 1, 1);
        } else if let Some(hashes) = raw_string(rest) {
            let open = hashes + 2;
            let close = format!("\"{}", "#".repeat(hashes));
            let body = rest[open..].find(&close).unwrap_or(rest.len() - open);
            self.piece(Kind::Literal, open, open + body, close.len());
        } else if let Some(length) = character(rest) {
            self.code(length);
        } else {
            // A whole word at a time, so that the `r` of `for"` is not taken for a raw string.
            let word = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let length = if word > 0 && !matches!(&rest[..word], "r" | "b" | "c" | "br" | "cr") {
                word
            } else {
                rest.chars().next().map_or(0, char::len_utf8)
            };
            self.code(length);
        }
    }

    fn line_comment(&mut self) {
        let rest = self.rest;
        let end = rest.find('\n').unwrap_or(rest.len());
        let doc = rest.starts_with("//!") || (rest.starts_with("///") && !rest.starts_with("////"));
        let (kind, open) = if doc { (Kind::Doc, 3) } else { (Kind::Comment, 2) };
        self.piece(kind, open, end, 0);
    }

    fn block_comment(&mut self) {
        let rest = self.rest;
        let doc = rest.starts_with("/*!") || (rest.starts_with("/**") && !rest.starts_with("/**/"));
        let (kind, open) = if doc { (Kind::Doc, 3) } else { (Kind::Comment, 2) };
        let (mut depth, mut at) = (1, open);
        while depth > 0 && at < rest.len() {
            let tail = &rest.as_bytes()[at..];
            let (change, length) = match tail {
                [b'/', b'*', ..] => (1, 2),
                [b'*', b'/', ..] => (-1, 2),
                _ => (0, 1),
            };
            depth += change;
            at += length;
        }
        self.piece(kind, open, at.saturating_sub(2).max(open), 2);
    }

    /// Takes a piece whose text is `start..end` of the rest and that `close` bytes end.
    fn piece(&mut self, kind: Kind, start: usize, end: usize, close: usize) {
        let end = end.min(self.rest.len());
        let text = &self.rest[start.min(end)..end];
        let last = self.line + text.matches('\n').count();
        for (line, text) in (self.line..).zip(text.split('\n')) {
            self.pieces.push(Piece {
                kind,
                line,
                last,
                text: text.trim().to_owned(),
            });
        }
        self.code.push(' ');
        self.code.extend(std::iter::repeat_n('\n', last - self.line));
        self.line = last;
        self.rest = &self.rest[(end + close).min(self.rest.len())..];
    }

    fn code(&mut self, length: usize) {
        let (code, rest) = self.rest.split_at(length);
        self.line += code.matches('\n').count();
        self.code.push_str(code);
        self.rest = rest;
    }
}

/// Returns the offset of the quote that ends a string, whose text begins at `rest`.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the number of `#` of the raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    (after.as_bytes().get(hashes) == Some(&b'"')).then_some(hashes)
}

/// Returns the length of the character literal that begins here; a lifetime is not one.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    if body.starts_with('\\') {
        return body[2..].find('\'').map(|end| end + 4);
    }
    let first = body.chars().next()?.len_utf8();
    body[first..].starts_with('\'').then_some(first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(Kind, usize, String)> {
        scan(text)
            .0
            .into_iter()
            .map(|piece| (piece.kind, piece.line, piece.text))
            .collect()
    }

    #[test]
    fn comments_and_literals_are_found_with_their_lines() {
        let text =
            "//! Top.\n/// Doc.\nfn a() { // why\n    b(\"x // y\", r#\"raw \"q\" \"#); /* c\n d */\n}\n";
        assert_eq!(
            texts(text),
            [
                (Kind::Doc, 1, "Top.".into()),
                (Kind::Doc, 2, "Doc.".into()),
                (Kind::Comment, 3, "why".into()),
                (Kind::Literal, 4, "x // y".into()),
                (Kind::Literal, 4, "raw \"q\"".into()),
                (Kind::Comment, 4, "c".into()),
                (Kind::Comment, 5, "d".into()),
            ]
        );
    }

    #[test]
    fn characters_and_lifetimes_do_not_open_a_string() {
        assert_eq!(
            texts("fn a<'a>(b: &'a str) { c('\"', '\\'', '\\u{1F}', b'\"') }"),
            []
        );
        assert_eq!(texts("let a = b'x'; // end"), [(Kind::Comment, 1, "end".into())]);
    }

    #[test]
    fn code_keeps_its_lines_without_comments_and_literals() {
        let (_, code) = scan("a::b(\"c::d\n e\"); // f::g\nh::i();\n");
        assert!(code.contains("a::b") && code.contains("h::i"));
        assert!(!code.contains("c::d") && !code.contains("f::g"));
        assert_eq!(code.lines().count(), 3);
    }

    #[test]
    fn escaped_quotes_stay_inside_a_string() {
        assert_eq!(texts(r#"a("b \" c \\"); // d"#).len(), 2);
    }
}
