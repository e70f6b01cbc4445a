//! The canonical form of a JSON text, which is equal for texts with equal values.

use std::borrow::Cow;

use serde_json::Number;

use super::scan::{number_end, scan_string};

/// The maximum depth that is canonicalized; stored texts nest less deeply.
const DEPTH_MAX: usize = 256;

/// Returns the canonical form of `text`: keys sorted, no white space, one notation for equal numbers.
///
/// Numbers are compared as exact decimals, so that two numbers with the same nearest double stay different. A
/// text that is not JSON is its own canonical form.
pub fn canonical(text: &str) -> String {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let mut written = String::with_capacity(text.len());
    match reader.value(&mut written) {
        Some(()) if reader.peek().is_none() => written,
        _ => text.to_owned(),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    /// Skips white space and returns the next byte.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    fn value(&mut self, written: &mut String) -> Option<()> {
        match self.peek()? {
            b'{' => self.nested(|reader| reader.object(written)),
            b'[' => self.nested(|reader| reader.array(written)),
            b'"' => {
                let quoted = self.string()?;
                written.push_str(&plain(quoted)?);
                Some(())
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(self.text.as_bytes(), self.at + 1);
                written.push_str(&number(self.taken(end)?)?);
                Some(())
            }
            _ => {
                let rest = self.text.get(self.at..)?;
                let word = ["null", "true", "false"]
                    .into_iter()
                    .find(|word| rest.starts_with(word))?;
                self.at += word.len();
                written.push_str(word);
                Some(())
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        let read = (self.depth <= DEPTH_MAX).then(|| read(self)).flatten();
        self.depth -= 1;
        read
    }

    fn object(&mut self, written: &mut String) -> Option<()> {
        let mut entries: Vec<(Cow<'t, str>, String)> = Vec::new();
        while self.peek()? != b'}' {
            let key = decoded(self.string()?)?;
            (self.peek()? == b':').then_some(())?;
            self.at += 1;
            let mut value = String::new();
            self.value(&mut value)?;
            entries.push((key, value));
            self.separator(b'}')?;
        }
        self.at += 1;
        // stable, since the order of doubled keys matters
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        written.push('{');
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                written.push(',');
            }
            written.push_str(&serde_json::to_string(key).ok()?);
            written.push(':');
            written.push_str(value);
        }
        written.push('}');
        Some(())
    }

    fn array(&mut self, written: &mut String) -> Option<()> {
        written.push('[');
        while self.peek()? != b']' {
            self.value(written)?;
            if self.separator(b']')? {
                written.push(',');
            }
        }
        self.at += 1;
        written.push(']');
        Some(())
    }

    /// Skips a comma and returns `true`, or stays before `end` and returns `false`.
    fn separator(&mut self, end: u8) -> Option<bool> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Some(true)
            }
            byte => (byte == end).then_some(false),
        }
    }

    /// Returns the next string with its quotes.
    fn string(&mut self) -> Option<&'t str> {
        (self.peek()? == b'"').then_some(())?;
        let (end, _) = scan_string(self.text.as_bytes(), self.at + 1);
        self.taken(end)
    }

    fn taken(&mut self, end: usize) -> Option<&'t str> {
        let token = self.text.get(self.at..end)?;
        self.at = end;
        Some(token)
    }
}

/// Returns a quoted string in its shortest form.
fn plain(quoted: &str) -> Option<Cow<'_, str>> {
    if quoted.contains('\\') {
        let text: String = serde_json::from_str(quoted).ok()?;
        return serde_json::to_string(&text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(quoted))
}

fn decoded(quoted: &str) -> Option<Cow<'_, str>> {
    if quoted.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    quoted.get(1..quoted.len().checked_sub(1)?).map(Cow::Borrowed)
}

/// Returns a number in the notation of its nearest double if that is exactly equal, else as its own digits.
fn number(token: &str) -> Option<String> {
    // fast path: a short integer is its own canonical form
    let small = token.len() < 18 && token != "-0" && !token.contains(['.', 'e', 'E']);
    if small {
        return Some(token.to_owned());
    }
    let own = Decimal::read(token)?;
    if let Some(integer) = own.integer() {
        return Some(integer);
    }
    let double: f64 = token.parse().ok()?;
    let short = Number::from_f64(double).map(|number| number.to_string());
    Some(match short {
        Some(short) if Decimal::read(&short)? == own => short,
        _ => own.text(),
    })
}

/// A decimal number: digits without zeros at either end, times ten to the power of `exponent`; zero has no
/// digits.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i128,
}

impl Decimal {
    fn read(token: &str) -> Option<Self> {
        let (negative, token) = token
            .strip_prefix('-')
            .map_or((false, token), |rest| (true, rest));
        let (mantissa, exponent) = match token.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (token, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            // -0 equals 0
            return Some(Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        let scale = |length: usize| i128::try_from(length).ok();
        let exponent =
            i128::from(exponent) - scale(fraction.len())? + scale(digits.len() - significant.len())?;
        Some(Self {
            negative,
            digits: significant.to_owned(),
            exponent,
        })
    }

    /// Returns its text if it is a whole number of at most 64 bits.
    fn integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        // no 64-bit number has more than 20 digits; a huge exponent must not allocate its zeros
        let zeros = usize::try_from(self.exponent).ok().filter(|zeros| *zeros <= 20)?;
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}{}{}", self.digits, "0".repeat(zeros));
        let fits = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        fits.then_some(text)
    }

    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.digits, self.exponent)
    }
}
