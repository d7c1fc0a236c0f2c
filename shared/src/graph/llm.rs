//! The kind `llm`, as data: a call of a language model, whoever provides it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::Expression;
use super::outside::{Text, json_names, output_names, text_names};
use crate::id::ChannelName;

/// A call of a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmNode {
    /// Whose API is spoken.
    #[serde(default, skip_serializing_if = "Provider::is_openai")]
    pub provider: Provider,
    /// The model's name.
    pub model: Text,
    /// Where the API is. Absent: [`Provider::base_url`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// The key, by reference. Absent: [`Provider::api_key`] where `base_url` is absent too, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Text>,
    /// What the model is told before all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Text>,
    /// What it is asked: one message of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Text>,
    /// The conversation, instead of `prompt`: a list of messages, or one `{{ expression }}` that gives a list. An item of
    /// the list that is one such expression may give several. Every text in it is a [`Text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Value>,
    /// How free the choice of words is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Texts that end the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The seed of the choice of words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The tools that the model may call: a list, as the provider wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    /// Which tool it should call, as the provider wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// The JSON schema of the answer, which is then read as JSON and held to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Further fields of the request's body; every text in it is a [`Text`]. Null takes a field out that would be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
    /// Further headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
    /// The longest answer that is read, in bytes as they are sent. Absent: 16 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// What is written: an expression for each channel, over the state and [`LLM_NAMES`]. Absent: with `into`, the message
    /// where that channel's reducer is `messages`, else the text, or with `schema` the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BTreeMap<ChannelName, Expression>>,
    /// Other models that are asked in place of this one, in this order, when it is not to be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<LlmFallback>,
}

/// A model that is asked in place of another: what it leaves out is the node's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmFallback {
    /// Whose API is spoken. Absent: that of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The model's name.
    pub model: Text,
    /// Where the API is. Absent: with a `provider`, [`Provider::base_url`]; else where the node's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// The key, by reference. Absent: with a `base_url` none, with a `provider` [`Provider::api_key`]; else the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Text>,
    /// Further fields of the request's body. With a `provider` or a `base_url` in place of the node's, else beside them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
    /// Further headers, likewise: they may hold a key, which goes to nobody else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
}

impl LlmFallback {
    /// A model of the node's own provider.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            provider: None,
            model: Text(model.into()),
            base_url: None,
            api_key: None,
            extra: BTreeMap::new(),
            headers: BTreeMap::new(),
        }
    }

    /// The node as it is when this model is asked.
    fn over(&self, node: &LlmNode) -> LlmNode {
        let is_elsewhere = self.provider.is_some() || self.base_url.is_some();
        let provider = self.provider.unwrap_or(node.provider);
        let mut asked = LlmNode {
            provider,
            model: self.model.clone(),
            // One knows no seed; the other may still have one.
            seed: node.seed.filter(|_| provider == Provider::Openai),
            fallback: Vec::new(),
            ..node.clone()
        };
        if is_elsewhere {
            asked.base_url.clone_from(&self.base_url);
            asked.api_key.clone_from(&self.api_key);
            asked.extra.clear();
            asked.headers.clear();
        } else if self.api_key.is_some() {
            asked.api_key.clone_from(&self.api_key);
        }
        asked.extra.extend(self.extra.clone());
        asked.headers.extend(self.headers.clone());
        asked
    }
}

/// The names that an `llm` node's `output` has beside the channels.
pub const LLM_NAMES: [&str; 6] = ["finish_reason", "json", "message", "model", "text", "usage"];

impl LlmNode {
    /// One question to a model.
    pub fn new(provider: Provider, model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self {
            provider,
            model: Text(model.into()),
            base_url: None,
            api_key: None,
            system: None,
            prompt: Some(Text(prompt.into())),
            messages: None,
            temperature: None,
            max_tokens: None,
            stop: Vec::new(),
            seed: None,
            tools: None,
            tool_choice: None,
            schema: None,
            extra: BTreeMap::new(),
            headers: BTreeMap::new(),
            max_bytes: None,
            output: None,
            fallback: Vec::new(),
        }
    }

    /// The node as it is when each of its fallbacks is asked, in their order.
    pub fn alternatives(&self) -> impl Iterator<Item = Self> {
        self.fallback.iter().map(|fallback| fallback.over(self))
    }

    /// Its texts, each with the field that it stands in, but for those in `messages`, `extra` and `headers`.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &Text)> {
        let optional = [
            ("base_url", &self.base_url),
            ("api_key", &self.api_key),
            ("system", &self.system),
            ("prompt", &self.prompt),
        ];
        let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        [("model", &self.model)].into_iter().chain(optional)
    }

    /// The names that its texts and expressions use; nothing if one of them cannot be read.
    pub fn names(&self) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        text_names(self.texts().map(|(_, text)| text).chain(self.headers.values()), &mut names)?;
        for json in self.messages.iter().chain(self.extra.values()) {
            json_names(json, &mut names)?;
        }
        output_names(self.output.as_ref(), &LLM_NAMES, &mut names)?;
        for alternative in self.alternatives() {
            names.extend(alternative.names()?);
        }
        Some(names)
    }
}

/// Whose API is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Chat completions of `OpenAI`, and of everything that speaks that API.
    #[default]
    Openai,
    /// Messages of Anthropic.
    Anthropic,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Openai, Self::Anthropic];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// Where its API is unless a node says otherwise.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Openai => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
        }
    }

    /// The key for that, by reference.
    pub const fn api_key(self) -> &'static str {
        match self {
            Self::Openai => "${env:OPENAI_API_KEY}",
            Self::Anthropic => "${env:ANTHROPIC_API_KEY}",
        }
    }

    /// Whether it is the one that goes without saying.
    pub fn is_openai(&self) -> bool {
        *self == Self::Openai
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_has_one_name_everywhere() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.name());
        }
    }

    #[test]
    fn a_fallback_has_what_it_says_and_else_what_the_node_has_but_no_key_of_others() {
        let node = LlmNode {
            base_url: Some(Text("http://a/v1".to_owned())),
            api_key: Some(Text("${env:A_API_KEY}".to_owned())),
            headers: BTreeMap::from([("X-Key".to_owned(), Text("${env:B_API_KEY}".to_owned()))]),
            extra: BTreeMap::from([("top_k".to_owned(), json!(5))]),
            seed: Some(7),
            fallback: vec![
                LlmFallback { extra: BTreeMap::from([("x".to_owned(), json!(1))]), ..LlmFallback::new("smaller") },
                LlmFallback { provider: Some(Provider::Anthropic), ..LlmFallback::new("other") },
                LlmFallback { base_url: Some(Text("http://b/v1".to_owned())), ..LlmFallback::new("{{ third }}") },
            ],
            ..LlmNode::new(Provider::Openai, "large", "why?")
        };
        let [own, other, third] = &node.alternatives().collect::<Vec<_>>()[..] else { panic!("there are three") };
        let expected = LlmNode { model: Text("smaller".to_owned()), fallback: Vec::new(), ..node.clone() };
        let extra = BTreeMap::from([("top_k".to_owned(), json!(5)), ("x".to_owned(), json!(1))]);
        assert_eq!(*own, LlmNode { extra, ..expected });
        assert_eq!(*other, LlmNode::new(Provider::Anthropic, "other", "why?"));
        assert_eq!(
            (&third.base_url, &third.api_key, third.seed),
            (&Some(Text("http://b/v1".to_owned())), &None, Some(7))
        );
        assert!(third.headers.is_empty() && third.extra.is_empty());
        assert!(node.names().unwrap().contains("third"));
    }

    #[test]
    fn a_call_uses_the_names_of_its_texts_and_of_what_it_writes() {
        let node = LlmNode {
            messages: Some(json!(["{{ talk }}", {"role": "user", "content": [{"text": "about {{ q }}"}]}])),
            prompt: None,
            system: Some(Text("{{ role }}".to_owned())),
            extra: BTreeMap::from([("user".to_owned(), json!("{{ who }}"))]),
            output: serde_json::from_value(json!({"a": "text ~ rest", "b": "usage.input_tokens"})).unwrap(),
            schema: Some(json!({"const": "{{ nothing }}"})),
            ..LlmNode::new(Provider::Anthropic, "{{ size }}", "")
        };
        let names: Vec<_> = node.names().unwrap().into_iter().collect();
        assert_eq!(names, ["q", "rest", "role", "size", "talk", "who"]);
    }
}
