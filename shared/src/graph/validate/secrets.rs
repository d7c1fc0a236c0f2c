//! Where secrets go: to hosts that the graph names, or to one that an expression chooses while it runs.

use serde_json::Value;

use crate::graph::finding::Findings;
use crate::graph::outside::{Piece, Reference, Text};
use crate::graph::place::Place;

/// What a request is made of, beside where it goes.
#[derive(Debug, Default)]
pub(super) struct Sent<'a> {
    pub(super) texts: Vec<&'a Text>,
    pub(super) json: Vec<&'a Value>,
}

/// Warns where a secret goes to a host that an expression chooses.
pub(super) fn check(url: &Text, sent: &Sent<'_>, place: &Place, findings: &mut Findings) {
    if !is_host_chosen(url) {
        return;
    }
    let mut secrets = Vec::new();
    [url].into_iter().chain(sent.texts.iter().copied()).for_each(|text| collect(text, &mut secrets));
    sent.json.iter().for_each(|json| collect_json(json, &mut secrets));
    if let Some(secret) = secrets.first() {
        let bound = match secret {
            Reference::Env(name) => format!("{name}@HOST"),
            Reference::File(name) => format!("file:{name}@HOST"),
        };
        let remedy = format!(
            "write the host before the first expression, with a / behind it; or let the workers bind the secret: COX_SECRETS={bound}"
        );
        findings.warning(place, format!("an expression chooses the host that {secret} is sent to")).remedy(remedy);
    }
}

/// Whether an expression says which host a URL names, or adds something to it.
fn is_host_chosen(url: &Text) -> bool {
    let (Ok(pieces), Ok(compiled)) = (url.pieces(), url.compile("")) else { return false };
    if compiled.names().is_empty() {
        return false;
    }
    let mut fixed = String::new();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) => {
                let begins = ["{{", "{%", "{#"].into_iter().filter_map(|sign| plain.find(sign)).min();
                fixed.push_str(&plain[..begins.unwrap_or(plain.len())]);
                if begins.is_some() {
                    break;
                }
            }
            // Such as `${env:OPENAI_BASE_URL}`: the operators choose.
            Piece::Secret(_) if fixed.trim().is_empty() => fixed.push_str("https://host"),
            Piece::Secret(_) => fixed.push_str("secret"),
        }
    }
    let behind_scheme = fixed.split_once("://").map(|(_, rest)| rest);
    !behind_scheme.is_some_and(|rest| rest.contains(['/', '?', '#', '\\']))
}

fn collect(text: &Text, secrets: &mut Vec<Reference>) {
    for piece in text.pieces().unwrap_or_default() {
        match piece {
            // A URL of the operators is no secret.
            Piece::Secret(Reference::Env(name)) if name.ends_with("_BASE_URL") => {}
            Piece::Secret(secret) => secrets.push(secret),
            Piece::Plain(_) => {}
        }
    }
}

fn collect_json(json: &Value, secrets: &mut Vec<Reference>) {
    match json {
        Value::String(text) => collect(&Text(text.clone()), secrets),
        Value::Array(items) => items.iter().for_each(|item| collect_json(item, secrets)),
        Value::Object(fields) => fields.values().for_each(|field| collect_json(field, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_chosen_unless_the_graph_ends_it_before_the_first_expression() {
        let is_chosen = |url: &str| is_host_chosen(&Text(url.to_owned()));
        for url in [
            "{{ u }}",
            "https://{{ host }}/x",
            "https://api.example.com{{ path }}",
            "https://api.example.com:{{ port }}/",
            "https://{{ user }}@api.example.com/",
            "{{ scheme }}://api.example.com/",
            "${env:OPENAI_BASE_URL}{{ path }}",
            "{% if a %}https://a/{% else %}https://b/{% endif %}",
            "https://x.${env:ZONE}{{ rest }}",
        ] {
            assert!(is_chosen(url), "{url}");
        }
        for url in [
            "https://api.example.com/{{ path }}",
            "https://api.example.com?q={{ q }}",
            "${env:OPENAI_BASE_URL}/{{ path }}",
            "https://user:${env:KEY}@api.example.com/{{ path }}",
            "https://api.example.com",
            "${env:HOOK}",
            "{{ 'https://api.example.com/' }}",
        ] {
            assert!(!is_chosen(url), "{url}");
        }
    }
}
