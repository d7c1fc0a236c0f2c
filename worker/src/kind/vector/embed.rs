//! Makes vectors of texts: the embeddings of `OpenAI`'s API, and of the many servers that speak it.

use coxswain_shared::graph::{EMBED_BATCH, Embed, Provider, Text};
use coxswain_shared::outcome::FailureKind;
use coxswain_shared::spend::{Cost, Spend};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::numbers::Vector;
use super::wire::{Wire, bad_output};
use crate::handler::{Context, NodeError};
use crate::outside::{Caller, Extra, Texts, Tokens};

/// Bytes of the texts of one request, unless a single text is longer.
const BATCH_BYTES: usize = 256 * 1024;

/// A model that makes vectors, ready to be asked.
#[derive(Debug)]
pub(super) struct Embedder {
    endpoint: Endpoint,
    model: String,
    /// The model's name, without secrets.
    shown: String,
    dimensions: Option<u64>,
    batch: usize,
    extra: Extra,
    usage: Map<String, Value>,
    /// Who is billed, and by whose prices; and what was billed so far.
    ctx: Context,
    caller: Caller,
    spent: Spend,
}

#[derive(Debug, Deserialize)]
struct Embedded {
    data: Vec<One>,
    usage: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct One {
    index: Option<usize>,
    embedding: Vector,
}

impl Embedder {
    /// Fills in what a node says.
    pub(super) fn fill(
        (ctx, caller): (&Context, &Caller),
        embed: &Embed,
        texts: &mut Texts<'_>,
    ) -> Result<Self, NodeError> {
        let base = match &embed.base_url {
            Some(base_url) => texts.text("embed.base_url", base_url)?,
            None => Provider::Openai.base_url().to_owned(),
        };
        let mut endpoint = Endpoint::new(&base, "embed.base_url")?;
        // The provider's own key goes to nobody else unless the node says so.
        let standard = Text(Provider::Openai.api_key().to_owned());
        if let Some(key) = embed.api_key.as_ref().or_else(|| embed.base_url.is_none().then_some(&standard)) {
            endpoint.set_key((AUTHORIZATION, "Bearer "), key, "embed.api_key", texts)?;
        }
        endpoint.add_headers(&embed.headers, texts)?;
        let model = texts.text("embed.model", &embed.model)?;
        let extra = Extra::fill("embed.extra", &embed.extra, texts)?;
        texts.tie(endpoint.url())?;
        Ok(Self {
            extra,
            endpoint,
            shown: texts.secrets().redact(&model),
            model,
            dimensions: embed.dimensions,
            batch: usize::try_from(embed.batch.unwrap_or(EMBED_BATCH)).unwrap_or(usize::MAX),
            usage: Map::new(),
            ctx: ctx.clone(),
            caller: caller.clone(),
            spent: Spend::default(),
        })
    }

    /// Refuses a model without a price where the run's cost is limited.
    pub(super) fn check_price(&self) -> Result<(), NodeError> {
        let checked = self.caller.check_price(&self.ctx, &self.model);
        checked.map_err(|error| error.map_texts(|text| text.replace(&self.model, &self.shown)))
    }

    /// How many of these texts belong in one request: at least one.
    pub(super) fn fitting<'t>(&self, texts: impl Iterator<Item = &'t str>) -> usize {
        let mut bytes = 0;
        let fits = |text: &&str| {
            bytes += text.len();
            bytes <= BATCH_BYTES
        };
        texts.take(self.batch).take_while(fits).count().max(1)
    }

    /// The vectors of texts, in their order, by one request.
    pub(super) async fn vectors(&mut self, wire: &mut Wire<'_>, texts: &[&str]) -> Result<Vec<Vector>, NodeError> {
        let mut body = Map::from_iter([
            ("model".to_owned(), json!(self.model)),
            ("input".to_owned(), json!(texts)),
            ("encoding_format".to_owned(), json!("float")),
        ]);
        body.extend(self.dimensions.map(|dimensions| ("dimensions".to_owned(), json!(dimensions))));
        self.extra.lay_over(&mut body);
        let request = self.endpoint.request(Method::POST, &["embeddings"]);
        let embedded: Embedded = wire.send(request, &body).await?.answer()?;
        self.note(embedded.usage);
        self.in_order(embedded.data, texts.len())
    }

    /// The vectors in the order of their texts, each checked.
    fn in_order(&self, data: Vec<One>, wanted: usize) -> Result<Vec<Vector>, NodeError> {
        let of = &self.shown;
        if data.len() != wanted {
            return Err(bad_output(format!("the model `{of}` gave {} vectors for {wanted} texts", data.len())));
        }
        let mut vectors = vec![None; wanted];
        for (place, one) in data.into_iter().enumerate() {
            one.embedding.check().map_err(|error| bad_output(format!("a vector of the model `{of}` {error}")))?;
            self.check_length(&one.embedding)?;
            let number = one.index.unwrap_or(place);
            match vectors.get_mut(number) {
                Some(slot @ None) => *slot = Some(one.embedding),
                Some(Some(_)) | None => {
                    return Err(bad_output(format!("the model `{of}` gave no or two vectors for one of the texts")));
                }
            }
        }
        Ok(vectors.into_iter().flatten().collect())
    }

    fn check_length(&self, vector: &Vector) -> Result<(), NodeError> {
        let length = vector.length();
        match self.dimensions {
            // Asking again gives the same.
            Some(wanted) if wanted != length as u64 => {
                let of = &self.shown;
                let message =
                    format!("the model `{of}` gave a vector of {length} numbers, and {wanted} were asked for");
                Err(NodeError::refused(FailureKind::BadOutput, message))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note(&mut self, usage: Option<Map<String, Value>>) {
        for (field, told) in usage.into_iter().flatten() {
            let Some(told) = told.as_u64() else { continue };
            let before = self.usage.get(&field).and_then(Value::as_u64).unwrap_or(0);
            self.usage.insert(field, Value::from(before.saturating_add(told)));
        }
        // At once: what was used counts also if the rest is stopped.
        let cost = self.cost().unwrap_or_default();
        let spent = Spend { input_tokens: self.input_tokens(), cost, ..Spend::default() };
        self.ctx.spend(spent.beyond(self.spent));
        self.spent = spent;
    }

    fn input_tokens(&self) -> u64 {
        let told = ["input_tokens", "prompt_tokens", "total_tokens"].into_iter().find_map(|name| self.usage.get(name));
        told.and_then(Value::as_u64).unwrap_or(0)
    }

    fn cost(&self) -> Option<Cost> {
        let tokens = Tokens { input: self.input_tokens(), ..Tokens::default() };
        self.caller.prices().cost([self.model.as_str()], tokens)
    }

    /// What the model's provider told that was used, with `input_tokens` whoever it is; null if nothing was told.
    pub(super) fn usage(&self) -> Value {
        if self.usage.is_empty() {
            return Value::Null;
        }
        let mut usage = self.usage.clone();
        usage.insert("input_tokens".to_owned(), json!(self.input_tokens()));
        Value::Object(usage)
    }

    /// Tells what was used, whatever becomes of the vectors.
    pub(super) fn tell_usage(&self) {
        let Value::Object(mut usage) = self.usage() else { return };
        if let Some(cost) = self.cost() {
            usage.insert("cost".to_owned(), json!(cost));
        }
        usage.insert("provider".to_owned(), json!(Provider::Openai));
        usage.insert("model".to_owned(), json!(self.shown));
        self.ctx.emit("usage", usage);
    }
}
