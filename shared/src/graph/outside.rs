//! Nodes that call the outside, as data; and the texts that they send: templates that may refer to secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::Expression;
use crate::expr::{self, Program, Scope, Template};
use crate::id::ChannelName;

/// A text with `{{ expressions }}`, and with references to what only the worker knows: `${env:NAME}`, `${file:NAME}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub String);

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpNode {
    /// What is done.
    #[serde(default, skip_serializing_if = "Method::is_get")]
    pub method: Method,
    /// Where: `http://…` or `https://…`.
    pub url: Text,
    /// The request's headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
    /// The request's body as JSON: every text in it is a [`Text`]; one that is nothing but one `{{ expression }}` becomes
    /// the value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The request's body as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Text>,
    /// Statuses that count as success, beside 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<u16>,
    /// Statuses after which another try may help. Absent: [`RETRY_ON`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<u16>>,
    /// The longest body that is read, in bytes. Absent: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What is written: an expression for each channel, over the state and `status`, `headers` and `response`, which is
    /// the body. Absent: the body, into the node's `into`; without it, the body is an object of writes by channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BTreeMap<ChannelName, Expression>>,
}

impl HttpNode {
    /// A request that sends nothing.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: Text(url.into()),
            headers: BTreeMap::new(),
            json: None,
            body: None,
            accept: Vec::new(),
            retry_on: None,
            max_bytes: None,
            output: None,
        }
    }

    /// The names that its texts and expressions use; nothing if one of them cannot be read.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        text_names([&self.url].into_iter().chain(self.headers.values()).chain(&self.body), &mut names)?;
        json_names(self.json.as_ref().unwrap_or(&Value::Null), &mut names)?;
        output_names(self.output.as_ref(), &ANSWER_NAMES, &mut names)?;
        Some(names)
    }
}

/// Adds the names that texts use.
pub(super) fn text_names<'a>(texts: impl IntoIterator<Item = &'a Text>, names: &mut BTreeSet<String>) -> Option<()> {
    for text in texts {
        names.extend(text.compile("").ok()?.names());
    }
    Some(())
}

/// Adds the names that expressions over an answer use, but for the answer's own.
pub(super) fn output_names(
    output: Option<&BTreeMap<ChannelName, Expression>>,
    own: &[&str],
    names: &mut BTreeSet<String>,
) -> Option<()> {
    for expression in output.into_iter().flat_map(BTreeMap::values) {
        let program = Program::compile(expression.0.as_str()).ok()?;
        names.extend(program.names().filter(|name| !own.contains(name)).map(str::to_owned));
    }
    Some(())
}

/// Adds the names that the texts within JSON use.
pub(super) fn json_names(json: &Value, names: &mut BTreeSet<String>) -> Option<()> {
    match json {
        Value::String(text) => names.extend(Text(text.clone()).compile_value("").ok()?.names()),
        Value::Array(items) => items.iter().try_for_each(|item| json_names(item, names))?,
        Value::Object(fields) => fields.values().try_for_each(|field| json_names(field, names))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Some(())
}

/// Statuses that may pass: too early, too many, and what a server or one on the way says when it is busy or away.
pub const RETRY_ON: [u16; 8] = [408, 409, 425, 429, 500, 502, 503, 504];
/// The names that an `http` node's `output` has beside the channels.
pub const ANSWER_NAMES: [&str; 3] = ["headers", "response", "status"];

/// What a request does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the words are those of HTTP")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it is the one that goes without saying.
    pub fn is_get(&self) -> bool {
        *self == Self::Get
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let found = Self::ALL.into_iter().find(|method| method.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownMethod(text.to_owned()))
    }
}

/// A word that is no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no method `{0}`: there is GET, HEAD, POST, PUT, PATCH and DELETE")]
pub struct UnknownMethod(String);

/// What a reference in a [`Text`] points to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A variable of the worker's environment.
    Env(String),
    /// A file in the worker's folder of secrets.
    File(String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(name) => write!(f, "${{file:{name}}}"),
        }
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A piece of a template.
    Plain(&'a str),
    /// A reference.
    Secret(Reference),
}

/// A reference that is not written as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no reference: write ${{env:NAME}} or ${{file:NAME}}, where a name has letters, digits, `_`, `-` and `.`"
)]
pub struct BadReference(String);

impl Text {
    /// The text in pieces. Only what is written in the graph is looked at: a reference in the state is plain text.
    pub fn pieces(&self) -> Result<Vec<Piece<'_>>, BadReference> {
        let (mut pieces, mut rest) = (Vec::new(), self.0.as_str());
        while let Some(start) = ["${env:", "${file:"].iter().filter_map(|open| rest.find(open)).min() {
            if start > 0 {
                pieces.push(Piece::Plain(&rest[..start]));
            }
            let reference = &rest[start..];
            let end = reference.find('}').ok_or_else(|| BadReference(shortened(reference)))?;
            pieces.push(Piece::Secret(parse(&reference[..=end])?));
            rest = &reference[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest));
        }
        Ok(pieces)
    }
}

fn parse(written: &str) -> Result<Reference, BadReference> {
    let bad = || BadReference(shortened(written));
    let inner = written.strip_prefix("${").and_then(|text| text.strip_suffix('}')).ok_or_else(bad)?;
    let (kind, name) = inner.split_once(':').ok_or_else(bad)?;
    let is_word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match kind {
        "env" if is_word => Ok(Reference::Env(name.to_owned())),
        // No way out of the folder: there is no separator, and no name of dots alone.
        "file" if is_word && name.chars().any(|c| c != '.') => Ok(Reference::File(name.to_owned())),
        _ => Err(bad()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A reference is not written as it should be.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// A template or expression is wrong, or failed.
    #[error(transparent)]
    Expression(#[from] expr::Error),
}

/// A text that can be filled in.
#[derive(Debug, Clone)]
pub struct CompiledText(Form);

#[derive(Debug, Clone)]
enum Form {
    /// One expression, whose value it becomes.
    Value(Program),
    /// A template; each mark in it stands for a secret.
    Template(Template, Vec<(String, Reference)>),
}

impl Text {
    /// Compiles it as a text. Secrets are put in after the template was filled in, at marks that hold `nonce`: where
    /// nobody can guess it, nothing that is filled in can be taken for a reference.
    pub fn compile(&self, nonce: &str) -> Result<CompiledText, TextError> {
        let (mut template, mut secrets) = (String::new(), Vec::new());
        for piece in self.pieces()? {
            match piece {
                Piece::Plain(plain) => template.push_str(plain),
                Piece::Secret(reference) => {
                    let mark = format!("<secret {nonce}.{}>", secrets.len());
                    template.push_str(&mark);
                    secrets.push((mark, reference));
                }
            }
        }
        Ok(CompiledText(Form::Template(Template::compile(template)?, secrets)))
    }

    /// Compiles it as a text within JSON: one that is nothing but one `{{ expression }}` becomes the value itself.
    pub fn compile_value(&self, nonce: &str) -> Result<CompiledText, TextError> {
        match self.only_expression() {
            Some(expression) => Ok(CompiledText(Form::Value(Program::compile(expression)?))),
            None => self.compile(nonce),
        }
    }

    /// Whether it is nothing but one `{{ expression }}`.
    pub fn is_expression(&self) -> bool {
        self.only_expression().is_some()
    }

    fn only_expression(&self) -> Option<&str> {
        let inner = self.0.trim().strip_prefix("{{")?.strip_suffix("}}")?;
        let is_one = !["{{", "}}", "{%", "${env:", "${file:"].iter().any(|sign| inner.contains(sign));
        is_one.then_some(inner)
    }
}

impl CompiledText {
    /// The names that it uses.
    pub fn names(&self) -> BTreeSet<String> {
        match &self.0 {
            Form::Value(program) => program.names().map(str::to_owned).collect(),
            Form::Template(template, _) => template.names().map(str::to_owned).collect(),
        }
    }

    /// The references in it.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let secrets = match &self.0 {
            Form::Value(_) => &[][..],
            Form::Template(_, secrets) => secrets,
        };
        secrets.iter().map(|(_, reference)| reference)
    }

    /// Fills it in; `reveal` gives the secrets.
    pub fn fill<E: From<expr::Error>>(
        &self,
        scope: &Scope<'_>,
        mut reveal: impl FnMut(&Reference) -> Result<String, E>,
    ) -> Result<Value, E> {
        match &self.0 {
            Form::Value(program) => Ok(program.eval(scope)?),
            Form::Template(template, secrets) => {
                let mut text = template.render(scope)?;
                for (mark, reference) in secrets {
                    text = text.replace(mark, &reveal(reference)?);
                }
                Ok(Value::String(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let text = Text(text.to_owned());
        let show = |piece: &Piece<'_>| match piece {
            Piece::Plain(plain) => (*plain).to_owned(),
            Piece::Secret(reference) => format!("<{reference}>"),
        };
        text.pieces().unwrap().iter().map(show).collect()
    }

    #[test]
    fn references_stand_apart_from_the_template() {
        assert_eq!(pieces("Bearer ${env:API_KEY}"), ["Bearer ", "<${env:API_KEY}>"]);
        assert_eq!(pieces("${file:a.key}${env:B}{{ x }}"), ["<${file:a.key}>", "<${env:B}>", "{{ x }}"]);
        assert_eq!(pieces("costs $5 {env:X} ${other:X}"), ["costs $5 {env:X} ${other:X}"]);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn a_reference_names_one_thing_inside_its_folder() {
        for bad in ["${env:}", "${env:A B}", "${file:../x}", "${file:..}", "${env:A", "${file:a/b}"] {
            let error = Text(bad.to_owned()).pieces().unwrap_err().to_string();
            assert!(error.contains("${env:NAME}"), "{bad}: {error}");
        }
    }

    #[test]
    fn secrets_are_put_in_after_the_state_and_nothing_in_the_state_is_one() {
        let state = BTreeMap::from([(ChannelName::new("q").unwrap(), Value::from("${env:KEY} <secret .0>"))]);
        let text = Text("k=${env:KEY} q={{ q }}".to_owned()).compile("0123").unwrap();
        let reveal = |reference: &Reference| Ok::<_, expr::Error>(format!("[{reference}]"));
        let filled = text.fill(&Scope::of(&state, &expr::Here), reveal).unwrap();
        assert_eq!(filled, "k=[${env:KEY}] q=${env:KEY} <secret .0>");
    }

    #[test]
    fn within_json_a_lone_expression_is_a_value() {
        let state = BTreeMap::from([(ChannelName::new("n").unwrap(), Value::from(3))]);
        let fill = |text: &str| {
            let compiled = Text(text.to_owned()).compile_value("").unwrap();
            compiled.fill(&Scope::of(&state, &expr::Here), |_| Ok::<_, expr::Error>(String::new())).unwrap()
        };
        assert_eq!(fill(" {{ n + 1 }} "), 4);
        assert_eq!(fill("{{ n }}{{ n }}"), "33");
        assert_eq!(fill("n is {{ n }}"), "n is 3");
    }

    #[test]
    fn methods_are_read_in_either_case() {
        assert_eq!("post".parse(), Ok(Method::Post));
        assert!("FETCH".parse::<Method>().unwrap_err().to_string().contains("FETCH"));
        for method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
    }
}
