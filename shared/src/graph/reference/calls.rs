//! The kinds `http` and `llm`.

use super::field::{Field, field};
use super::kinds::Kind;
use super::shape::Shape;
use crate::graph::llm::Provider;
use crate::graph::outside::{Method, RETRY_ON};
use crate::limits::{LLM_FALLBACKS_MAX, RESPONSE_BYTES, RESPONSE_BYTES_MAX, STREAM_BYTES, STREAM_BYTES_MAX};

const MIB: usize = 1024 * 1024;

pub(super) fn http() -> Kind {
    let statuses = || Shape::OneOrMany(Box::new(Shape::Status));
    Kind {
        name: "http",
        meaning: "A request over HTTP",
        example: "\
fetch:
  kind: http
  method: POST
  url: \"https://api.example.org/search?lang={{ question | urlencode }}\"
  headers: { Authorization: \"Bearer ${env:SEARCH_API_KEY}\" }
  json: { query: \"{{ question }}\", limit: 5 }
  output: { docs: \"response.hits\", count: \"response.hits | length\" }
  first_byte_timeout: 10s
  retry: { attempts: 3 }",
        fields: vec![
            field("method", Shape::AnyCase(Method::ALL.map(Method::name).to_vec()), "What is done").default("`GET`"),
            field("url", Shape::Template, "Where: `https://…` or `http://…`").required(),
            field("headers", Shape::Headers, "The request's headers"),
            field(
                "json",
                Shape::Json,
                "The request's body as JSON: every text in it is a template, and one that is nothing but one \
                 `{{ expression }}` becomes the value itself",
            ),
            field("body", Shape::Template, "The request's body as it is, instead of `json`"),
            field("accept", statuses(), "Statuses that count as success, beside 200 to 299"),
            field("retry_on", statuses(), "Statuses after which another try may help")
                .default(RETRY_ON.map(|status| status.to_string()).join(", ")),
            max_bytes(
                "The longest body that is read, in bytes; a longer one fails the node",
                RESPONSE_BYTES,
                RESPONSE_BYTES_MAX,
            ),
            output(
                "What is written: an expression for each channel, over the state and `status`, `headers` and \
                 `response`, which is the body",
                "with `into`, the body; else the body is an object of writes by channel",
            ),
        ],
        has_result: true,
    }
}

pub(super) fn llm() -> Kind {
    Kind {
        name: "llm",
        meaning: "A call of a language model, whoever provides it",
        example: "\
judge:
  kind: llm
  model: gpt-4.1-mini
  system: You judge how well a text answers a question.
  prompt: \"Question: {{ question }}\\n\\nText: {{ docs[0] }}\"
  schema:
    type: object
    required: [score]
    properties: { score: { type: integer, minimum: 0, maximum: 10 } }
  output: { answer: json.score, count: usage.output_tokens }
  first_byte_timeout: 10s
  idle_timeout: 5s
  retry: { attempts: 3 }",
        fields: asked().into_iter().chain(answered()).collect(),
        has_result: true,
    }
}

/// Who is asked, and what.
fn asked() -> Vec<Field> {
    let per_provider = |what: fn(Provider) -> &'static str| {
        Provider::ALL.map(|provider| format!("`{}` (`{}`)", what(provider), provider.name())).join(", ")
    };
    vec![
        field(
            "provider",
            provider(),
            "Whose API is spoken: chat completions of OpenAI and of everything that speaks that API, or messages of \
             Anthropic",
        )
        .default(format!("`{}`", Provider::default().name())),
        field("model", Shape::Template, "The model's name").required(),
        field("base_url", Shape::Template, "Where the API is").default(per_provider(Provider::base_url)),
        field("api_key", Shape::Template, "The key, by reference: `${env:NAME}` or `${file:NAME}`")
            .default(format!("{}; with `base_url`, none", per_provider(Provider::api_key))),
        field("system", Shape::Template, "What the model is told before all else"),
        field("prompt", Shape::Template, "What it is asked: one message of the user"),
        field(
            "messages",
            Shape::ItemsOrTemplate,
            "The conversation, instead of `prompt`: a list of `{ role, content }`, or one `{{ expression }}` that gives a \
             list. An item of the list that is one such expression may give several. Every text in it is a template",
        ),
        field("temperature", Shape::Number(0.0, 2.0), "How free the choice of words is; of `anthropic`, at most 1")
            .default("the provider's"),
        field("max_tokens", Shape::Count(1, None), "The most tokens of the answer")
            .default("the provider's; `anthropic`: `4096`"),
        field("stop", Shape::OneOrMany(Box::new(Shape::Text)), "Texts that end the answer"),
        field("seed", Shape::Count(0, None), "The seed of the choice of words (`openai`)"),
        field("tools", Shape::Items, "The tools that the model may call, as the provider wants them"),
        field("tool_choice", Shape::Json, "Which tool it should call, as the provider wants it"),
    ]
}

/// What comes back, and how.
fn answered() -> Vec<Field> {
    vec![
        field("schema", Shape::Object, "The JSON Schema of the answer, which is then read as JSON and held to it"),
        extra("the request's body, such as `top_p`"),
        field("headers", Shape::Headers, "Further headers of the request"),
        field(
            "fallback",
            Shape::OneOrMany(Box::new(Shape::Own("fallback", "a model's name, or a mapping, see [below](#fallback)"))),
            format!(
                "Models that are asked in place of this one, in this order, when it is not to be had; at most \
                 {LLM_FALLBACKS_MAX}"
            ),
        ),
        max_bytes("The longest answer that is read, in bytes as they are sent", STREAM_BYTES, STREAM_BYTES_MAX),
        output(
            "What is written: an expression for each channel, over the state and `text`, `message`, `json` (the value, \
             with `schema`), `usage`, `finish_reason` and `model`",
            "with `into`, the message where that channel's reducer is `messages`, else the text, or with `schema` the value",
        ),
    ]
}

/// The fields of a fallback that is a mapping.
pub(super) fn fallback() -> Vec<Field> {
    vec![
        field("provider", provider(), "Whose API is spoken").default("the node's"),
        field("model", Shape::Template, "The model's name").required(),
        field("base_url", Shape::Template, "Where the API is")
            .default("with a `provider`, where that one's is; else where the node's is"),
        field("api_key", Shape::Template, "The key, by reference: `${env:NAME}` or `${file:NAME}`")
            .default("with a `base_url` none, with a `provider` that one's; else the node's"),
        extra("the request's body: with a `provider` or a `base_url` in place of the node's, else beside them"),
        field("headers", Shape::Headers, "Further headers of the request, likewise"),
    ]
}

fn provider() -> Shape {
    Shape::Word(Provider::ALL.map(Provider::name).to_vec())
}

pub(super) fn extra(of: &str) -> Field {
    let meaning =
        format!("Further fields of {of}; every text in it is a template. `null` takes a field out that would be there");
    field("extra", Shape::Object, meaning)
}

pub(super) fn output(meaning: &str, default: &str) -> Field {
    field("output", Shape::Channels(Box::new(Shape::Expression)), meaning).default(default)
}

pub(super) fn max_bytes(meaning: &str, standard: usize, most: usize) -> Field {
    field("max_bytes", Shape::Count(1, Some(most as u64)), meaning)
        .default(format!("`{standard}` ({} MiB)", standard / MIB))
}
