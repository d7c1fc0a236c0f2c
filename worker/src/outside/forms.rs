//! What a secret becomes on its way: what is sent is seldom the very text that was set, and what comes back is what was sent.
//!
//! | where | what becomes of it |
//! |---|---|
//! | a header | blanks around it are dropped; its bytes are read as Latin-1, or as Windows-1252 |
//! | a URL | tabs and line breaks are dropped, blanks around it too; `#` and `?` cut it; `..` leads out of it; a host is in lower case, or in Punycode |
//! | a login | it is percent-decoded, and a part of base64 |
//! | a form | `+` stands for a space |
//! | JSON | digits may come back as a number |
//!
//! How each of its characters may be encoded is no matter of this module.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::{Number, Value};

use super::echo::{Case, latin};

/// Shorter values are found everywhere, and tell nothing.
const REDACTED_MIN: usize = 4;
/// Shorter parts of a value are words that texts have anyway.
const PART_MIN: usize = 8;
/// Letters of base64 that may come by chance.
const ENCODED_MIN: usize = 5;
/// What Windows-1252 has in place of the control characters from 0x80 to 0x9f.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// One of the texts that a secret is known by.
pub(super) type Form = (String, Case);

/// All that a value is known by.
pub(super) fn forms(value: &str) -> BTreeSet<Form> {
    let mut texts = variants(value);
    for variant in texts.clone() {
        texts.extend(readings(&variant));
    }
    let mut forms: BTreeSet<Form> = BTreeSet::new();
    for text in &texts {
        if text.len() >= REDACTED_MIN {
            forms.extend(encoded(text.as_bytes()));
            forms.extend(latin_bytes(text).iter().flat_map(|bytes| encoded(bytes)));
        }
    }
    texts.extend(of_url(value));
    texts.extend(parts(value));
    texts.extend(numbers(value));
    // Letters that become several in another case: `ß` and `SS`, `ﬁ` and `FI`, `İ` and `i̇`.
    texts.extend(texts.clone().iter().flat_map(|text| [text.to_uppercase(), text.to_lowercase()]));
    forms.extend(texts.into_iter().filter(|text| text.len() >= REDACTED_MIN).map(|text| (text, Case::Any)));
    forms
}

/// The password that a URL may hold: as it is written there, and as it is meant.
pub(super) fn passwords(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url.trim()) else { return Vec::new() };
    let Some(password) = url.password() else { return Vec::new() };
    vec![password.to_owned(), percent_decode_str(password).decode_utf8_lossy().into_owned()]
}

/// Whether a number of JSON is this value.
pub(super) fn is_number(value: &str, number: &Number) -> bool {
    let digits = number.to_string().bytes().filter(u8::is_ascii_digit).count();
    if digits < REDACTED_MIN {
        return false;
    }
    let Some(meant) = read_number(value) else { return false };
    // Beyond 53 bits, its neighbours are taken for it too.
    number.as_f64().is_some_and(|number| number.to_bits() == meant.to_bits())
}

fn read_number(value: &str) -> Option<f64> {
    let value = value.trim();
    let is_number = value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'));
    is_number.then(|| value.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// How a value of digits is written once it was read as a number.
fn numbers(value: &str) -> Vec<String> {
    let Some(number) = read_number(value) else { return Vec::new() };
    let written = Value::from(number).to_string();
    let digits = value.trim().trim_start_matches(['+', '0']).to_owned();
    vec![digits, written.replace("e+", "e"), written.replace("e+", "e").replace('e', "e+")]
}

/// The value itself, and what is left of it where it was sent.
fn variants(value: &str) -> BTreeSet<String> {
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let mut variants = BTreeSet::from([value.to_owned(), value.trim_matches(is_blank).to_owned()]);
    variants.insert(value.trim_matches(is_blank).replace(['\t', '\n', '\r'], ""));
    variants.extend(passwords(value));
    for variant in variants.clone() {
        let spaced = variant.replace('+', " ");
        for text in [variant.as_str(), spaced.as_str()] {
            variants.insert(percent_decode_str(text).decode_utf8_lossy().into_owned());
        }
    }
    variants
}

/// What those read who take the bytes for another character set.
fn readings(text: &str) -> Vec<String> {
    if text.is_ascii() {
        return Vec::new();
    }
    let as_latin = text.bytes().map(char::from).collect();
    let as_windows = text.bytes().map(|byte| match byte {
        0x80..=0x9f => WINDOWS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    });
    let mut readings = vec![as_latin, as_windows.collect()];
    // What was sent in Latin-1 is no UTF-8: what is not is shown as U+FFFD.
    readings.extend(latin_bytes(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    readings
}

/// A text that is not ASCII in the bytes of Latin-1, if it can be.
fn latin_bytes(text: &str) -> Option<Vec<u8>> {
    if text.is_ascii() { None } else { text.chars().map(latin).collect() }
}

/// What a URL makes of a value: as a path, as a host, and as a URL of its own.
fn of_url(value: &str) -> Vec<String> {
    let mut url = Url::parse("http://host/").expect("a constant URL is well formed");
    url.set_path(value);
    // A URL drops what leads nowhere: what is left of `////` is nothing, which is found everywhere.
    let in_path = url.path().trim_start_matches('/').to_owned();
    let mut forms = vec![percent_decode_str(&in_path).decode_utf8_lossy().into_owned(), in_path];
    // Put into a URL as it is, `..` leads out of it, and its query stays with its path.
    if let Ok(url) = Url::parse(&format!("http://host/{value}")) {
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let sent = format!("{}{query}", url.path().trim_start_matches('/'));
        let told = [percent_decode_str(&sent).decode_utf8_lossy().into_owned(), sent];
        forms.extend(told.into_iter().filter(|form| form.len() >= PART_MIN));
    }
    if !value.contains(['/', '?', '#', '@', ':', '\\']) {
        let of_host = Url::parse(&format!("http://{value}/")).ok();
        forms.extend(of_host.and_then(|url| url.host_str().map(str::to_owned)));
    }
    if let Ok(url) = Url::parse(value.trim())
        && url.has_host()
    {
        forms.push(url.to_string());
        let told = [url.path().trim_start_matches('/'), url.query().unwrap_or_default()];
        forms.extend(told.iter().filter(|part| part.len() >= PART_MIN).map(|part| (*part).to_owned()));
    }
    forms
}

/// What is left of a value that was put into a URL as it is: `?` and `#` end a path, and what is behind `#` is not sent.
fn parts(value: &str) -> Vec<String> {
    let pieces = value.split(['?', '#']).chain(value.split('#').next());
    pieces.map(str::trim).filter(|piece| piece.len() >= PART_MIN).map(str::to_owned).collect()
}

/// What stands for bytes in whatever base64 they are a part of, and in hexadecimal.
fn encoded(bytes: &[u8]) -> Vec<Form> {
    let hex = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let hex = hex.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
    let mut forms = vec![(hex, Case::Any)];
    for before in 0..3 {
        let bytes = [&b"\0\0"[..before], bytes].concat();
        // A letter is six bits: the first ones are shared with what stands before, the last with what stands behind.
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let texts = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
        let texts = texts.map(|text| text[first..last].to_owned()).into_iter();
        forms.extend(texts.filter(|text| text.len() >= ENCODED_MIN).map(|text| (text, Case::Exact)));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_and_its_password_is_not() {
        assert_eq!(passwords("http://u:p%40ss@host/v1"), ["p%40ss", "p@ss"]);
        assert!(passwords("http://host/v1").is_empty() && passwords("?").is_empty());
    }

    #[test]
    fn a_number_is_known_by_what_it_means() {
        let is = |value: &str, number: &str| is_number(value, &number.parse().unwrap());
        assert!(is("8472915036", "8472915036") && is("00042424", "42424") && is(" 12345\n", "12345.0"));
        assert!(is("12345678901234567890123", "12345678901234567890123"));
        assert!(!is("8472915036", "8472915037") && !is("1.0000", "1") && !is("key", "1234") && !is("12345", "123456"));
    }
}
