//! Reads YAML 1.2 into a tree, from the events of its parser. The tree grows on the heap, and its size and
//! depth are bounded, so that neither aliases nor nesting can exhaust memory or the stack.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use tasker_core::json;

use super::{Node, Value, pointer_to, scalar};
use crate::issue::{IssueCode, Issues, Spot};
use crate::limits::{DEFINITION_BYTES, DEPTH};

/// Parses YAML. `None` after an error that leaves no tree.
pub(crate) fn from_yaml(text: &str, issues: &mut Issues) -> Option<Node> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    let mut builder = Builder::new(issues);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let line = error.marker().line();
                let message = format!("is not YAML: {}{}", error.info(), hint(text, line));
                builder.fail(line_of(line), IssueCode::Syntax, message);
                return None;
            }
        }
    }
    if builder.root.is_none() {
        builder.fail(
            1,
            IssueCode::Syntax,
            "is empty; a definition has `name` and `steps`",
        );
    }
    builder.root
}

/// Returns advice for a frequent error: brackets end a text without quotes inside `{…}` and `[…]`.
fn hint(text: &str, line: usize) -> &'static str {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let index = line.split_once('$').is_some_and(|(_, after)| after.contains('['));
    if index {
        "; inside `{…}` and `[…]` write references such as '$step.list[0]' in quotes"
    } else {
        ""
    }
}

/// Maximum size of all anchored values together.
const ANCHORED_BYTES: usize = 4 * DEFINITION_BYTES;

/// A list or object that is not complete yet.
struct Frame {
    line: u32,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Object {
        entries: Vec<(String, Node)>,
        /// The names of `entries`.
        names: HashSet<String>,
        /// The values of merge keys, `<<`.
        merged: Vec<Node>,
        /// The name of the next value, its line, and whether it is a merge key.
        key: Option<(String, u32, bool)>,
    },
}

struct Builder<'i> {
    issues: &'i mut Issues,
    frames: Vec<Frame>,
    /// Anchored values with their sizes.
    anchors: HashMap<usize, (Node, Size)>,
    /// The size of the tree.
    bytes: usize,
    /// The size of `anchors`.
    kept: usize,
    root: Option<Node>,
    documents: usize,
}

/// The size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl<'i> Builder<'i> {
    fn new(issues: &'i mut Issues) -> Self {
        Self {
            issues,
            frames: Vec::new(),
            anchors: HashMap::new(),
            bytes: 0,
            kept: 0,
            root: None,
            documents: 0,
        }
    }

    /// Handles one event; `None` after an error that leaves no tree.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = line_of(span.start.line());
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.fail(
                        line,
                        IssueCode::Syntax,
                        "has a second document; write one definition a file",
                    );
                    return None;
                }
            }
            Event::Alias(id) => self.alias(id, line)?,
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), line)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &["seq"], line);
                self.open(line, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), &["map"], line);
                let content = Content::Object {
                    entries: Vec::new(),
                    names: HashSet::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.open(line, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            _ => {}
        }
        Some(())
    }

    fn open(&mut self, line: u32, anchor: usize, content: Content) -> Option<()> {
        self.reserve(2, line)?;
        if self.key_is_next() {
            self.fail(
                line,
                IssueCode::NotJson,
                "has a list or an object as the name of a field; names are text",
            );
            return None;
        }
        if self.frames.len() >= DEPTH {
            self.fail(
                line,
                IssueCode::TooDeep,
                format!("is nested more than {DEPTH} deep"),
            );
            return None;
        }
        self.frames.push(Frame {
            line,
            anchor,
            content,
        });
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let frame = self.frames.pop()?;
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Object {
                entries,
                names,
                merged,
                ..
            } => self.merge(entries, names, merged)?,
        };
        let line = frame.line;
        self.add(Node { line, value }, frame.anchor)
    }

    /// Adds the fields of merge keys that the object does not set itself.
    fn merge(
        &mut self,
        mut entries: Vec<(String, Node)>,
        mut names: HashSet<String>,
        merged: Vec<Node>,
    ) -> Option<Value> {
        for node in merged {
            let line = node.line;
            let sources = match node.value {
                Value::List(sources) => sources,
                value => vec![Node { line, value }],
            };
            for source in sources {
                let Value::Object(fields) = source.value else {
                    self.fail(
                        line,
                        IssueCode::WrongType,
                        "merges with `<<` a value that is not an object",
                    );
                    return None;
                };
                entries.extend(fields.into_iter().filter(|(name, _)| names.insert(name.clone())));
            }
        }
        Some(Value::Object(entries))
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        line: u32,
    ) -> Option<()> {
        self.reserve(text.len() + 1, line)?;
        if text.contains('\0') {
            let message = "contains the NUL character, which cannot be stored; remove it";
            self.fail(line, IssueCode::NotStorable, message);
        }
        self.check_tag(tag, &["str"], line);
        let plain = style == ScalarStyle::Plain && tag.is_none();
        if let Some(Frame {
            content: Content::Object { key: key @ None, .. },
            ..
        }) = self.frames.last_mut()
        {
            *key = Some((text.to_owned(), line, plain && text == "<<"));
            return Some(());
        }
        let value = if plain {
            self.plain(text, line)
        } else {
            Value::Text(text.to_owned())
        };
        self.add(Node { line, value }, anchor)
    }

    fn plain(&mut self, text: &str, line: u32) -> Value {
        let Ok(value) = scalar::resolve(text) else {
            let message = format!("`{text}` is not a JSON number; write a finite number or a text in quotes");
            self.fail(line, IssueCode::NotJson, message);
            return Value::Null;
        };
        if let Value::Number(number) = &value
            && let Err(error) = json::check(number.as_bytes(), json::Limits::default())
        {
            self.fail(line, IssueCode::NotStorable, error.kind.to_string());
        }
        value
    }

    fn alias(&mut self, id: usize, line: u32) -> Option<()> {
        if self.key_is_next() {
            self.fail(
                line,
                IssueCode::NotJson,
                "has an alias as the name of a field; write the name out",
            );
            return None;
        }
        let Some((node, size)) = self.anchors.get(&id) else {
            self.fail(
                line,
                IssueCode::NotJson,
                "is an alias of a value that contains it; remove the alias",
            );
            return None;
        };
        let (node, size) = (node.clone(), *size);
        self.reserve(size.bytes, line)?;
        if self.frames.len() + size.depth > DEPTH {
            self.fail(
                line,
                IssueCode::TooDeep,
                format!("is nested more than {DEPTH} deep"),
            );
            return None;
        }
        self.add(Node { line, ..node }, 0)
    }

    /// Adds a complete value to the innermost list or object.
    fn add(&mut self, node: Node, anchor: usize) -> Option<()> {
        if anchor > 0 {
            self.keep(&node, anchor)?;
        }
        if let Some(line) = self.doubled() {
            let message = "appears twice in its object; keep one of them";
            self.fail(line, IssueCode::DuplicateField, message);
        }
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Object {
                entries,
                names,
                merged,
                key,
            }) => match key.take() {
                Some((_, line, true)) => merged.push(Node { line, ..node }),
                Some((name, line, false)) if !names.contains(&name) => {
                    names.insert(name.clone());
                    entries.push((name, Node { line, ..node }));
                }
                _ => {}
            },
        }
        Some(())
    }

    /// Keeps a copy of an anchored value for its aliases. Anchors within each other copy the same bytes
    /// again.
    fn keep(&mut self, node: &Node, anchor: usize) -> Option<()> {
        let size = size_of(node);
        self.kept += size.bytes;
        if self.kept > ANCHORED_BYTES {
            let message = "has too many anchors within each other; remove those without an alias";
            self.fail(node.line, IssueCode::TooLarge, message);
            return None;
        }
        self.anchors.insert(anchor, (node.clone(), size));
        Some(())
    }

    /// Returns the line of the next value's name if its object has that field already.
    fn doubled(&self) -> Option<u32> {
        match &self.frames.last()?.content {
            Content::Object {
                names,
                key: Some((name, line, false)),
                ..
            } if names.contains(name) => Some(*line),
            _ => None,
        }
    }

    fn key_is_next(&self) -> bool {
        let content = self.frames.last().map(|frame| &frame.content);
        matches!(content, Some(Content::Object { key: None, .. }))
    }

    /// Counts the bytes of the tree, aliases included, against the maximum size of a definition.
    fn reserve(&mut self, bytes: usize, line: u32) -> Option<()> {
        self.bytes += bytes;
        // the tree has no commas and quotes, so its JSON is longer and is checked again
        if self.bytes > DEFINITION_BYTES {
            let message = format!("has more than {DEFINITION_BYTES} bytes once its aliases are expanded");
            self.fail(line, IssueCode::TooLarge, message);
            return None;
        }
        Some(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, allowed: &[&str], line: u32) {
        let Some(tag) = tag else { return };
        if !allowed.iter().any(|name| tag.is_yaml_core_schema_tag(name)) {
            let message = format!(
                "has the tag `{}`; remove it, tags are not supported",
                tag.original()
            );
            self.fail(line, IssueCode::NotJson, message);
        }
    }

    /// Returns the pointer to the value that is read now.
    fn pointer(&self) -> String {
        self.frames
            .iter()
            .fold(String::new(), |pointer, frame| match &frame.content {
                Content::List(items) => format!("{pointer}/{}", items.len()),
                Content::Object {
                    key: Some((name, ..)),
                    ..
                } => pointer_to(&pointer, name),
                Content::Object { key: None, .. } => pointer,
            })
    }

    fn fail(&mut self, line: u32, code: IssueCode, message: impl Into<String>) {
        let pointer = self.pointer();
        self.issues.error(&Spot { pointer, line }, code, message);
    }
}

fn size_of(node: &Node) -> Size {
    let of_children = |sizes: &mut dyn Iterator<Item = Size>| {
        sizes.fold(Size { bytes: 2, depth: 1 }, |all, size| Size {
            bytes: all.bytes + size.bytes,
            depth: all.depth.max(size.depth + 1),
        })
    };
    match &node.value {
        Value::Null | Value::Bool(_) => Size { bytes: 5, depth: 0 },
        Value::Number(text) | Value::Text(text) => Size {
            bytes: text.len() + 1,
            depth: 0,
        },
        Value::List(items) => of_children(&mut items.iter().map(size_of)),
        Value::Object(entries) => of_children(&mut entries.iter().map(|(name, node)| {
            let size = size_of(node);
            Size {
                bytes: size.bytes + name.len() + 1,
                ..size
            }
        })),
    }
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
