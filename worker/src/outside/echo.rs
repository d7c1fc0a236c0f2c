//! How a secret may come back in a text: as it was, or in the dress that whoever repeats it has put on each of its characters.
//!
//! | where | `+` may be |
//! |---|---|
//! | JSON, and JSON within JSON | `\u002b`, `\/` for `/`, with any number of backslashes before |
//! | an address | `%2B`, `%252B`, and `+` for a space |
//! | HTML | `&#43;`, `&#x2b;`, `&amp;` for `&` |

/// With what a character in a dress begins.
pub(super) const IN_DRESS: [char; 4] = ['\\', '%', '&', '+'];
/// Characters of HTML with a name.
const NAMED: [(&str, char); 5] = [("amp;", '&'), ("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("apos;", '\'')];

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

/// Whether a text begins with this secret, in any dress.
pub(super) fn begins(text: &str, secret: &str) -> Found {
    // What looks like a dress may be a part of the secret: `&amp;` is five characters or one.
    match begins_dressed(text, secret) {
        Found::No if text.starts_with(secret) => Found::Whole(secret.len()),
        Found::No if secret.starts_with(text) => Found::Begun,
        found => found,
    }
}

fn begins_dressed(text: &str, secret: &str) -> Found {
    let mut rest = text;
    let mut wanted = secret.chars().peekable();
    while let Some(next) = wanted.next() {
        // However many backslashes there were, and there are now.
        while next == '\\' && wanted.next_if_eq(&'\\').is_some() {}
        match strip(rest, next) {
            Some(behind) => rest = behind,
            None if is_cut(rest) => return Found::Begun,
            None => return Found::No,
        }
    }
    Found::Whole(text.len() - rest.len())
}

/// What follows this character, if the text begins with it.
fn strip(text: &str, wanted: char) -> Option<&str> {
    let plain = text.trim_start_matches('\\');
    let is_escaped = plain.len() < text.len();
    if wanted == '\\' && is_escaped {
        // A backslash that belongs to the character behind does it no harm to be gone.
        return in_json(plain, wanted).or(Some(plain));
    }
    let escaped = || is_escaped.then(|| in_json(plain, wanted)).flatten();
    in_address(text, wanted).or_else(|| in_html(text, wanted)).or_else(|| plain.strip_prefix(wanted)).or_else(escaped)
}

fn in_json(text: &str, wanted: char) -> Option<&str> {
    let letter = match wanted {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        _ => {
            let mut units = [0; 2];
            return wanted.encode_utf16(&mut units).iter().try_fold(text, |text, unit| {
                let digits = text.trim_start_matches('\\').strip_prefix('u')?;
                (number(digits.get(..4)?, 16)? == u32::from(*unit)).then(|| &digits[4..])
            });
        }
    };
    text.strip_prefix(letter)
}

fn in_address(text: &str, wanted: char) -> Option<&str> {
    if wanted == ' ' && text.starts_with('+') {
        return Some(&text[1..]);
    }
    let mut bytes = [0; 4];
    wanted.encode_utf8(&mut bytes).bytes().try_fold(text, |text, byte| {
        let mut digits = text.strip_prefix('%')?;
        // An address within an address.
        while let Some(inner) = digits.strip_prefix("25").filter(|inner| !inner.is_empty()) {
            digits = inner;
        }
        (number(digits.get(..2)?, 16)? == u32::from(byte)).then(|| &digits[2..])
    })
}

fn in_html(text: &str, wanted: char) -> Option<&str> {
    let name = text.strip_prefix('&')?;
    if let Some(digits) = name.strip_prefix('#') {
        let (digits, behind) = digits.split_once(';')?;
        let code = match digits.strip_prefix(['x', 'X']) {
            Some(digits) => number(digits, 16)?,
            None => number(digits, 10)?,
        };
        return (code == u32::from(wanted)).then_some(behind);
    }
    NAMED.iter().filter(|(_, named)| *named == wanted).find_map(|(known, _)| name.strip_prefix(known))
}

fn number(digits: &str, base: u32) -> Option<u32> {
    digits.bytes().all(|digit| digit.is_ascii_alphanumeric()).then(|| u32::from_str_radix(digits, base).ok()).flatten()
}

/// Whether all that is left of a text may be the beginning of a character in a dress.
fn is_cut(text: &str) -> bool {
    const LONGEST: usize = 16;
    let is_dress = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'\\' | b'%' | b'&' | b'#');
    text.is_empty() || (text.starts_with(['\\', '%', '&']) && text.len() < LONGEST && text.bytes().all(is_dress))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_in_every_dress() {
        let secret = "a+b/c=\"d\\e f&g";
        for dressed in [
            secret,
            r#"a+b/c=\"d\\e f&g"#,
            r"a\u002Bb\/c\u003d\u0022d\u005Ce f\u0026g",
            r#"a\\u002bb\\\/c=\\\"d\\\\e f&g"#,
            "a%2Bb%2Fc%3D%22d%5ce+f%26g",
            "a%252Bb/c%253d%22d%5Ce%20f&g",
            "a&#43;b&#x2F;c=&quot;d\\e f&amp;g",
        ] {
            let told = format!("{dressed} and more");
            let found = begins(&told, secret);
            // `%5c` is not a backslash that was put before something.
            let whole = Found::Whole(dressed.len());
            assert_eq!(found, whole, "{dressed}");
        }
        for secret in ["a&amp;b", "a%20b", "a&#43;b", r"a\u002b"] {
            assert_eq!(begins(&format!("{secret}!"), secret), Found::Whole(secret.len()));
        }
        assert_eq!(begins("größe", "grö"), Found::Whole(4));
        assert_eq!(begins(r"gr\u00f6ße", "grö"), Found::Whole(8));
        assert_eq!(begins("gr%C3%B6ße", "grö"), Found::Whole(8));
        assert_eq!(begins(r"\ud83d\ude80!", "🚀"), Found::Whole(12));
    }

    #[test]
    fn what_is_something_else_is_let_be() {
        for text in ["a-b", "A+b", r"a\nb", "a%2Cb", "a&lt;b", "", "a%zz", "a%", r"a\u00"] {
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
