//! An account at a provider that has no credit left: no other try helps, but another model may.
//!
//! It is told in many ways: by `OpenAI` as a 429 like a rate that is kept, but for its code; by Anthropic as a 400 like a
//! request that is wrong, but for its message; by others as a 402.

use coxswain_shared::outcome::Failure;
use reqwest::StatusCode;
use serde_json::Value;

use crate::handler::NodeError;
use crate::outside::Refused;

/// Types and codes of errors that begin or go on like this.
const CODES: [&str; 4] = ["insufficient_quota", "insufficient_balance", "insufficient_credit", "billing"];
/// What Anthropic says in an error of the type `invalid_request_error`.
const TOO_LOW: &str = "credit balance is too low";
/// Added to a failure.
const FINAL: &str = "the account at the provider has no credit or quota left: it was not tried again";

/// Whether an error of this type or code says so.
pub(super) fn is_code(code: &str) -> bool {
    code == "402" || CODES.iter().any(|known| code.to_ascii_lowercase().contains(known))
}

/// Whether an error that a provider reports says so: an object with `message`, and with `type` or `code`.
pub(super) fn is_error(error: &Value) -> bool {
    let is_code = |field: &str| match &error[field] {
        Value::String(code) => is_code(code),
        code => *code == 402,
    };
    let message = error["message"].as_str().unwrap_or_default();
    is_code("type") || is_code("code") || message.to_ascii_lowercase().contains(TOO_LOW)
}

/// A failure that says so.
pub(super) fn unpaid(mut failure: Failure) -> Failure {
    failure.chain.push(FINAL.to_owned());
    failure
}

/// The failure of a refusal that says so; the refusal itself if it says something else.
pub(super) fn judge(refused: Refused) -> Result<Failure, Refused> {
    let told = || serde_json::from_str::<Value>(&refused.body).is_ok_and(|body| is_error(&body["error"]));
    if refused.status == StatusCode::PAYMENT_REQUIRED || (refused.status.is_client_error() && told()) {
        Ok(unpaid(refused.failure))
    } else {
        Err(refused)
    }
}

/// What a refusal is where nobody else can be asked.
pub(in crate::kind) fn error_of(refused: Refused) -> NodeError {
    judge(refused).map_or_else(Refused::into_error, NodeError::Fatal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_without_credit_is_told_from_a_rate_and_from_a_wrong_request() {
        for error in [
            json!({"message": "You exceeded your current quota", "type": "insufficient_quota", "code": null}),
            json!({"message": "You exceeded your current quota", "type": "x", "code": "insufficient_quota"}),
            json!({"type": "billing_error", "message": "?"}),
            json!({"type": "billing_not_active", "code": "billing_not_active"}),
            json!({"code": 402, "message": "Insufficient credits"}),
            json!({"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        ] {
            assert!(is_error(&error), "{error}");
        }
        for error in [
            json!({"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}),
            json!({"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}),
            json!({"type": "invalid_request_error", "message": "max_tokens is too low"}),
            json!("busy"),
            json!(null),
        ] {
            assert!(!is_error(&error), "{error}");
        }
    }
}
