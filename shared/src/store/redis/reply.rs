//! Reads what scripts and commands answer, item by item; an unexpected shape is [`Error::Corrupt`], never a panic.

use std::str::FromStr;

use redis::Value;

use crate::store::Error;
use crate::time::Timestamp;

/// The items of an answer that are still unread.
pub(super) struct Reply {
    /// What the answer is of: a script's name or a key.
    of: String,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    /// Opens an answer that is a list; nothing and a single item count as lists too.
    pub(super) fn new(of: impl Into<String>, value: Value) -> Self {
        let items = match value {
            Value::Array(items) | Value::Set(items) => items,
            Value::Nil => Vec::new(),
            single => vec![single],
        };
        Self { of: of.into(), rest: items.into_iter() }
    }

    /// How many items are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next item as bytes; absent where the server has nothing there.
    pub(super) fn bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.next()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::SimpleString(text) => Ok(Some(text.into_bytes())),
            Value::Int(number) => Ok(Some(number.to_string().into_bytes())),
            Value::Okay => Ok(Some(b"OK".to_vec())),
            _ => Err(self.corrupt("an item is not a text")),
        }
    }

    /// The next item as text; empty where the server has nothing there.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes()?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|_| self.corrupt("a text is not UTF-8"))
    }

    /// The next item as text; absent if it is empty.
    pub(super) fn optional(&mut self) -> Result<Option<String>, Error> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    /// The next item, read as a name or a number.
    pub(super) fn parsed<T: FromStr>(&mut self) -> Result<T, Error> {
        let text = self.text()?;
        text.parse().map_err(|_| self.corrupt(&format!("`{}` is not what belongs there", short(&text))))
    }

    /// The next item as a time.
    pub(super) fn time(&mut self) -> Result<Timestamp, Error> {
        Ok(Timestamp::from_millis(self.parsed()?))
    }

    /// The next item as a list.
    pub(super) fn list(&mut self) -> Result<Self, Error> {
        let of = self.of.clone();
        Ok(Self::new(of, self.next()?))
    }

    /// An error that names what the answer is of.
    pub(super) fn corrupt(&self, why: &str) -> Error {
        Error::Corrupt { key: self.of.clone(), why: why.to_owned() }
    }

    fn next(&mut self) -> Result<Value, Error> {
        self.rest.next().ok_or_else(|| self.corrupt("the answer is too short"))
    }
}

/// A text cut to what fits an error.
pub(super) fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_short_names_its_script() {
        let mut reply = Reply::new("claim", Value::Array(vec![Value::Int(7)]));
        assert_eq!(reply.parsed::<u64>().unwrap(), 7);
        let error = reply.text().unwrap_err().to_string();
        assert!(error.contains("claim") && error.contains("too short"), "{error}");
    }
}
