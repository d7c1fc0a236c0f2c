//! The fields of a node of the kind `llm`.

use super::fields::{self, Fields};
use super::kinds::{expressions, jsons, missing, texts};
use crate::graph::finding::Findings;
use crate::graph::llm::{LlmFallback, LlmNode, Provider};
use crate::graph::outside::Text;
use crate::graph::tree::{Branch, Tree};

pub(super) fn read(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<LlmNode> {
    let provider = provider(fields, findings);
    let stop = fields.get("stop");
    let stop_place = fields.place("stop");
    let node = LlmNode {
        provider: provider.unwrap_or_default(),
        model: Text(fields.text("model", findings).unwrap_or_default()),
        base_url: fields.text("base_url", findings).map(Text),
        api_key: fields.text("api_key", findings).map(Text),
        system: fields.text("system", findings).map(Text),
        prompt: fields.text("prompt", findings).map(Text),
        messages: fields.get("messages").map(Tree::to_json),
        temperature: fields.number("temperature", findings),
        max_tokens: fields.count("max_tokens", findings),
        stop: stop.map_or_else(Vec::new, |tree| {
            fields::one_or_many(tree, &stop_place, |item, place| fields::text(item, place, findings))
        }),
        seed: fields.count("seed", findings),
        tools: fields.get("tools").map(Tree::to_json),
        tool_choice: fields.get("tool_choice").map(Tree::to_json),
        schema: fields.get("schema").map(Tree::to_json),
        extra: jsons(fields, "extra", findings),
        headers: texts(fields, "headers", findings),
        max_bytes: fields.count("max_bytes", findings),
        output: expressions(fields, "output", findings),
        fallback: fallbacks(fields, findings),
    };
    if !fields.has("model") {
        missing(fields, "model", "`model:` and the name that the provider gives it", findings);
        return None;
    }
    provider.map(|_| node)
}

/// The fallbacks. A text stands for a model of the node's own provider.
fn fallbacks(fields: &mut Fields<'_>, findings: &mut Findings) -> Vec<LlmFallback> {
    let place = fields.place("fallback");
    let Some(tree) = fields.get("fallback") else { return Vec::new() };
    fields::one_or_many(tree, &place, |item, place| {
        if !matches!(item.value, Branch::Map(_)) {
            return fields::text(item, place, findings).map(LlmFallback::new);
        }
        let mut fields = Fields::of(item, place, "a fallback", findings)?;
        let fallback = fallback(&mut fields, findings);
        fields.finish("a fallback", findings);
        Some(fallback)
    })
}

/// One of them, whatever is wrong with it: the others keep their places.
fn fallback(fields: &mut Fields<'_>, findings: &mut Findings) -> LlmFallback {
    let has_provider = fields.has("provider");
    LlmFallback {
        provider: provider(fields, findings).filter(|_| has_provider),
        model: Text(fields.text("model", findings).unwrap_or_default()),
        base_url: fields.text("base_url", findings).map(Text),
        api_key: fields.text("api_key", findings).map(Text),
        extra: jsons(fields, "extra", findings),
        headers: texts(fields, "headers", findings),
    }
}

/// The provider; nothing if there is none of that name.
fn provider(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Provider> {
    if fields.get("provider").is_none() {
        return Some(Provider::default());
    }
    let name = fields.text("provider", findings)?;
    let found = Provider::ALL.into_iter().find(|provider| provider.name() == name);
    if found.is_none() {
        let finding = findings.error(&fields.place("provider"), format!("there is no provider `{name}`"));
        finding.suggest(&name, Provider::ALL.map(Provider::name));
    }
    found
}
