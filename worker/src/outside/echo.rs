//! How a secret may come back in a text: as it was, in another case, or with each character encoded by whoever repeats it.
//!
//! | where | `+` may be | `ö` may also be |
//! |---|---|---|
//! | JSON, and JSON within JSON | `\u002b`, `\/` for `/`, with any number of backslashes before | `\u00f6` |
//! | texts of programming languages | `\x2b`, `\u{2b}` | `\xf6`, `\xc3\xb6` |
//! | a URL | `%2B`, `%252B`, and `+` for a space | `%C3%B6`, and `%F6` in Latin-1 |
//! | HTML | `&#43;`, `&#x2b;`, `&plus;` | `&#246;`, `&ouml;` |

use super::entities;

/// The characters that an encoded character may begin with.
pub(super) const ESCAPES: [char; 4] = ['\\', '%', '&', '+'];

/// Whether a text begins with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It does not.
    No,
    /// It ends within the secret: what follows may be the rest.
    Begun,
    /// It does, in so many bytes.
    Whole(usize),
}

/// Whether upper and lower case are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Case {
    /// They are: a host is sent in lower case, and a name of a header may come back in any.
    Any,
    /// They are not: in base64, another case is another text.
    Exact,
}

impl Case {
    /// Whether two characters are the same.
    pub(super) fn same(self, one: char, other: char) -> bool {
        one == other || (self == Self::Any && one.to_lowercase().eq(other.to_lowercase()))
    }

    /// How a character may be written.
    fn spellings(self, wanted: char) -> impl Iterator<Item = char> {
        let (lower, upper) = match self {
            Self::Any => (wanted.to_lowercase().next(), wanted.to_uppercase().next()),
            Self::Exact => (None, None),
        };
        [Some(wanted), lower.filter(|lower| *lower != wanted), upper.filter(|upper| *upper != wanted)]
            .into_iter()
            .flatten()
    }
}

/// Whether a text begins with this secret, however its characters are encoded.
pub(super) fn begins(text: &str, secret: &str, case: Case) -> Found {
    // What looks like an encoded character may be a part of the secret: `&amp;` is five characters or one.
    match begins_encoded(text, secret, case) {
        Found::No => begins_plain(text, secret, case),
        found => found,
    }
}

fn begins_plain(text: &str, secret: &str, case: Case) -> Found {
    let mut rest = text.chars();
    for wanted in secret.chars() {
        match rest.next() {
            None => return Found::Begun,
            Some(next) if case.same(next, wanted) => {}
            Some(_) => return Found::No,
        }
    }
    Found::Whole(text.len() - rest.as_str().len())
}

fn begins_encoded(text: &str, secret: &str, case: Case) -> Found {
    let mut rest = text;
    let mut wanted = secret.chars().peekable();
    while let Some(next) = wanted.next() {
        // However many backslashes there were, and there are now.
        while next == '\\' && wanted.next_if_eq(&'\\').is_some() {}
        match strip(rest, next, case) {
            Some(behind) => rest = behind,
            None if is_cut(rest) => return Found::Begun,
            None => return Found::No,
        }
    }
    Found::Whole(text.len() - rest.len())
}

/// What follows this character, if the text begins with it.
fn strip(text: &str, wanted: char, case: Case) -> Option<&str> {
    let first = text.chars().next()?;
    if !ESCAPES.contains(&first) {
        return case.same(first, wanted).then(|| &text[first.len_utf8()..]);
    }
    case.spellings(wanted).find_map(|wanted| strip_encoded(text, wanted))
}

fn strip_encoded(text: &str, wanted: char) -> Option<&str> {
    let plain = text.trim_start_matches('\\');
    let is_escaped = plain.len() < text.len();
    if wanted == '\\' && is_escaped {
        // A backslash that belongs to the character behind does it no harm to be gone.
        return in_json(plain, wanted).or(Some(plain));
    }
    let escaped = || is_escaped.then(|| in_json(plain, wanted).or_else(|| in_bytes(plain, wanted))).flatten();
    in_url(text, wanted).or_else(|| in_html(text, wanted)).or_else(|| plain.strip_prefix(wanted)).or_else(escaped)
}

fn in_json(text: &str, wanted: char) -> Option<&str> {
    let letter = match wanted {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        _ => return in_units(text, wanted).or_else(|| in_braces(text, wanted)),
    };
    text.strip_prefix(letter).or_else(|| in_units(text, wanted)).or_else(|| in_braces(text, wanted))
}

/// `\u00f6`, and two of them for a character beyond the first 65,536.
fn in_units(text: &str, wanted: char) -> Option<&str> {
    let mut units = [0; 2];
    wanted.encode_utf16(&mut units).iter().try_fold(text, |text, unit| {
        let digits = text.trim_start_matches('\\').strip_prefix('u')?;
        (number(digits.get(..4)?, 16)? == u32::from(*unit)).then(|| &digits[4..])
    })
}

/// `\u{f6}`.
fn in_braces(text: &str, wanted: char) -> Option<&str> {
    let (digits, behind) = text.strip_prefix("u{")?.split_once('}')?;
    (number(digits, 16)? == u32::from(wanted)).then_some(behind)
}

/// `\xf6`, or the bytes of UTF-8: `\xc3\xb6`.
fn in_bytes(text: &str, wanted: char) -> Option<&str> {
    let byte = |text: &'_ str, wanted: u8| -> Option<usize> {
        let digits = text.trim_start_matches('\\').strip_prefix('x')?;
        (number(digits.get(..2)?, 16)? == u32::from(wanted)).then(|| text.len() - digits.len() + 2)
    };
    if let Some(length) = latin(wanted).and_then(|latin| byte(text, latin)) {
        return Some(&text[length..]);
    }
    let mut bytes = [0; 4];
    wanted
        .encode_utf8(&mut bytes)
        .bytes()
        .try_fold(text, |text, wanted| byte(text, wanted).map(|length| &text[length..]))
}

/// The byte of a character in Latin-1.
pub(super) fn latin(character: char) -> Option<u8> {
    u8::try_from(u32::from(character)).ok()
}

fn in_url(text: &str, wanted: char) -> Option<&str> {
    if wanted == ' ' && text.starts_with('+') {
        return Some(&text[1..]);
    }
    if let Some(behind) = latin(wanted).and_then(|latin| strip_percent(text, latin)) {
        return Some(behind);
    }
    let mut bytes = [0; 4];
    wanted.encode_utf8(&mut bytes).bytes().try_fold(text, strip_percent)
}

fn strip_percent(text: &str, byte: u8) -> Option<&str> {
    let mut digits = text.strip_prefix('%')?;
    // A URL within a URL.
    while let Some(inner) = digits.strip_prefix("25").filter(|inner| !inner.is_empty()) {
        digits = inner;
    }
    (number(digits.get(..2)?, 16)? == u32::from(byte)).then(|| &digits[2..])
}

fn in_html(text: &str, wanted: char) -> Option<&str> {
    let name = text.strip_prefix('&')?;
    if let Some(digits) = name.strip_prefix('#') {
        let (digits, base) = digits.strip_prefix(['x', 'X']).map_or((digits, 10), |digits| (digits, 16));
        let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
        let (code, behind) = digits.split_at(end);
        return (number(code, base)? == u32::from(wanted)).then(|| behind.strip_prefix(';').unwrap_or(behind));
    }
    entities::names(wanted).find_map(|known| name.strip_prefix(known)?.strip_prefix(';'))
}

fn number(digits: &str, base: u32) -> Option<u32> {
    digits.bytes().all(|digit| digit.is_ascii_alphanumeric()).then(|| u32::from_str_radix(digits, base).ok()).flatten()
}

/// Whether all that is left of a text may be the beginning of an encoded character.
fn is_cut(text: &str) -> bool {
    const LONGEST: usize = 16;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'\\' | b'%' | b'&' | b'#' | b'{');
    text.is_empty() || (text.starts_with(['\\', '%', '&']) && text.len() < LONGEST && text.bytes().all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(text: &str, secret: &str) -> Found {
        super::begins(text, secret, Case::Any)
    }

    #[test]
    fn a_secret_is_known_in_every_encoding() {
        let secret = "a+b/c=\"d\\e f&g";
        for encoded in [
            secret,
            r#"a+b/c=\"d\\e f&g"#,
            r"a\u002Bb\/c\u003d\u0022d\u005Ce f\u0026g",
            r#"a\\u002bb\\\/c=\\\"d\\\\e f&g"#,
            "a%2Bb%2Fc%3D%22d%5ce+f%26g",
            "a%252Bb/c%253d%22d%5Ce%20f&g",
            "a&#43;b&#x2F;c=&quot;d\\e f&amp;g",
        ] {
            let told = format!("{encoded} and more");
            let found = begins(&told, secret);
            // `%5c` is not a backslash that was put before something.
            let whole = Found::Whole(encoded.len());
            assert_eq!(found, whole, "{encoded}");
        }
        for secret in ["a&amp;b", "a%20b", "a&#43;b", r"a\u002b"] {
            assert_eq!(begins(&format!("{secret}!"), secret), Found::Whole(secret.len()));
        }
        assert_eq!(begins("größe", "grö"), Found::Whole(4));
        assert_eq!(begins(r"gr\u00f6ße", "grö"), Found::Whole(8));
        assert_eq!(begins("gr%C3%B6ße", "grö"), Found::Whole(8));
        assert_eq!(begins(r"\ud83d\ude80!", "🚀"), Found::Whole(12));
        for (encoded, secret) in [
            ("A%2bB", "a+B"),
            ("HUNTER2", "hunter2"),
            ("GR%F6E", "größe".replace("ße", "e").as_str()),
            (r"gr\xf6", "grö"),
            (r"gr\xc3\xb6", "grö"),
            (r"gr\u{f6}", "grö"),
            ("gr&ouml;", "grö"),
            ("gr&#246", "grö"),
            ("gr&#x00F6;", "grö"),
            ("GR%c3%96", "grö"),
            ("a&plus;b&sol;c", "a+b/c"),
        ] {
            assert_eq!(begins(&format!("{encoded} and"), secret), Found::Whole(encoded.len()), "{encoded}");
        }
    }

    #[test]
    fn what_is_something_else_is_let_be() {
        assert_eq!(super::begins("A+b", "a+b", Case::Exact), Found::No);
        for text in ["a-b", r"a\nb", "a%2Cb", "a&lt;b", "", "a%zz", "a%", r"a\u00"] {
            assert!(!matches!(begins(text, "a+b"), Found::Whole(_)), "{text}");
        }
        assert_eq!(begins("a%2Cb is another", "a+b"), Found::No);
    }

    #[test]
    fn a_text_that_ends_within_a_secret_may_go_on() {
        for text in ["", "a", "a+", r"a\u00", "a%2", "a%", "a&#4", r"a\"] {
            assert_eq!(begins(text, "a+b"), Found::Begun, "{text}");
        }
        assert_eq!(begins("a is", "a+b"), Found::No);
    }
}
